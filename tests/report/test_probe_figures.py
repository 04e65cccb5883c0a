import math

import numpy as np
import pandas as pd
import pytest

from qdgs.fairness.intervals import Estimate
from qdgs.probe.errors import GroupError
from qdgs.report.archive import MeasureAxis
from qdgs.report.probe_figures import CELLS, cell_means, error_map, errors_by_group, moving_attributes

X, Y = MeasureAxis("color", -1.0, 1.0, 40, "red", "blue"), MeasureAxis("edges", 0.0, 2.0, 40, "3", "4")


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels()]]


def test_cell_means_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    samples = pd.DataFrame(
        {"color": rng.uniform(-1, 1, 300), "edges": rng.uniform(0, 2, 300), "number": rng.random(300)}
    )
    samples.loc[::7, "number"] = np.nan
    means = cell_means(samples, X, Y)
    for row, column in [(0, 0), (3, 9), (CELLS - 1, CELLS - 1)]:
        here = (np.floor((samples["color"] + 1) / 2 * CELLS) == column) & (
            np.floor(samples["edges"] / 2 * CELLS) == row
        )
        expected = samples.loc[here, "number"].mean()
        assert means[row, column] == pytest.approx(expected, nan_ok=True)
    assert error_map(samples, X, Y).axes[0].get_title(loc="left") == "The error over the archive"


def test_the_worst_group_stands_on_top_and_an_unknown_one_says_why():
    groups = [
        GroupError("a/b", 40, 0, Estimate(0.1, 0.0, 0.2), Estimate(0.1, 0.0, 0.2)),
        GroupError("c/d", 5, 0, Estimate(math.nan), Estimate(math.nan)),
        GroupError("e/f", 40, 0, Estimate(0.9, 0.8, 1.0), Estimate(0.9, 0.8, 1.0)),
    ]
    figure = errors_by_group(groups)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["c · d", "a · b", "e · f"]
    assert "too few images" in texts(figure)
    assert {"10 %", "90 %"} <= set(texts(figure))


def test_both_sources_stand_beside_each_other():
    rows = pd.DataFrame(
        [
            ("color", "groups", 0.9, 0.8, 1.0),
            ("color", "pairs", 0.8, 0.7, 0.9),
            ("size", "groups", 0.0, -0.1, 0.1),
        ],
        columns=["attribute", "source", "change", "low", "high"],
    )
    axes = moving_attributes(rows, 0.05).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "does not matter",
        "between groups",
        "within matched pairs",
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["size", "color"]
