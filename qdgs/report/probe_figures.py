"""Figures of a probe: errors by group, what moves the model, and its error over the archive."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdgs.probe.errors import GroupError
from qdgs.report.archive import MeasureAxis
from qdgs.report.style import (
    COLORS,
    DATASET,
    FAINT,
    INK,
    LINE,
    RANDOM,
    SMALL,
    TEXT,
    WIDE,
    blank,
    percent,
    tidy,
    title,
    wrapped,
)

CELLS = 16
"""Cells of the map along each measure: fewer than the archive's, so that most hold several images."""


def errors_by_group(groups: Sequence[GroupError], *, width: float = WIDE, level: float = 0.95) -> Figure:
    """A point and an interval for each group, the worst on top.

    Args:
        groups: Errors.
        width: In inches.
        level: Coverage of the intervals, for the note.
    """
    told = sorted(groups, key=lambda group: np.nan_to_num(group.error.value, nan=-1.0))
    figure = blank(width, 1.3 + 0.36 * len(told))
    axes = figure.add_subplot()
    for place, group in enumerate(told):
        error = group.error
        if math.isnan(error.value):
            axes.annotate("too few images", (0.01, place), va="center", fontsize=SMALL, color=FAINT)
            continue
        axes.hlines(place, error.low, error.high, color=DATASET, linewidth=5, alpha=0.35)
        axes.plot(error.value, place, "o", color=DATASET, markersize=7)
        left = error.high > 0.8
        axes.annotate(
            percent(error.value),
            (error.low if left else error.high, place),
            xytext=(-8 if left else 8, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
            fontsize=SMALL,
            color=INK,
        )
    _names(axes, [group.group.replace("/", " · ") for group in told], width)
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    note = (
        f"bars: {percent(level)} intervals"
        if width < WIDE
        else f"share of wrong answers; bars: {percent(level)} intervals"
    )
    title(axes, "Errors by group", note)
    return figure


def moving_attributes(rows: pd.DataFrame, margin: float, *, width: float = WIDE) -> Figure:
    """How far each attribute moves the model: balanced groups and matched pairs, the margin in grey.

    Args:
        rows: `attribute`, `source` ("groups" or "pairs"), `change`, `low`, `high`; the largest first.
        margin: Changes that do not matter.
        width: In inches.
    """
    names = list(dict.fromkeys(rows["attribute"]))[::-1]
    figure = blank(width, 1.7 + 0.6 * len(names))
    axes = figure.add_subplot()
    axes.axvspan(-margin, margin, color=LINE, alpha=0.7, label="does not matter")
    axes.axvline(0, color=FAINT, linewidth=0.8)
    for source, color, offset, label in (
        ("groups", DATASET, 0.14, "between groups"),
        ("pairs", RANDOM, -0.14, "within matched pairs"),
    ):
        of = rows[rows["source"] == source]
        places = np.array([names.index(name) for name in of["attribute"]]) + offset
        axes.hlines(places, of["low"], of["high"], color=color, linewidth=5, alpha=0.35)
        if len(of):
            axes.plot(of["change"], places, "o", color=color, markersize=7, label=label)
    _names(axes, names, width)
    reach = max(0.12, float(np.nanmax(np.abs(rows[["change", "low", "high"]].to_numpy(float)), initial=0.0)))
    axes.set_xlim(-1.12 * reach, 1.12 * reach)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.4, -0.12),
        ncols=1 if width < WIDE else 3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
    title(axes, "What moves the model", "change of an answer's probability, all else equal")
    return figure


def error_map(
    samples: pd.DataFrame,
    x: MeasureAxis,
    y: MeasureAxis,
    *,
    width: float = WIDE,
    what: str = "share of wrong answers",
) -> Figure:
    """The mean of a number over two measures of the archive; cells without an image stay empty.

    Args:
        samples: A column for each measure, and `number`.
        x: The measure along the picture.
        y: The measure up the picture.
        width: In inches.
        what: What the number is.
    """
    means = cell_means(samples, x, y)
    figure = blank(width, 0.86 * width)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        np.linspace(x.low, x.high, CELLS + 1),
        np.linspace(y.low, y.high, CELLS + 1),
        np.ma.masked_invalid(means),
        cmap=COLORS,
        vmin=0,
        vmax=1,
        rasterized=True,
    )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, aspect=32, pad=0.02)
    bar.set_label(what, fontsize=TEXT, color=INK)
    bar.ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=SMALL, length=3)
    bar.outline.set_visible(False)
    axes.set_xlabel(_ends(x, "→", width), fontsize=SMALL, color=INK)
    axes.set_ylabel(_ends(y, "→", width), fontsize=SMALL, color=INK)
    tidy(axes)
    title(axes, "The error over the archive", f"{x.name} × {y.name}, as the guide measures them")
    return figure


def cell_means(samples: pd.DataFrame, x: MeasureAxis, y: MeasureAxis) -> np.ndarray:
    """Means of `number` by cell `(CELLS, CELLS)`, rows along y; NaN where there is no image."""
    at = y.index(samples[y.name], CELLS) * CELLS + x.index(samples[x.name], CELLS)
    numbers = samples["number"].to_numpy(float)
    there = np.isfinite(numbers)
    counts = np.bincount(at[there], minlength=CELLS**2)
    sums = np.bincount(at[there], weights=numbers[there], minlength=CELLS**2)
    means: np.ndarray = np.divide(sums, counts, out=np.full(CELLS**2, np.nan), where=counts > 0)
    grid: np.ndarray = means.reshape(CELLS, CELLS)
    return grid


def _names(axes: Axes, names: Sequence[str], width: float) -> None:
    axes.set_yticks(
        range(len(names)), [wrapped(name, 16 if width < WIDE else 34) for name in names], fontsize=SMALL
    )
    axes.set_ylim(-0.6, len(names) - 0.4)
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _ends(axis: MeasureAxis, arrow: str, width: float) -> str:
    text = f"{axis.low_prompt} {arrow} {axis.high_prompt}" if axis.low_prompt else axis.name
    return wrapped(text, 34 if width < WIDE else 70)
