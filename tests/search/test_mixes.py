import dataclasses

import numpy as np
import pandas as pd
import pytest
from ribs.schedulers import BanditScheduler

from qdgs.errors import InputError
from qdgs.search import checkpoint
from qdgs.search.loop import illuminate
from qdgs.search.mixes import active_emitters, all_emitters
from qdgs.search.settings import iteration_cost

MIX = ["cma_mae", "map_elites_line", "random"]
SPENDING = {
    "mix": {"mix": MIX},
    "refits": {"refit_ranges": 3},
    "screen": {"algorithm": "map_elites_line", "screen": 4, "evaluations": 1600},
    "all": {"mix": MIX, "refit_ranges": 2, "screen": 3, "evaluations": 1600},
    "gradients": {"algorithm": "cma_maega", "mix": ["cma_maega", "cma_mae"]},
}


def finished(search):
    progress = [dataclasses.replace(step, seconds=0.0) for step in illuminate(search)]
    return search, progress


def equal(one, other) -> None:
    pd.testing.assert_frame_equal(one.archive_frame(), other.archive_frame(), check_exact=True)
    pd.testing.assert_frame_equal(one.reservoir_frame(), other.reservoir_frame(), check_exact=True)


@pytest.mark.parametrize("name", SPENDING)
def test_resumed_a_search_equals_an_unbroken_one(problem, name, tmp_path):
    config = problem.config(**SPENDING[name])
    unbroken, progress = finished(problem.begin(config))
    broken = problem.begin(config)
    for step in illuminate(broken):
        if step.evaluations > 0.6 * config.evaluations:
            break
    checkpoint.save(broken, tmp_path / "checkpoint")
    resumed = checkpoint.load(tmp_path / "checkpoint", score=problem.score, sample_prior=problem.sample_prior)
    resumed, later = finished(resumed)
    assert later == progress[-len(later) :]
    equal(resumed, unbroken)


def test_a_bandit_keeps_as_many_emitters_active_as_are_configured(problem):
    search = problem.begin(problem.config(mix=MIX))
    assert isinstance(search.scheduler, BanditScheduler)
    assert len(all_emitters(search.scheduler)) == 3 * len(MIX)
    kinds = set()
    for _ in illuminate(search):
        active = active_emitters(search.scheduler)
        kinds |= {type(emitter).__name__ for emitter in active}
        assert len(active) == 3
    assert (search.evaluations - 64) % iteration_cost(search.config) == 0
    assert kinds == {"EvolutionStrategyEmitter", "IsoLineEmitter", "PriorEmitter"}


def test_lineages_are_those_of_the_emitters_that_were_active(problem):
    search, _ = finished(problem.begin(problem.config(mix=["random"], evaluations=400)))
    lineages = search.reservoir_frame()["lineage"]
    assert lineages.is_unique  # a fresh sample founds its own family


def test_with_gradients_kinds_take_turns(problem):
    search = problem.begin(problem.config("cma_maega", mix=["cma_maega", "cma_mae"], emitters=4))
    points = search.ask_dqd()
    assert len(points) == 2
    search.tell_dqd(search.evaluator.jacobians(points))
    assert len(search.ask()) == 4 * 8


def test_gradients_in_the_mix_of_a_search_without_are_refused(problem):
    with pytest.raises(InputError, match=r"search\.mix: cma_mega needs search\.algorithm"):
        problem.begin(problem.config("cma_mae", mix=["cma_mega", "random"]))


def test_ranges_are_found_again_and_everything_that_is_held_moves(problem):
    fixed, _ = finished(problem.begin(problem.config("random", evaluations=1000)))
    search, _ = finished(problem.begin(problem.config("cma_mae", refit_ranges=3)))
    assert search.calibration.ranges != fixed.calibration.ranges
    elites, held = search.archive_frame(), search.reservoir_frame()
    np.testing.assert_array_equal(search.archive.lower_bounds, [low for low, _ in search.calibration.ranges])
    for frame in (elites, held):
        cells = search.archive.index_of(frame[["east", "north"]].to_numpy())
        np.testing.assert_array_equal(frame["cell"], cells)
    best = held.groupby("cell")["objective"].max()
    np.testing.assert_array_equal(elites.set_index("cell")["objective"], best)


def test_a_range_that_is_given_stays(problem):
    measures = [problem.measures[0].model_copy(update={"range": (-1.0, 1.0)}), problem.measures[1]]
    search, _ = finished(problem.begin(problem.config(refit_ranges=2), measures=measures))
    assert search.calibration.ranges[0] == (-1.0, 1.0)
    assert search.calibration.ranges[1] != problem.begin(problem.config()).calibration.ranges[1]
