"""Bars: the images that were there, those that were made, and what each group was to have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qdgs.report.style import (
    DATASET,
    INK,
    RANDOM,
    SMALL,
    TARGET,
    TEXT,
    WIDE,
    blank,
    percent,
    tidy,
    title,
    wrapped,
)


def top_up_bars(rows: Sequence[Mapping[str, Any]], *, width: float = WIDE) -> Figure:
    """Images there and images made of each group, stacked, against the target of both together.

    Args:
        rows: What `qdgs.datasets.gaps.together` gives.
        width: In inches; on a narrow figure names are broken earlier.
    """
    narrow = width < WIDE
    figure = blank(width, 1.6 + 0.46 * len(rows))
    axes = figure.add_subplot()
    places = np.arange(len(rows))[::-1].astype(float)
    there, made = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("there", "made"))
    total = float(there.sum() + made.sum())
    axes.barh(places, there, height=0.55, color=RANDOM, label="there")
    axes.barh(places, made, left=there, height=0.55, color=DATASET, label="made")
    wanted = [row["target"] * total for row in rows]
    axes.vlines(wanted, places - 0.4, places + 0.4, color=TARGET, linewidth=1.6, label="target", zorder=4)
    for place, row, end in zip(places, rows, np.maximum(there + made, wanted), strict=True):
        axes.annotate(
            percent(row["together"]),
            (end, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
    names = [wrapped(str(row["group"]).replace("/", " · "), 15 if narrow else 30) for row in rows]
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(places, names, fontsize=TEXT)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, None)
    axes.margins(x=0.1)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.4, -0.1),
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
    title(axes, "Images of each group", "" if narrow else "beside the bars: shares of both together")
    return figure
