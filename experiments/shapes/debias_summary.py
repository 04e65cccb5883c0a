"""What the classifier study says: paired intervals between arms, and one figure."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from debias_protocol import ARMS
from qdgs.fairness.classification import paired_interval
from qdgs.report.style import DATASET, FAINT, INK, RANDOM, SMALL, TARGET, TEXT, blank, tidy, title

COMPARISONS = (("qdgs", "biased"), ("qdgs", "random"), ("qdgs", "random-gated"), ("qdgs", "drawn"))
SCORES = {"accuracy": "Mean accuracy of the four groups", "worst_group": "Accuracy of the worst group"}
LOOK = {
    "biased": (FAINT, "o", "biased, not tuned"),
    "random": (RANDOM, "s", "random samples"),
    "random-gated": ("#CC79A7", "D", "random samples, gated"),
    "qdgs": (DATASET, "o", "balanced by qdgs"),
    "drawn": (TARGET, "^", "balanced drawings (ceiling)"),
}


def intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Differences between arms over the seeds that both have, with 95 % intervals (Student's t).

    Columns: bias, score, comparison, seeds, difference, low, high; the interval is empty for one seed.
    """
    table = []
    for bias, part in rows.groupby("bias", sort=False):
        for score in SCORES:
            wide = part.pivot(index="seed", columns="training", values=score)
            for one, other in COMPARISONS:
                if not {one, other} <= set(wide):
                    continue
                pairs = wide[[one, other]].dropna()
                if len(pairs):
                    found = paired_interval(pairs[one], pairs[other])
                    table.append(
                        (bias, score, f"{one} − {other}", len(pairs), found.value, found.low, found.high)
                    )
    return pd.DataFrame(table, columns=["bias", "score", "comparison", "seeds", "difference", "low", "high"])


def draw_study(rows: pd.DataFrame) -> Figure:
    """Two panels, mean and worst group, over the bias; whiskers are 95 % intervals over seeds."""
    figure = blank(9.4, 4.2)
    for axes, (score, heading) in zip(figure.subplots(1, 2, sharey=True), SCORES.items(), strict=True):
        _panel(axes, rows, score)
        title(axes, heading, "whiskers: 95 % intervals over seeds")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=SMALL
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, score: str) -> None:
    biases = sorted(rows["bias"].unique(), reverse=True)
    arms = [arm for arm in ARMS if arm in set(rows["training"])]
    for place, arm in enumerate(arms):
        part = rows[rows["training"] == arm]
        found = [
            (x + (place - (len(arms) - 1) / 2) * 0.07, *_mean(part.loc[part["bias"] == bias, score]))
            for x, bias in enumerate(biases)
            if (part["bias"] == bias).any()
        ]
        x, mean, half = (np.array(values) for values in zip(*found, strict=True))
        color, marker, label = LOOK[arm]
        axes.errorbar(
            x,
            mean,
            yerr=half,
            color=color,
            marker=marker,
            markersize=5,
            linewidth=1.4,
            capsize=2,
            label=label,
        )
    tidy(axes, grid="y")
    axes.set_xticks(range(len(biases)), [f"{bias:.2f}" for bias in biases], fontsize=TEXT)
    axes.set_xlabel("share of usual colours in the biased training images", fontsize=TEXT, color=INK)
    axes.set_ylim(0, 1.02)


def _mean(values: pd.Series) -> tuple[float, float]:
    found = paired_interval(values, np.zeros(len(values)))
    return found.value, 0.0 if np.isnan(found.high) else found.high - found.value
