"""Figures of a comparison: how far each method is from its target, and what a set of images costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from qdgs.compare_config import CompareConfig
from qdgs.compare_metrics import over_seeds
from qdgs.report.style import DATASET, FAINT, INK, RANDOM, SMALL, blank, plain, save, tidy, title

PANELS = {
    "max_share_error": "Largest relative error of a group's share (less is better)",
    "worst_group_accuracy": "Accuracy in the worst group (more is better)",
    "group_diversity_ratio": "Diversity within groups, relative to random samples (more is better)",
}
SHORT = {
    "max_share_error": "Largest share error",
    "worst_group_accuracy": "Worst group's accuracy",
    "group_diversity_ratio": "Diversity in groups",
}
FULL = 10.5
"""Width of the figures in inches."""
STYLES = ("-", "--", ":", "-.")
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f", "#111111")
LEAST, TIMES = 100, 10
"""Costs are drawn from so many images on, up to so many times those that were made: a search of fixed length
fills no set of any size."""
Line = tuple[str, float, float]
"""A method, what it spends once, and for each image."""
BALANCED = 0.5
"""Largest error of a group's share, relative to it, up to which a method's set counts as balanced."""


def draw_methods(frame: pd.DataFrame, config: CompareConfig, path: Path) -> Path:
    """Write `methods_figure` as PNG."""
    return save(methods_figure(frame, config), path)


def draw_costs(frame: pd.DataFrame, config: CompareConfig, path: Path) -> Path:
    """Write `costs_figure` as PNG."""
    return save(costs_figure(frame, config), path)


def methods_figure(frame: pd.DataFrame, config: CompareConfig, *, width: float = FULL) -> Figure:
    """One panel a number, one row a method, a point a seed and the mean; the run's own method in colour."""
    shown = [name for name in PANELS if (frame["metric"] == name).any()]
    methods = list(dict.fromkeys(_names(frame)))
    figure = blank(width, 0.4 + len(shown) * (0.7 + 0.24 * len(methods)))
    for number, name in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, number)
        rows = frame["metric"] == name
        _draw_panel(axes, frame[rows], _names(frame)[rows], methods)
        heading = PANELS[name] if width >= FULL else SHORT[name]
        title(axes, heading, _reading(config.seeds) if number == 1 and width >= FULL else "")
    return figure


def costs_figure(frame: pd.DataFrame, config: CompareConfig, *, width: float = FULL) -> Figure:
    """Images made and read for a set against its number of images, and where the cheapest method changes.

    Measured at one number of images: what was learned or searched once stays, the rest grows with the set.
    """
    narrow = width < FULL
    figure = blank(width, 8.6 if narrow else 4.6)
    panels = {"generator_calls": "Images that the generator made", "judge_labels": "Images that a judge read"}
    names = list(dict.fromkeys(_names(frame)))
    images = np.geomspace(*reach(config), 200)
    for number, (metric, text) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(*((2, 1) if narrow else (1, 2)), number)
        lines = cost_lines(frame, metric)
        for name, once, each in lines:
            _draw_line(axes, name, names.index(name), images, once + each * images)
        axes.text(
            0.98, 0.02, "\n".join(_coincident(lines)), ha="right", va="bottom", fontsize=SMALL, color=INK,
            transform=axes.transAxes, bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )  # fmt: skip
        for start, _ in cheapest(balancing(lines, frame), images[-1])[1:]:
            if start > images[0]:
                axes.axvline(start, color=FAINT, linestyle=":", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(EngFormatter(sep=""))
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("images in the set", fontsize=SMALL, color=INK)
        tidy(axes, grid="y")
        title(axes, text, "dotted: another becomes the cheapest")
    where: dict[str, Any] = (
        {"loc": "upper center", "bbox_to_anchor": (0.4, -0.25), "ncols": 2}
        if narrow
        else {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
    )
    axes.legend(fontsize=SMALL, frameon=False, handlelength=4, labelcolor=INK, **where)
    return figure


def _coincident(lines: Sequence[Line]) -> list[str]:
    """The methods that cost the same, whose lines lie on one another."""
    groups: dict[tuple[float, float], list[str]] = {}
    for name, once, each in lines:
        groups.setdefault((round(once), round(each, 6)), []).append(plain(name))
    return [f"one line: {fill(', '.join(names), 36)}" for names in groups.values() if len(names) > 1]


def _draw_line(axes: Axes, name: str, place: int, images: np.ndarray, values: np.ndarray) -> None:
    axes.plot(
        images,
        np.maximum(values, 1),
        STYLES[(place + place // len(COLORS)) % len(STYLES)],  # a colour comes again in another style
        color=COLORS[place % len(COLORS)],
        label=plain(name),
        linewidth=1.8,
    )


def cost_lines(frame: pd.DataFrame, metric: str) -> list[Line]:
    """Method → what it spends once and what for each image, by the parts that were counted apart.

    `<metric>_once` is what `fit` spent; methods without it are left out.
    """
    lines = []
    for name in dict.fromkeys(_names(frame)):
        rows = frame[_names(frame) == name].groupby("metric")["value"].mean()
        if {metric, f"{metric}_once", "images"} <= set(rows.index) and rows["images"] > 0:
            once = float(rows[f"{metric}_once"])
            lines.append((name, once, (float(rows[metric]) - once) / float(rows["images"])))
    return lines


def reach(config: CompareConfig) -> tuple[float, float]:
    """From and to how many images costs are told."""
    return min(LEAST, config.images), TIMES * config.images


def balancing(lines: Sequence[Line], frame: pd.DataFrame) -> list[Line]:
    """The lines of methods whose sets are balanced, in the mean over seeds: others are cheap in vain."""
    rows = frame[frame["metric"] == "max_share_error"]
    errors = rows["value"].groupby(_names(frame)[rows.index]).mean()
    return [line for line in lines if errors.get(line[0], np.inf) <= BALANCED]


def cheapest(lines: Sequence[Line], most: float) -> list[tuple[float, str]]:
    """From how many images on which method is the cheapest, up to `most`: the lower envelope of the lines."""
    steps: list[tuple[float, str]] = []
    images, left = 1.0, list(lines)
    while left and images <= most:
        at = images
        name, once, each = min(left, key=lambda line: (line[1] + line[2] * at, line[2]))
        steps.append((images, name))
        left = [line for line in left if line[2] < each]
        crossings = [(line[1] - once) / (each - line[2]) for line in left]
        images = max(min(crossings, default=most + 1), images)
    return steps


def _draw_panel(axes: Axes, rows: pd.DataFrame, names: pd.Series, methods: Sequence[str]) -> None:
    present = [method for method in methods if (names == method).any()]
    for place, method in enumerate(present):
        of = rows[(names == method).to_numpy()]
        mine = method.startswith("qdgs")
        color = DATASET if mine else RANDOM if method.startswith("random") else FAINT
        axes.plot(of["value"], np.full(len(of), place), "o", color=color, alpha=0.45, markersize=4)
        key = of.iloc[0][["method", "generator", "metric"]]
        found = over_seeds(of, *key)
        assert found is not None, "it has rows"
        mean, high = found.value, found.high
        axes.plot([found.low, high], [place, place], color=color, linewidth=2)
        axes.plot(mean, place, "D", color=color, markersize=5)
        axes.annotate(
            f"{mean:.3f}",
            (max(high, float(of["value"].max())), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
    axes.set_yticks(range(len(present)), [plain(name) for name in present])
    axes.set_ylim(len(present) - 0.5, -0.5)
    axes.margins(x=0.1)
    tidy(axes, grid="x")


def _names(frame: pd.DataFrame) -> pd.Series:
    """The method, and its generator where one method stands there with several."""
    several = frame.groupby("method")["generator"].nunique()
    doubled = frame["method"].map(several) > 1
    return frame["method"].where(~doubled, frame["method"] + " · " + frame["generator"])


def _reading(seeds: int) -> str:
    if seeds == 1:
        return "diamond: the one seed; bar: 95 % interval of its images"
    return f"small points: {seeds} seeds; diamond: mean; bar: Student's 95 % interval over seeds"
