import numpy as np
import pytest
import torch

from qdgs.config import load_config
from qdgs.errors import GeneratorError
from qdgs.guides.prior import latent_norm_loss, norm_statistics
from qdgs.parts import load_generator, load_guide
from qdgs.randomness import Stream, stream
from qdgs.search.workers import RememberingScore
from qdgs.stages.scoring import NORM_INDEX, NORM_SAMPLES, Scorer, scores_of


@pytest.fixture
def config(tiny_config):
    return load_config(tiny_config)


def scorer_of(config):
    return Scorer(load_generator(config.generator), load_guide(config.guide), seed=config.seed)


def latents_of(config, n):
    return load_generator(config.generator).sample_latents(n, np.random.default_rng(0))


def test_the_objective_is_the_guides_less_what_leaving_the_prior_costs(config):
    scorer, latents = scorer_of(config), 3 * latents_of(config, 8)
    with torch.no_grad():
        objective, measures = scorer(latents)
        expected = scorer.guide.score(scorer.generator(latents))
    samples = scorer.generator.sample_latents(NORM_SAMPLES, stream(0, Stream.PRIOR, NORM_INDEX))
    norm, std = norm_statistics(samples)
    loss = latent_norm_loss(latents, kind="shell", prior_norm=norm, prior_norm_std=std, width=2.0)
    assert loss.max() > 1
    torch.testing.assert_close(objective, expected.objective - 50 * 0.5 * loss)
    torch.testing.assert_close(measures, expected.measures)


def test_gradients_reach_the_latents(config):
    latents = latents_of(config, 4).requires_grad_()
    objective, _ = scorer_of(config)(latents)
    (gradient,) = torch.autograd.grad(objective.sum(), latents)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_only_what_is_remembered_moves_the_uniqueness_term(config):
    weights = config.guide.weights.model_copy(update={"uniqueness": 0.2})
    guide = config.guide.model_copy(update={"weights": weights})
    scorer = scorer_of(config.model_copy(update={"guide": guide}))
    assert isinstance(scorer, RememberingScore)
    latents = latents_of(config, 6)
    with torch.no_grad():
        first, _ = scorer(latents)
        again, _ = scorer(latents)
        torch.testing.assert_close(first, again)
        scorer.remember(4)
        after, _ = scorer(latents)
    assert not torch.equal(first, after)
    assert len(scorer.state_dict()["memory"]["embeddings"]) == 4


def test_scores_of_many_latents_do_not_depend_on_the_micro_batch(config):
    scorer, latents = scorer_of(config), latents_of(config, 50)
    frame = scores_of(scorer, latents, 16)
    assert list(frame.columns) == ["objective", "color", "edges"]
    with torch.no_grad():
        objective, measures = scorer(latents)
    np.testing.assert_allclose(frame["objective"], objective.numpy(), rtol=1e-4)
    np.testing.assert_allclose(frame[["color", "edges"]], measures.numpy(), atol=1e-5)


@pytest.mark.parametrize("fault", ["nan", "shape", "range"])
def test_a_generator_that_breaks_its_contract_is_told(config, fault):
    scorer = scorer_of(config)
    scorer.generator.fault = fault  # after it was made: what is wrong at once is told by load_generator
    with pytest.raises(GeneratorError, match=r"^generator: expected "):
        scorer(latents_of(config, 4))
