"""What the recognition study says of its rows."""

import importlib
from pathlib import Path

import pandas as pd
import pytest


def test_what_the_study_says_follows_from_its_rows(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "experiments" / "recognition"))
    summary = importlib.import_module("recognition_summary")
    rows = pd.DataFrame(
        [
            (arm, seed, group, value + 0.001 * seed, 100)
            for arm, values in {"random": (0.90, 0.80, 0.85), "qdgs": (0.89, 0.84, 0.852)}.items()
            for group, value in zip(("dark", "light", "all"), values, strict=True)
            for seed in range(3)
        ],
        columns=["pretraining", "seed", "group", "accuracy", "n"],
    )
    rows.loc[(rows["pretraining"] == "qdgs") & (rows["seed"] == 2), "accuracy"] += 0.001
    table = summary.intervals(rows)
    light = table.set_index("group").loc["light"]
    assert light["difference"] == pytest.approx(0.04 + 0.001 / 3)
    assert light["low"] > 0
    first, second = summary.verdict(table, "light")
    assert first.startswith(
        "After the real set the qdgs set raises accuracy on the rarest group (light), against random "
        "samples: +0.0403, [+0.0"
    )
    assert second.startswith("Over all pairs accuracy changes by +0.0023 [+0.0009, +0.0038]: at most half")
    assert second.endswith("is lost.")
    single = list(summary.verdict(summary.intervals(rows[rows["seed"] == 0]), "light"))
    assert "the qdgs set changes accuracy on the rarest group" in single[0]
    assert single[0].endswith(": +0.0400, one seed, no interval.")
    even = table.assign(comparison="qdgs − random-even")
    (sentence,) = summary.verdict(even, "light")
    assert sentence.startswith(
        "Against as many of each group of random samples that pass a gate: +0.0403, [+0.0"
    )
    worse = table.assign(difference=-0.02, low=-0.05, high=0.01)
    before = summary.intervals(rows, summary.PRETRAINING)
    alone, first, second = summary.verdict(pd.concat([worse, before]), "light")
    assert alone.startswith("After the pre-training the qdgs set raises accuracy on the rarest group")
    assert "is not seen to change" in first
    assert "which holds 0" in first
    assert second == (
        "Over all pairs accuracy changes by -0.0200 [-0.0500, +0.0100]: more than half a point is lost, "
        "which is not settled."
    )
