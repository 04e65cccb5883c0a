"""How a search went: quality, coverage and clipping against evaluations or seconds."""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdgs.report.style import DATASET, FAINT, INK, NARROW, RANDOM, SMALL, TEXT, WIDE, blank, percent, tidy

CLIPPED_WARNING = 0.05
"""Above this share of measures outside the archive's range, the range is too narrow."""

PANELS = (
    ("qd_score", "QD score"),
    ("coverage", "coverage"),
    ("objective_mean", "mean objective of the elites"),
    ("clipped_fraction", "share outside the measure ranges"),
)


def learning_curves(
    metrics: pd.DataFrame,
    *,
    against: Literal["evaluations", "seconds"] = "evaluations",
    columns: int = 2,
) -> Figure:
    """Four panels of a search's metrics.csv: QD score, coverage, mean objective, clipped fraction.

    Args:
        metrics: Rows of metrics.csv, in the order of the search.
        against: What runs along the panels.
        columns: Panels side by side: 2, or 1 for a narrow figure.
    """
    rows = len(PANELS) // columns
    figure = blank(WIDE if columns > 1 else NARROW, 2.2 * rows + 0.8)
    panels = figure.subplots(rows, columns, sharex=True).ravel()
    for axes, (column, heading) in zip(panels, PANELS, strict=True):
        _curve(axes, metrics, against, column)
        axes.set_title(heading, loc="left", fontsize=TEXT + 0.5, fontweight="bold", color=INK)
    for axes in panels[-columns:]:
        axes.set_xlabel(against, fontsize=TEXT, color=INK)
    last = metrics.iloc[-1]
    figure.suptitle(
        f"{last['evaluations']:,.0f} evaluations in {last['seconds']:,.0f} seconds",
        x=0.012,
        ha="left",
        fontsize=SMALL,
        color=FAINT,
    )
    return figure


def _curve(axes: Axes, metrics: pd.DataFrame, against: str, column: str) -> None:
    values = metrics[column].to_numpy(dtype=np.float64)
    axes.plot(metrics[against], values, color=DATASET, linewidth=1.8)
    tidy(axes, grid="y")
    axes.locator_params(nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if column != "objective_mean":
        axes.set_ylim(0, None)
    if column in ("coverage", "clipped_fraction"):
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
    elif column == "qd_score":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if column == "clipped_fraction":
        axes.set_ylim(0, max(1.6 * CLIPPED_WARNING, 1.1 * float(np.nanmax(values))))
        axes.axhline(CLIPPED_WARNING, color=RANDOM, linewidth=1.4, linestyle=(0, (4, 2)))
        axes.annotate(
            f"warning above {percent(CLIPPED_WARNING)}",
            (1, CLIPPED_WARNING),
            (0, 4),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=SMALL,
            color=FAINT,
        )
