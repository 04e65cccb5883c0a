import numpy as np
import pytest
import torch

from qdgs.errors import InputError
from qdgs.samplers.base import LabelledImages
from qdgs.samplers.importance import ImportanceSampler
from qdgs.samplers.reference import ReferenceWarning


def reference(generator, judge, n, seed=9):
    images = generator(generator.sample_latents(n, np.random.default_rng(seed)))
    return LabelledImages((images * 255).round().to(torch.uint8), judge.judge(images))


@pytest.fixture
def shifted_problem(make_problem):
    """The prior of the first latent is N(−1, 1), the reference's N(0, 1)."""
    plane, judge = type(make_problem().generator), make_problem().judge
    return make_problem(reference=reference(plane(shift=(0.0, 0.0)), judge, 400))


def test_weights_are_the_ratio_of_the_two_normal_densities(shifted_problem, rng):
    sampler = ImportanceSampler(samples=3000, landmarks=100, regularization=10.0)
    sampler.fit(shifted_problem, rng)
    x = np.linspace(-2.5, 1.5, 9)
    latents = torch.tensor(np.stack([x, np.zeros(9)], axis=1), dtype=torch.float32)
    # N(x; 0, 1)/N(x; −1, 1) = exp(x + 1/2)
    log_ratio = np.log(sampler.weights(latents))
    np.testing.assert_allclose(log_ratio, x + 0.5, atol=0.45)


def test_chosen_samples_come_nearer_to_the_reference(shifted_problem, rng):
    sampler = ImportanceSampler(samples=2000, landmarks=100)
    sampler.fit(shifted_problem, rng)
    rows = sampler.sample(400, rng)
    assert len(rows) == 400
    assert not rows.filter(like="latent").duplicated().any()
    assert (rows["group_color"] == "blue").mean() == pytest.approx(0.5, abs=0.1)
    assert "effective sample size" in sampler.notes[0]
    assert sampler.cost.generator_calls == 2000 + 4000 + 400
    assert sampler.cost.judge_labels == 400
    assert sampler.cost.reference_images == 400


def test_an_unbalanced_reference_is_told_with_its_shares(make_problem, rng):
    problem = make_problem()
    sampler = ImportanceSampler(samples=300, landmarks=20)
    with pytest.warns(ReferenceWarning, match=r"its shares are not the target's \(red/tall 0\.\d+ of 0.25"):
        sampler.fit(make_problem(reference=reference(problem.generator, problem.judge, 200)), rng)
    assert "not the target's" in sampler.notes[0]


def test_without_a_reference_there_are_no_weights(make_problem, rng):
    with pytest.raises(InputError, match="importance: expected a reference set"):
        ImportanceSampler().fit(make_problem(), rng)
