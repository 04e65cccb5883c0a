"""What the recognition study says: paired intervals between arms, a verdict, and one figure."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdgs.fairness.classification import paired_interval
from qdgs.report.style import DATASET, FAINT, RANDOM, SMALL, TARGET, blank, tidy, title

COMPARISONS = (
    ("qdgs", "random"),
    ("qdgs", "random-gated"),
    ("qdgs", "none"),
    ("random", "none"),
    ("random-gated", "random"),
    ("qdgs", "random-even"),
    ("random-even", "random-gated"),
    ("qdgs", "qdgs-elites"),
    ("qdgs", "qdgs-clusters"),
    ("qdgs-clusters", "random"),
)
LOOK = {
    "none": (FAINT, "D", "not pre-trained"),
    "random": (RANDOM, "s", "random samples"),
    "random-gated": (TARGET, "^", "random samples, gated"),
    "qdgs": (DATASET, "o", "qdgs set"),
    "random-even": (TARGET, "v", "random samples, gated and even"),
    "qdgs-elites": (DATASET, "x", "qdgs set, every elite an identity"),
    "qdgs-clusters": (DATASET, "v", "qdgs set, clusters for identities"),
    "pixels": (FAINT, "x", "pixels, nothing trained"),
}
ALLOWED_LOSS = 0.005


def intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Differences between arms over the seeds that both have, with 95 % intervals (Student's t).

    Columns: comparison, group, seeds, one, other, difference, low, high; no interval for one seed.
    """
    table = []
    for group, part in rows.groupby("group", sort=False):
        wide = part.pivot(index="seed", columns="pretraining", values="accuracy")
        for one, other in COMPARISONS:
            if not {one, other} <= set(wide):
                continue
            pairs = wide[[one, other]].dropna()
            if len(pairs):
                found = paired_interval(pairs[one], pairs[other])
                means = pairs.mean()
                name = f"{one} − {other}"
                table.append(
                    (name, group, len(pairs), means[one], means[other], found.value, found.low, found.high)
                )
    columns = ["comparison", "group", "seeds", "one", "other", "difference", "low", "high"]
    return pd.DataFrame(table, columns=columns)


def verdict(table: pd.DataFrame, rarest: str) -> Iterator[str]:
    """Whether the qdgs set did what it should, and what of it is the gate's doing, a sentence each."""
    part = table[table["comparison"] == "qdgs − random"].set_index("group")
    if rarest in part.index:
        row = part.loc[rarest]
        raised = "raises" if row["low"] > 0 else "lowers" if row["high"] < 0 else "is not seen to change"
        yield (
            f"Pre-training on the qdgs set {raised} accuracy on the rarest group ({rarest}): "
            f"{_difference(row)}."
        )
    gated = table[table["comparison"] == "qdgs − random-gated"].set_index("group")
    if rarest in gated.index:
        yield (f"Against random samples that pass a gate: {_difference(gated.loc[rarest])}.")
    if "all" in part.index:
        row = part.loc["all"]
        kept = "at most" if row["difference"] >= -ALLOWED_LOSS else "more than"
        settled = row["low"] >= -ALLOWED_LOSS or row["high"] < -ALLOWED_LOSS
        interval = f" [{row['low']:+.4f}, {row['high']:+.4f}]" if row["seeds"] > 1 else ""
        doubt = "" if settled else ", which is not settled"
        yield (
            f"Over all pairs accuracy changes by {row['difference']:+.4f}{interval}: {kept} half a point is "
            f"lost{doubt}."
        )


def _difference(row: pd.Series) -> str:
    if row["seeds"] < 2:
        return f"{row['difference']:+.4f}, one seed, no interval"
    clear = "" if row["low"] > 0 or row["high"] < 0 else ", which holds 0"
    return f"{row['difference']:+.4f}, [{row['low']:+.4f}, {row['high']:+.4f}]{clear}"


def draw_study(rows: pd.DataFrame, rarest: str, note: str) -> Figure:
    """Accuracy of each group by what was pre-trained on; a faint mark a seed, a full one their mean."""
    figure = blank(7.2, 4.4)
    axes: Axes = figure.subplots()
    groups = list(dict.fromkeys(rows["group"]))
    arms = [arm for arm in LOOK if arm in set(rows["pretraining"])]
    for place, arm in enumerate(arms):
        color, marker, label = LOOK[arm]
        shift = (place - (len(arms) - 1) / 2) * 0.16
        for x, group in enumerate(groups):
            values = rows[(rows["pretraining"] == arm) & (rows["group"] == group)]["accuracy"]
            axes.plot(
                np.full(len(values), x + shift),
                values,
                marker,
                color=color,
                alpha=0.35,
                markersize=4,
                linestyle="",
            )
            axes.plot(
                [x + shift],
                [values.mean()],
                marker,
                color=color,
                markersize=8,
                label=label if x == 0 else None,
            )
    names = [f"{group}\n(rarest)" if group == rarest else group for group in groups]
    axes.set_xticks(range(len(groups)), names)
    axes.set_ylabel("verification accuracy", fontsize=SMALL)
    tidy(axes, grid="y")
    pairs = ", ".join(f"{n:,}" for n in sorted(rows.loc[rows["group"] != "all", "n"].unique()))
    seeds = rows["seed"].nunique()
    sizes = f"{seeds} seed{'s' if seeds > 1 else ''}, {pairs} pairs a group" + (f"; {note}" if note else "")
    title(axes, "Verification by apparent lightness, by what was pre-trained on", sizes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    return figure
