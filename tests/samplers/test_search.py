import numpy as np
import pytest

from qdgs.config import load_config
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.fairness.audit import audited_groups
from qdgs.parts import load_generator, load_judge
from qdgs.samplers.base import Problem
from qdgs.samplers.search import QdgsGradientSampler, QdgsSampler, _read_to_balance


@pytest.fixture
def run_problem(tiny_config, tmp_path):
    run = load_config(tiny_config)
    groups = audited_groups(run.dataset)
    attributes = {group.audit: tuple(group.names) for group in groups.values()}
    names = [f"{color}/{shape}" for color in ("red", "blue") for shape in ("tall", "wide")]
    return Problem(
        generator=load_generator(run.generator),
        judge=load_judge(run.judges.gate),
        attributes=attributes,
        label="shape",
        target=dict.fromkeys(names, 0.25),
        images=24,
        run=run,
        work=tmp_path,
    )


def test_the_set_is_that_of_the_run_under_the_attributes_names(run_problem):
    sampler = QdgsSampler()
    sampler.fit(run_problem, np.random.default_rng(0))
    searched = sampler.cost
    rows = sampler.sample(24, np.random.default_rng(0))
    # the search, and 256 random samples, on which automatic cuts are found
    assert searched.generator_calls == searched.guide_scores == 640 + 256
    assert searched.forwards == 2 * (640 + 256)
    assert searched.judge_labels == 256
    assert searched.backwards == 0
    spent = sampler.cost - searched
    # the gate reads the candidates, the yardstick of near-duplicates only renders
    assert spent.judge_labels >= 24
    assert spent.generator_calls == spent.judge_labels + 24
    assert set(rows["label"]) <= {"tall", "wide"}
    assert (rows["group"] == rows["group_color"] + "/" + rows["group_shape"]).all()
    assert latents_of(rows).shape == (24, run_problem.generator.latent_dim)


def test_a_search_with_gradients_counts_them(run_problem):
    sampler = QdgsGradientSampler()
    sampler.fit(run_problem, np.random.default_rng(0))
    assert sampler.cost.backwards > 0
    assert sampler.cost.backwards % 2 == 0


def test_without_a_run_there_is_nothing_to_search(make_problem, rng):
    with pytest.raises(InputError, match="qdgs: expected the configuration of a run"):
        QdgsSampler().fit(make_problem(), rng)


def test_what_was_read_to_balance_counts_once_for_all_that_is_balanced():
    told = {
        "groups": {
            "a": {"candidates": [3, 4], "candidates_unread": 1},
            "b": {"candidates": [2], "candidates_unread": 0},
        }
    }
    assert _read_to_balance({"balance": {"light": told, "hue": told}}) == 10
    assert _read_to_balance({}) == _read_to_balance({"balance": None}) == 0
