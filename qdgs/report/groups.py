"""Bars: the share of each group in the dataset, in random samples, and as it was asked for."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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

BAR = 0.36


def group_shares(
    shares: pd.DataFrame, *, heading: str = "Share of each group", width: float = WIDE
) -> Figure:
    """Bars of each group's share in the dataset and in as many random samples, against the target.

    Args:
        shares: One row a group: `group`, `target`, `share`, and where they are known `share_low`,
            `share_high` (ends of the interval), `random_share`, `random_share_low`, `random_share_high`.
        heading: Title of the picture.
        width: In inches; on a narrow figure the legend stands below the bars.
    """
    figure = blank(width, 1.5 + 0.52 * len(shares))
    draw_group_shares(figure.add_subplot(), shares, heading=heading)
    return figure


def draw_group_shares(axes: Axes, shares: pd.DataFrame, *, heading: str = "Share of each group") -> None:
    """Draw `group_shares` on given axes."""
    narrow = figure_width(axes) < WIDE
    width = 15 if narrow else 30
    places = np.arange(len(shares))[::-1].astype(float)
    with_random = "random_share" in shares
    offset = BAR / 2 if with_random else 0.0
    _bars(axes, places + offset, shares, "share", DATASET, "dataset")
    if with_random:
        _bars(axes, places - offset, shares, "random_share", RANDOM, "random samples")
    axes.vlines(
        shares["target"], places - 0.44, places + 0.44, color=TARGET, linewidth=1.6, label="target", zorder=4
    )
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(
        places, [wrapped(str(name).replace("/", " · "), width) for name in shares["group"]], fontsize=TEXT
    )
    axes.set_ylim(-0.6, len(shares) - 0.4)
    axes.set_xlim(0, None)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="upper center" if narrow else "lower right",
        bbox_to_anchor=(0.4, -0.08) if narrow else (1, 1),
        labelcolor=INK,
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        borderpad=0,
        handlelength=1.4,
        columnspacing=1.2,
    )
    told = "95 % intervals" if narrow else "as the auditor sees it, 95 % intervals"
    title(axes, heading, told if "share_low" in shares else "")


def figure_width(axes: Axes) -> float:
    """Width of the figure that axes stand on, in inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(figure.get_size_inches()[0])


def _bars(
    axes: Axes,
    places: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    shares: pd.DataFrame,
    name: str,
    color: str,
    label: str,
) -> None:
    values = shares[name].to_numpy(dtype=np.float64)
    axes.barh(places, values, height=BAR, color=color, label=label)
    ends = values
    if f"{name}_low" in shares:
        low = shares[f"{name}_low"].to_numpy(dtype=np.float64)
        ends = shares[f"{name}_high"].to_numpy(dtype=np.float64)
        axes.hlines(places, low, ends, color=INK, linewidth=1.0, zorder=3)
    for place, value, end in zip(places, values, ends, strict=True):
        axes.annotate(
            percent(value),
            (max(value, end), place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
