from typing import Literal

import numpy as np
import pandas as pd
import pytest

from qdgs.report.curves import PANELS, learning_curves


@pytest.mark.parametrize("against", ["evaluations", "seconds"])
def test_the_curves_are_the_columns_of_the_metrics(
    metrics: pd.DataFrame, against: Literal["evaluations", "seconds"]
) -> None:
    figure = learning_curves(metrics, against=against)
    for axes, (column, heading) in zip(figure.axes, PANELS, strict=True):
        line = axes.lines[0]
        np.testing.assert_array_equal(line.get_xdata(), metrics[against])
        np.testing.assert_array_equal(line.get_ydata(), metrics[column])
        assert axes.get_title(loc="left") == heading


def test_the_warning_line_of_clipping_is_always_in_sight(metrics: pd.DataFrame) -> None:
    axes = learning_curves(metrics.assign(clipped_fraction=0.0)).axes[3]
    assert axes.get_ylim()[1] > 0.05
    assert axes.lines[1].get_ydata()[0] == 0.05


def test_a_search_of_one_iteration_can_be_drawn(metrics: pd.DataFrame) -> None:
    assert learning_curves(metrics.head(1)).axes[0].lines[0].get_xdata().tolist() == [256]
