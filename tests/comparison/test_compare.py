import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from qdgs.cli import DONE, FAILED, INPUT_IS_WRONG, run_command
from qdgs.compare_config import dump_compare
from qdgs.compare_metrics import COSTS
from qdgs.comparison.cells import Bench
from qdgs.comparison.compare import compare
from qdgs.comparison.kept import kept_cell
from qdgs.comparison.page import report_comparison
from qdgs.comparison.tables import COLUMNS
from qdgs.errors import InputError
from qdgs.samplers.base import SAMPLERS
from qdgs.samplers.rejection import RandomSampler

CONFIG = Path(__file__).parents[2] / "configs" / "comparison-shapes.yaml"
EVERY = {
    "fairness_discrepancy", "corrected_fairness_discrepancy", "fairness_discrepancy_ratio", "kl",
    "normalized_entropy", "max_share_error", "smallest_group_share", "label_agreement", "judged_quality",
    "near_duplicates", "kernel_distance", "mean_accuracy", "worst_group_accuracy", "average_precision",
    "equal_opportunity_difference", "bias_amplification", "score_divergence", *COSTS,
}  # fmt: skip


class Breaks(RandomSampler):
    """A method that crashes, as long as it is told to."""

    broken: ClassVar = True

    def sample(self, n, rng):
        if self.broken:
            raise ZeroDivisionError("of a method")
        return super().sample(n, rng)


class Unlabelled(RandomSampler):
    """A method whose images nobody can label."""

    def sample(self, n, rng):
        return super().sample(n, rng).assign(label=None)


def test_the_table_has_every_number_of_every_method_and_none_missing(compared):
    frame = pd.read_csv(compared.path / "comparison.csv")
    assert list(frame.columns) == COLUMNS
    assert not frame.isna().any().any()
    assert np.isfinite(frame[["value", "low", "high"]]).all().all()
    assert (frame["low"] <= frame["value"] + 1e-12).all()
    assert (frame["value"] <= frame["high"] + 1e-12).all()
    for method in ("random", "latent-mixtures", "paired-latents", "qdgs"):
        rows = frame[frame["method"] == method]
        assert "shapes-vae" in set(rows["generator"])
        assert set(rows.loc[rows["generator"] == "shapes-vae", "metric"]) >= EVERY, method
    for arm in ("biased", "group-dro", "greyscale", "zero-shot", "drawn"):
        rows = frame[frame["method"] == arm]
        assert set(rows["generator"]) == {"none"}
        assert {"mean_accuracy", "average_precision", "reference_images"} <= set(rows["metric"])
    pd.testing.assert_frame_equal(pd.read_parquet(compared.path / "comparison.parquet"), frame)


def test_a_generator_of_its_own_stands_beside_its_own_random_samples(compared):
    frame = pd.read_csv(compared.path / "comparison.csv")
    # what two steps make no judge can read: it has no shares
    table = frame[frame["metric"] == "kernel_distance"].set_index(["method", "generator"])["value"]
    assert set(table.loc["random"].index) == {"shapes-vae", "shapes-autoencoder"}
    assert table["autophagy", "shapes-autoencoder"] != table["random", "shapes-autoencoder"]
    own = frame[frame["method"] == "autophagy"]
    assert set(own["generator"]) == {"shapes-autoencoder"}
    assert set(own["metric"]) >= {*COSTS, "label_agreement", "worst_group_accuracy", "average_precision"}


def test_what_is_told_of_random_samples_is_what_they_are(compared):
    frame = pd.read_csv(compared.path / "comparison.csv")
    of = (frame["method"] == "random") & (frame["generator"] == "shapes-vae")
    told = frame[of].set_index("metric")
    assert told.loc["generator_calls", "value"] == told.loc["judge_labels", "value"] == 64
    assert told.loc["fairness_discrepancy_ratio", "value"] == pytest.approx(1, abs=0.4)
    shares = told[told.index.str.startswith("share of")]
    assert shares["value"].sum() == pytest.approx(1)
    assert shares["n"].sum() == told.loc["fairness_discrepancy", "n"]
    expected = np.linalg.norm(shares["value"] - 0.25)
    assert told.loc["fairness_discrepancy", "value"] == pytest.approx(expected)


def test_figures_and_markdown_are_there(compared):
    text = (compared.path / "comparison.md").read_text()
    assert "| qdgs | shapes-vae |" in text
    assert "Tiny sizes" in text
    assert "Endpoints" in text
    for name in ("comparison.png", "costs.png"):
        assert (compared.path / name).read_bytes().startswith(b"\x89PNG")


def test_how_far_the_search_of_a_cell_is_is_told_under_the_cells_name(compared, steps):
    told = [step for step in steps if step.stage == "qdgs, seed 0: search"]
    assert told[0].done < told[-1].done > 0.9 * told[-1].total
    cells = [step.done for step in steps if step.stage == "compare"]
    assert cells == list(range(len(cells)))
    assert not any(step.through for step in steps)


def test_a_second_call_does_nothing_again(compared, quick, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(compared.path, folder)
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*.json")}
    table = (folder / "comparison.csv").read_bytes()
    compare(quick(), folder)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert (folder / "comparison.csv").read_bytes() == table


def test_a_cell_that_crashed_is_marked_and_tried_again(quick, tmp_path, monkeypatch):
    monkeypatch.setitem(SAMPLERS, "breaks", "that_breaks:Breaks")
    monkeypatch.setitem(sys.modules, "that_breaks", SimpleNamespace(Breaks=Breaks))
    config = quick("methods=[breaks, random]", "downstream=null", "endpoints=[]")
    found = compare(config, tmp_path / "out")
    assert found.failed == {"0/breaks": "ZeroDivisionError: of a method"}
    frame = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert set(frame["method"]) == {"random"}
    assert "0/breaks: ZeroDivisionError" in (tmp_path / "out" / "comparison.md").read_text()
    kept = json.loads((tmp_path / "out" / "cells" / "0" / "breaks.json").read_text())
    assert "Traceback" in kept["traceback"]
    monkeypatch.setattr(Breaks, "broken", False)
    assert compare(config, tmp_path / "out").failed == {}
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["method"]) == {"breaks", "random"}


def test_the_command_ends_with_1_where_a_cell_failed_and_0_where_none_did(quick, tmp_path, capfd):
    path = tmp_path / "config.yaml"
    # no reference set: importance has nothing to learn from
    path.write_text(
        dump_compare(quick("methods=[random, importance]", "downstream=null", "data=null", "endpoints=[]"))
    )
    out = tmp_path / "out"
    assert run_command(["compare", str(path), "--out", str(out), "--device", "cpu"]) == FAILED
    captured = capfd.readouterr()
    assert "failed: 0/importance: importance: expected a reference set" in captured.err
    assert "1 cells" in captured.out
    again = ["compare", str(path), "--out", str(out), "--set", "methods=[random]", "--device", "cpu"]
    assert run_command(again) == DONE


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("methods=[randon]", "methods.name: unknown 'randon'; did you mean 'random'"),
        ("methods=[{name: rejection, bacth: 3}]", "methods.bacth: unknown option of 'rejection'"),
        ("run.judges.auditor=shape-geometry", "run.judges: expected an auditor that holds no other role"),
        ("methods=[{name: random, as: ../mine}]", "methods.0.as"),
        ("endpoints=[{metric: worst_group_acuracy, method: qdgs}]", "did you mean 'worst_group_accuracy'"),
        ("endpoints=[{metric: smallest_group, method: qdgs}]", "endpoints.metric: unknown 'smallest_group'"),
    ],
)
def test_a_wrong_configuration_is_one_sentence_before_anything_is_done(tmp_path, capfd, override, sentence):
    given = ["compare", str(CONFIG), "--out", str(tmp_path / "o"), "--quick", "--set", "endpoints=[]"]
    code = run_command([*given, "--set", override])
    error = capfd.readouterr().err
    assert code == INPUT_IS_WRONG
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_folder_of_something_else_is_refused(quick, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        compare(quick(), tmp_path)
    (tmp_path / "config.yaml").write_text("kind: run")
    with pytest.raises(InputError, match="expected the folder of a comparison, got that of a run"):
        compare(quick(), tmp_path)


def test_what_is_wrong_leaves_the_folder_of_a_comparison_as_it_was(compared, tmp_path, capfd):
    folder = tmp_path / "out"
    shutil.copytree(compared.path, folder)
    before = (folder / "config.yaml").read_bytes()
    given = ["compare", str(CONFIG), "--out", str(folder), "--quick", "--set", "endpoints=[]"]
    assert run_command([*given, "--set", "methods=[{name: rejection, bacth: 3}]"]) == INPUT_IS_WRONG
    assert (folder / "config.yaml").read_bytes() == before


def test_cells_of_another_configuration_are_not_told(compared, quick, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(compared.path, folder)
    (folder / "config.yaml").write_text(dump_compare(quick("images=65")))
    text = report_comparison(folder).read_text()
    assert "65 images of each method" in text
    assert "0/qdgs" in text  # among what is missing
    bench = Bench(quick("images=65"), folder)
    assert [kept_cell(bench, cell) for cell in bench.cells()] == [None] * len(bench.cells())


def test_the_biased_classifier_is_of_its_label(quick, tmp_path):
    benches = [Bench(quick(), tmp_path), Bench(quick("run.dataset.label=color"), tmp_path)]
    shape, color = (bench.task(0) for bench in benches)
    assert shape.biased != color.biased


def test_who_taught_the_guide_is_told(compared):
    text = (compared.path / "comparison.md").read_text()
    assert (
        "- The guide qdgs-mini learned its words from labels of shape-geometry, which is not the auditor."
        in text
    )


def test_images_without_a_label_leave_the_classifier_as_it_was(quick, tmp_path, monkeypatch):
    monkeypatch.setitem(SAMPLERS, "unlabelled", Unlabelled)
    found = compare(quick("methods=[unlabelled]", "downstream.arms=[biased]", "endpoints=[]"), tmp_path / "o")
    assert found.failed == {}
    assert "unlabelled, seed 0: none of its images has a label: the biased classifier stays" in found.notes[1]
    rows = pd.read_csv(found.path / "comparison.csv")
    table = rows[rows["metric"].str.contains("accuracy")].pivot(
        index="metric", columns="method", values="value"
    )
    assert (table["unlabelled"] == table["biased"]).all()
