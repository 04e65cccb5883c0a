import importlib
from pathlib import Path

import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments" / "speed"
SMALL = {"range_samples": 64, "prior_starts": 32, "emitters": 2, "batch_size": 16, "micro_batch": 16}


@pytest.fixture(scope="module")
def study():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield importlib.import_module
        torch.set_num_threads(threads)


def test_ways_to_spend_take_turns_and_a_second_call_does_what_is_missing(study, tmp_path):
    spending, out = study("spending"), tmp_path / "spending.csv"
    command = ["--out", str(out), "--seconds", "1", "--slices", "1", "--seeds", "1", "--processor-time"]
    for key, value in SMALL.items():
        command += ["--set", f"search.{key}={value}"]
    spending.main([*command, "--arms", "default"])
    first = out.read_text()
    spending.main([*command, "--arms", "default", "screen of 4"])
    assert out.read_text().startswith(first)
    rows = pd.read_csv(out)
    assert list(rows["arm"]) == ["default", "screen of 4"]
    assert (rows["evaluations"] >= 64 + 32).all()
    assert (rows["seconds"] >= 1).all()
    assert rows["group_diversity_ratio"].between(0, 2).all()


def test_other_rows_are_not_overwritten(study, tmp_path):
    spending, out = study("spending"), tmp_path / "other.csv"
    out.write_text("a,b\n1,2\n")
    with pytest.raises(spending.InputError, match="expected rows of this study"):
        spending.main(["--out", str(out)])


def test_processor_time_of_several_threads_is_refused(study, tmp_path, monkeypatch, capsys):
    spending = study("spending")
    monkeypatch.setattr(spending.torch, "get_num_threads", lambda: 2)
    with pytest.raises(SystemExit):
        spending.main(["--out", str(tmp_path / "a.csv"), "--processor-time"])
    assert "expected one thread" in capsys.readouterr().err


def test_shards_of_a_manifest_are_rendered_read_and_weighed(study, tmp_path, monkeypatch):
    manifests, out = study("manifests"), tmp_path / "manifests.csv"
    monkeypatch.setattr(manifests, "SHARD", 64)
    monkeypatch.setattr("sys.argv", ["manifests.py", "--lengths", "192", "--out", str(out)])
    manifests.main()
    rows = pd.read_csv(out).set_index("way")
    assert list(rows.index) == list(manifests.WAYS)
    assert rows["images"].tolist() == [64, 64, 64, 0]
    assert (rows["png_bytes"][:3] > 64 * 500).all()
    assert (rows["cpu_seconds"] > 0).all()


def test_two_workers_are_told_by_the_ratio_of_turns_and_by_what_is_possible(study):
    told = study("workers").told({1: [10, 20], 2: [20, 30]}, driver=0.1, alone=1.1)
    assert told["two_against_one"] == pytest.approx(1.75)
    assert told["at_most"] == pytest.approx(1.1 / 0.6)


def test_the_peak_of_a_run_is_that_of_its_process(study, monkeypatch):
    memory = study("memory")
    monkeypatch.setattr(memory, "PROGRAM", "b'x' * 400_000_000")
    told = memory.measured(memory.CONFIG, ["seed=1"])
    assert told["peak_memory_gb"] > 0.4
    assert told["set"] == ["seed=1"]
    monkeypatch.setattr(memory, "PROGRAM", "raise SystemExit(2)")
    with pytest.raises(SystemExit, match="2"):
        memory.measured(memory.CONFIG, [])
