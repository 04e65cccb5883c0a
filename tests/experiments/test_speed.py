import functools
import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.search.evaluation import Evaluator
from qdgs.search.ranges import Calibration

LAYOUTS = ("contiguous", "channels_last")
FOLDER = Path(__file__).parents[2] / "experiments" / "speed"


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        names = (
            "benchmark",
            "contestants",
            "grading",
            "speed_task",
            "speed_table",
            "stylegan2_jacobian",
            "overheads",
            "random_pipeline",
            "spending_table",
        )
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
        "renders": {"faces": {"render_raw_share": 0.8}},
        "machine": {
            "processor": "P",
            "cores": 2,
            "threads": 2,
            "device": "cpu",
            "torch": "2",
            "ribs": "0",
            "load": 0.1,
        },
        "seconds": 3.0,
        "clock": "wall-clock",
        "kind": "cpu",
        "generator": "shapes-vae",
        "left_out": "warm-up",
    }
    told = modules["benchmark"]._without_infinity(result)
    assert json.loads(json.dumps(told))["time_to_score_ratio"] is None
    lines = modules["speed_table"].table(told).splitlines()
    assert lines[0] == "| | qdgs-mini | ViT-B-32 |"
    assert lines[2].endswith("| 8.25 |  |")
    assert any(line.endswith("|  | 0.91 |") for line in lines)
    assert "| rendering to PNG, faces | 0.8 |  |" in lines
    assert lines[-1].endswith("CUDA: not measured here.")


def test_raw_passes_take_the_quickest_of_batches_and_layouts(modules, task):
    found = modules["benchmark"].quickest(task, modules["contestants"].Raw, [16, 32])
    assert (found.batch, found.layout) in {(size, name) for size in (16, 32) for name in (*LAYOUTS, "qdgs")}
    assert not found.rates
    with torch.no_grad():
        one, other = (task.scorer(layout)(task.latents(32)) for layout in LAYOUTS)
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
    weights = [task.scorer(layout).generator.decoder for layout in LAYOUTS]
    strides = [{tuple(weight.stride()) for weight in network.parameters()} for network in weights]
    assert strides[0] != strides[1]


# nothing that a tiny random StyleGAN2 makes is good enough for the archive of plain pyribs
@pytest.mark.filterwarnings("ignore:`archive` was empty:UserWarning")
@pytest.mark.filterwarnings("ignore:`result_archive` was empty:UserWarning")
def test_a_stylegan2_of_random_weights_takes_the_place_of_the_shapes(modules, tmp_path, monkeypatch):
    small = functools.partial(modules["stylegan2_jacobian"].architecture_of, 32)
    monkeypatch.setattr(modules["benchmark"], "architecture_of", lambda size, base: small(channel_base=256))
    overrides = modules["benchmark"]._generator("stylegan2-256", tmp_path)
    search = {"emitters": 2, "batch_size": 8, "range_samples": 64, "prior_starts": 32, "micro_batch": 16}
    overrides += [f"search.{key}={value}" for key, value in search.items()]
    monkeypatch.setattr(modules["contestants"].Published, "starts", 16)
    effort = modules["benchmark"].Effort(1, 0.0, 0.0, 0.1, 16, 1, (16,))
    monkeypatch.setattr(modules["benchmark"], "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(modules["benchmark"], "GRADIENT_BATCHES", (16,))
    told = modules["benchmark"].rates(
        modules["speed_task"].load_task("qdgs-mini", overrides=overrides), effort
    )
    assert told["raw_share"] > 0
    assert told["gradient_share"] > 0
    assert told["evaluations_per_second_ratio"] > 0


def test_a_diffusion_model_of_random_weights_takes_their_place_too(modules, tmp_path, monkeypatch):
    tiny = functools.partial(modules["random_pipeline"].random_pipeline, channels=(32, 32), size=16)
    monkeypatch.setattr(modules["benchmark"], "random_pipeline", tiny)
    overrides = modules["benchmark"]._generator("diffusion", tmp_path)
    task = modules["speed_task"].load_task("qdgs-mini", overrides=overrides)
    assert task.generator.image_size == 16
    with torch.no_grad():
        objective, measures = task.engine(task.latents(2))
    assert objective.isfinite().all()
    assert measures.shape == (2, 3)


def test_a_large_search_is_timed_with_every_cell_full(modules, monkeypatch):
    overheads = modules["overheads"]
    monkeypatch.setattr(overheads, "FACES_CELLS", (5, 4, 3))
    monkeypatch.setattr(overheads, "FACES_LATENTS", 16)
    found = []
    filling = overheads._fill
    monkeypatch.setattr(overheads, "_fill", lambda search: (filling(search), found.append(search)))
    told = overheads.outside("cma_mae", 2, lambda: 0.0)
    (search,) = found
    assert len(search.archive) == 60
    assert len(search.reservoir) >= 60
    assert told.seconds == [0.0, 0.0]
    assert told.checkpoint_gib > 0
    assert len(np.unique(search.archive.data("lineage"))) > 10


def test_time_outside_holds_bookkeeping_and_checkpoints(modules):
    outside = modules["overheads"].Outside
    assert outside([1.0, 4.0, 1.0], 0.0, 0.0, 0.1).share(8.0) == pytest.approx(0.2)
    # what is shown every 5 s, and a checkpoint of 6 s, which pauses for 120 s, or of a second, for 30
    assert outside([0.0], 1.0, 0.0, 1.0).share(1.0) == pytest.approx(1 / 6)
    assert outside([0.0], 0.0, 6.0, 1.0).share(1.0) == pytest.approx(6 / 126)
    assert outside([0.0], 0.0, 1.0, 1.0).share(1.0) == pytest.approx(1 / 31)


def test_a_duplicate_latent_is_judged_once_and_found_twice(modules, task):
    grader = modules["grading"].Grader(task, Calibration(0, ((-1.0, 1.0),) * 3, 90.0, 110.0, 0.0, 0.02))
    latents = task.latents(5).numpy()
    judged, embedded = grader._seen(latents[[0, 1, 0, 2]])
    assert len(grader._known) == 3
    again, embedded_again = grader._seen(latents[[2, 3, 1, 0]])
    assert np.array_equal(embedded[[3, 1, 0]], embedded_again[[0, 2, 3]])
    assert np.array_equal(embedded[0], embedded[2])
    assert judged.iloc[3].equals(again.iloc[0])


def test_processor_time_is_for_one_thread(modules, capsys, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(SystemExit):
        modules["benchmark"].arguments(["--out", "x.json", "--processor-time"])
    assert "--processor-time: expected one thread" in capsys.readouterr().err


def test_no_seeds_are_refused(modules, capsys):
    with pytest.raises(SystemExit):
        modules["benchmark"].arguments(["--out", "x.json", "--seeds", "0"])
    assert "--seeds: expected at least 1, got 0" in capsys.readouterr().err


def test_a_way_of_spending_is_told_as_a_share_of_the_default_of_its_seed(modules):
    rows = pd.DataFrame(
        [
            ("shapes", "default", 0, 200, 0.8),
            ("shapes", "mix", 0, 300, 0.4),
            ("shapes", "default", 1, 100, 0.5),
            ("shapes", "mix", 1, 50, 0.5),
            ("shapes", "mix", 2, 50, 0.5),  # nothing to compare with
            ("faces", "default", 0, 10, 0.1),
        ],
        columns=["task", "arm", "seed", "corrected_qd_score", "group_diversity_ratio"],
    )
    lines = modules["spending_table"].table(rows).splitlines()
    assert lines[0].startswith("| arm | shapes (2 seeds): score | shapes (2 seeds): diversity | faces (1")
    mix = next(line for line in lines if line.startswith("| mix |"))
    assert mix == "| mix | 1.00 (0.50 to 1.50) | 0.75 (0.50 to 1.00) |  |  |"
