import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from qdgs.search.evaluation import Evaluator
from qdgs.search.ranges import Calibration

FOLDER = Path(__file__).parents[2] / "experiments" / "speed"


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        names = ("benchmark", "contestants", "grading", "speed_task", "speed_table")
        yield {name: importlib.import_module(name) for name in names}
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(modules):
    return modules["speed_task"].load_task("qdgs-mini")


@pytest.fixture(scope="module")
def published(modules, task):
    ranges = ((-0.2, 0.2),) * task.measure_dim
    loop = modules["contestants"].Published(task, calibration=Calibration(0, ranges, 90.0, 110.0, 0.0, 0.02))
    loop.starts = 16
    loop.advance(0.0)
    return loop


def test_the_published_loop_has_the_gradients_of_one_batched_pass(task, published):
    latents = task.latents(3).numpy()
    one_by_one = [published._differentiate(latents[[index]]) for index in range(3)]
    evaluator = Evaluator(task.plain, latent_dim=6, measure_dim=3, micro_batch=16)
    together = evaluator.jacobians(latents)
    for index, (objective, measures, jacobian) in enumerate(one_by_one):
        np.testing.assert_allclose(objective, together.objective[[index]], rtol=1e-4)
        np.testing.assert_allclose(measures, together.measures[[index]], atol=1e-4)
        np.testing.assert_allclose(jacobian, together.jacobian[[index]], rtol=1e-2, atol=1e-3)


def test_an_iteration_of_the_published_loop_evaluates_a_point_and_three_branches(published):
    assert published.evaluations == 16  # the starts, of which the best one alone is kept
    assert len(published.snapshots[0].objective) == 1
    published.advance(0.0)
    assert published.evaluations == 20


def test_both_guides_score_alike(task):
    with torch.no_grad():
        latents = task.latents(32)
        for one, other in zip(task.plain(latents), task.engine(latents), strict=True):
            assert torch.equal(one, other)


def test_ratios_are_medians_over_slices_that_ran_side_by_side(modules):
    ratio = modules["benchmark"].ratio
    assert ratio([9, 2, 8, 3], [9, 1, 2, 3], skip=1) == 2


def test_the_way_to_a_score_ends_at_the_first_snapshot_that_has_it(modules):
    class Known(modules["grading"].Grader):
        def __post_init__(self):
            pass

        def score(self, snapshot):
            return snapshot.evaluations

    snapshot = modules["contestants"].Snapshot
    empty = np.empty(0, np.float32)
    snapshots = [snapshot(second, 10 * second, empty, empty, empty) for second in range(1, 9)]
    grader = Known(None, None)
    assert grader.seconds_to(35, snapshots) == 4
    assert grader.seconds_to(10, snapshots) == 1
    assert grader.seconds_to(81, snapshots) == float("inf")
    assert grader.seconds_to(1, []) == float("inf")


def test_what_was_never_reached_is_null_in_json_and_empty_in_the_table(modules):
    result = {
        "guide": "qdgs-mini",
        "guides": {"ViT-B-32": {"raw_share": 0.91, "outside": {"cma_mae_share": 0.004}}},
        "evaluations_per_second_ratio": 8.25,
        "time_to_score_ratio": float("inf"),
        "machine": {"processor": "P", "cores": 2, "threads": 2, "device": "cpu", "torch": "2", "ribs": "0"},
        "peak_memory_gb": 1.0,
        "seconds": 3.0,
        "clock": "wall-clock",
        "left_out": "warm-up",
    }
    told = modules["benchmark"]._without_infinity(result)
    assert json.loads(json.dumps(told))["time_to_score_ratio"] is None
    lines = modules["speed_table"].table(told).splitlines()
    assert lines[0] == "| | qdgs-mini | ViT-B-32 |"
    assert lines[2].endswith("| 8.25 |  |")
    assert any(line.endswith("|  | 0.91 |") for line in lines)


def test_no_seeds_are_refused(modules, capsys):
    with pytest.raises(SystemExit):
        modules["benchmark"].arguments(["--out", "x.json", "--seeds", "0"])
    assert "--seeds: expected at least 1, got 0" in capsys.readouterr().err
