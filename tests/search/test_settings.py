import pytest

from qdgs.config import ALGORITHMS, SearchConfig
from qdgs.errors import InputError
from qdgs.search.settings import iteration_cost, settle, split_batch


@pytest.mark.parametrize(
    ("latent_dim", "differentiable", "expected"),
    [(6, True, "cma_mae"), (32, True, "cma_mae"), (33, True, "cma_maega"), (512, False, "cma_mae")],
)
def test_the_algorithm_is_chosen_by_dimension_and_gradients(latent_dim, differentiable, expected):
    assert settle(SearchConfig(), latent_dim, differentiable).algorithm == expected


@pytest.mark.parametrize(("differentiable", "expected"), [(True, "cma_maega"), (False, "cma_mae")])
def test_the_paper_preset_takes_the_published_algorithm_whatever_the_dimension(differentiable, expected):
    assert settle(SearchConfig(preset="paper"), 6, differentiable).algorithm == expected


@pytest.mark.parametrize("preset", ["tuned", "paper"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_settling_twice_changes_nothing(algorithm, preset):
    once = settle(SearchConfig(algorithm=algorithm, preset=preset), 6, True)
    assert settle(once, 6, True) == once
    written = SearchConfig.model_validate(once.model_dump(mode="json"))
    assert settle(written, 6, True) == once


@pytest.mark.parametrize("preset", ["tuned", "paper"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_user_gave_stays(algorithm, preset):
    given = {"emitters": 5, "batch_size": 9, "evaluations": 12_345, "sigma0": 0.77, "prior_starts": 70}
    settled = settle(SearchConfig(algorithm=algorithm, preset=preset, **given), 6, True)
    assert {name: getattr(settled, name) for name in given} == given


def test_the_paper_preset_is_the_published_run():
    paper = settle(SearchConfig(preset="paper", algorithm="cma_maega"), 6, True)
    published = {
        "emitters": 1,
        "batch_size": 3,
        "sigma0": 0.5,
        "step_size": 0.5,
        "ranker": "imp",
        "restart_rule": "basic",
        "learning_rate": 0.02,
        "threshold_min": 0.0,
        "prior_starts": 512,
        "prior_share": 0.0,
        "calibrate_objective": False,
        "evaluations": 512 + 4 * 70_000,
    }
    assert {name: getattr(paper, name) for name in published} == published
    assert iteration_cost(paper) == 4


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "cma_maega"])
def test_the_paper_preset_spends_four_evaluations_an_iteration_with_any_algorithm(algorithm):
    assert iteration_cost(settle(SearchConfig(preset="paper", algorithm=algorithm), 6, True)) == 4


def test_random_samples_take_at_most_a_quarter_of_a_small_budget():
    settled = settle(SearchConfig(evaluations=1000), 6, True)
    assert (settled.range_samples, settled.prior_starts) == (250, 250)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_emitters_and_prior_share_the_batch(share):
    config = settle(SearchConfig(emitters=8, batch_size=32, prior_share=share), 6, True)
    own, fresh = split_batch(config)
    assert 8 * own + fresh == iteration_cost(config) == 256
    assert fresh / 256 == pytest.approx(share, abs=1 / 32)


def test_gradient_algorithms_cost_one_point_an_emitter_more():
    config = settle(SearchConfig(algorithm="cma_maega", emitters=8, batch_size=32), 6, True)
    assert iteration_cost(config) == 8 * 33


def test_gradient_algorithms_refuse_a_generator_without_gradients():
    with pytest.raises(InputError, match=r"search.algorithm: cma_mega needs gradients"):
        settle(SearchConfig(algorithm="cma_mega"), 6, False)


def test_a_batch_too_small_for_an_evolution_strategy_is_refused():
    with pytest.raises(InputError, match=r"search.batch_size: cma_mae expected at least 2"):
        settle(SearchConfig(algorithm="cma_mae", batch_size=2, prior_share=0.5), 6, True)


@pytest.mark.parametrize(("algorithm", "iteration"), [("cma_mae", 4), ("cma_maega", 4), ("random", 4)])
def test_a_budget_is_measured_by_the_published_batch_where_that_is_taken(algorithm, iteration):
    config = SearchConfig(preset="paper", algorithm=algorithm, evaluations=iteration)
    assert settle(config, 6, True).evaluations == iteration
    with pytest.raises(InputError, match=rf"search.evaluations: .* one iteration of {iteration}, got 3"):
        settle(SearchConfig(preset="paper", algorithm=algorithm, evaluations=3), 6, True)


@pytest.mark.parametrize(
    ("device", "batch_size", "expected"),
    [("cpu", 32, 64), ("cuda", 32, 256), ("cuda", 2, 64), ("cuda", 400, 512)],
)
def test_on_a_gpu_a_micro_batch_holds_what_is_asked_for_at_once(device, batch_size, expected):
    config = SearchConfig(emitters=8, batch_size=batch_size)
    assert settle(config, 6, True, device=device).micro_batch == expected
    given = config.model_copy(update={"micro_batch": 16})
    assert settle(given, 6, True, device=device).micro_batch == 16
