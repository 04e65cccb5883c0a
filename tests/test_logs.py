import json
import sys
import types

import pandas as pd
import pytest

from qdgs.cli import run_command
from qdgs.errors import ConfigError, MissingPackageError
from qdgs.logs import open_logs, together
from qdgs.run import Run, Step


@pytest.fixture
def heard(monkeypatch):
    """Steps that a user's function was called with."""
    module, steps = types.ModuleType("a_users_log"), []
    module.log = steps.append
    monkeypatch.setitem(sys.modules, "a_users_log", module)
    return steps


def test_a_callback_hears_of_every_iteration_and_of_every_stage_that_is_through(finished, heard, capfd):
    assert run_command(["search", str(finished.path), "--anew", "--log", "a_users_log:log"]) == 0
    assert run_command(["resume", str(finished.path), "--log", "a_users_log:log"]) == 0
    iterations = [step for step in heard if step.stage == "search" and not step.through]
    assert iterations[-1].done == Run.open(finished.path).summary["evaluations"]
    assert {"qd_score", "coverage", "objective_mean", "lineages", "clipped_fraction"} <= set(
        iterations[0].numbers
    )
    through = {step.stage: step.numbers for step in heard if step.through}
    assert list(through) == ["search", "flatten", "render", "audit", "report", "export"]
    told = {key: value for numbers in through.values() for key, value in numbers.items()}
    assert told == {key: value for key, value in finished.summary.items() if value is not None} | {
        key: told[key] for key in ("search_seconds", "evaluations_per_second")
    }


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'qdgs[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_logs(["tensorboard"], tmp_path) as (log,):
        log(Step("search", 64, 128, "evaluations", {"qd_score": 10.0, "objective_max": float("nan")}))
        log(Step("search", 128, 128, "evaluations", {"qd_score": 30.0}))
        log(Step("audit", 1, 1, "stages", {"label_agreement": 0.5}))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["search/qd_score", "summary/label_agreement"]
    assert [(event.step, event.value) for event in events.Scalars("search/qd_score")] == [(64, 10), (128, 30)]


def test_a_top_up_is_logged_too_the_counting_of_images_before_it_included(
    finished, heard, tiny_config, tmp_path, capfd
):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'qdgs[tensorboard]'")
    out = tmp_path / "topped"
    arguments = ["top-up", finished.path / "dataset", "--config", tiny_config, "--images", "4", "--out", out]
    logs = ["--log", "a_users_log:log", "--log", "tensorboard"]
    settings = ["--set", "dataset.on_shortage=accept"]
    assert run_command([str(argument) for argument in [*arguments, *logs, *settings]]) == 0
    stages = list(dict.fromkeys(step.stage.partition(":")[0] for step in heard))
    assert stages == ["count", "search", "flatten", "render", "audit", "report", "export"]
    assert heard[0].total == len(list((finished.path / "dataset").rglob("*.png")))
    assert [step.numbers["images"] for step in heard if step.through and step.stage == "flatten"] == [4]
    assert list((out / "tensorboard").glob("events.*"))


def test_a_top_up_that_makes_nothing_leaves_no_folder(finished, heard, tiny_config, tmp_path, capfd):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'qdgs[tensorboard]'")
    rows = pd.read_csv(finished.path / "audit.csv").set_index("group")["share"]
    out, level = tmp_path / "topped", json.dumps(rows.to_dict())
    arguments = ["top-up", finished.path / "dataset", "--config", tiny_config, "--out", out]
    settings = ["--set", f"dataset.target={level}", "--log", "tensorboard"]
    assert run_command([str(argument) for argument in [*arguments, *settings]]) == 0
    assert "there is nothing to make" in capfd.readouterr().out
    assert not out.exists()


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(MissingPackageError, match=r"pip install 'qdgs\[tensorboard\]'"),
        open_logs(["tensorboard"], tmp_path),
    ):
        pass


@pytest.mark.parametrize("name", ["wandb", "no_such_module:log", "a_users_log:lag"])
def test_a_log_that_is_not_there_is_one_sentence(tmp_path, name, heard):
    with pytest.raises(ConfigError, match="--log: "), open_logs([name], tmp_path):
        pass


def test_several_are_told_in_turn():
    first, second = [], []
    step = Step("render", 1, 2, "images")
    together(first.append, second.append)(step)
    assert first == second == [step]
