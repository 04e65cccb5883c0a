import numpy as np
import pytest
import torch
from scipy.stats import norm

from qdgs.datasets.manifest import latents_of
from qdgs.samplers.rejection import RandomSampler, RejectionSampler


def fitted(sampler, problem, rng):
    sampler.fit(problem, rng)
    return sampler


def test_random_is_the_prior_with_the_shares_of_the_closed_form(make_problem, rng):
    problem = make_problem()
    rows = fitted(RandomSampler(), problem, rng).sample(20_000, np.random.default_rng(1))
    expected = problem.generator.sample_latents(20_000, np.random.default_rng(1))
    assert torch.equal(latents_of(rows), expected)
    red = (rows["group_color"] == "red").mean()
    assert red == pytest.approx(norm.cdf(1), abs=4 * 0.4 / np.sqrt(20_000))


def test_rejection_has_the_target_exactly_and_labels_what_it_keeps(make_problem, rng):
    problem = make_problem(target={"red/tall": 0.1, "red/wide": 0.2, "blue/tall": 0.3, "blue/wide": 0.4})
    rows = fitted(RejectionSampler(batch=64), problem, rng).sample(100, rng)
    assert rows["group"].value_counts().to_dict() == {
        "red/tall": 10, "red/wide": 20, "blue/tall": 30, "blue/wide": 40,
    }  # fmt: skip
    latents = latents_of(rows).numpy()
    assert ((latents[:, 0] > 0) == (rows["group_color"] == "blue")).all()
    assert ((latents[:, 1] > 0) == (rows["label"] == "wide")).all()


def test_rejection_costs_images_over_the_mass_of_the_rarest_group(make_problem):
    rarest = norm.cdf(-1) / 2
    sampler = RejectionSampler(batch=64)
    costs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        fitted(sampler, make_problem(), rng).sample(400, rng)
        assert sampler.cost.judge_labels == sampler.cost.generator_calls == sampler.cost.forwards
        costs.append(sampler.cost.generator_calls)
    # both blue groups must be full: the later of two equal ones
    assert 100 / rarest < np.mean(costs) < 1.3 * 100 / rarest


def test_rejection_stops_at_the_cap_and_says_what_is_missing(make_problem, rng):
    problem = make_problem(generator=type(make_problem().generator)(shift=(-9.0, 0.0)), draws=500)
    sampler = fitted(RejectionSampler(batch=200), problem, rng)
    rows = sampler.sample(40, rng)
    assert sampler.cost.generator_calls == 500
    assert rows["group"].value_counts().to_dict() == {"red/tall": 10, "red/wide": 10}
    assert sampler.notes == (
        "blue/tall lacks 10 images after 500 draws",
        "blue/wide lacks 10 images after 500 draws",
    )


def test_rejection_keeps_nothing_that_the_gate_rejects(make_problem, rng):
    class Strict(type(make_problem().judge)):
        def judge(self, images):
            read = super().judge(images)
            return read.assign(accepted=read["shape_score"].abs() > 1)

    rows = fitted(RejectionSampler(), make_problem(gate=Strict()), rng).sample(40, rng)
    assert (latents_of(rows)[:, 1].abs() > 0.95).all()
