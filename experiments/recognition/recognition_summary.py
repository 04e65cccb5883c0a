"""What the recognition study says: paired intervals between arms, a verdict, and one figure."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qdgs.fairness.classification import paired_interval
from qdgs.report.style import DATASET, FAINT, RANDOM, SMALL, TARGET, blank, tidy, title

COMPARISONS = (
    ("qdgs", "random"),
    ("qdgs", "random-gated"),
    ("qdgs", "none"),
    ("random", "none"),
    ("random-gated", "random"),
    ("qdgs", "random-even"),
    ("random-even", "random"),
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
OTHERS = {
    "random-gated": "random samples that pass a gate",
    "random-even": "as many of each group of random samples that pass a gate",
}
ALLOWED_LOSS = 0.005
PRETRAINING, REAL = "pre-training", "real set"
"""After which training something was verified."""
HEADINGS = {PRETRAINING: "Verification after pre-training", REAL: "… and after the biased real set"}


def intervals(rows: pd.DataFrame, after: str = REAL) -> pd.DataFrame:
    """Differences between arms over the seeds that both have, with 95 % intervals (Student's t).

    Columns: after, comparison, group, seeds, one, other, difference, low, high; no interval for one seed.
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
                numbers = (means[one], means[other], found.value, found.low, found.high)
                table.append((after, name, group, len(pairs), *numbers))
    columns = ["after", "comparison", "group", "seeds", "one", "other", "difference", "low", "high"]
    return pd.DataFrame(table, columns=columns)


def verdict(table: pd.DataFrame, rarest: str) -> Iterator[str]:
    """Whether the qdgs set did what it should, and what of it is the gate's doing, a sentence each."""
    table = table.set_index(["after", "comparison", "group"]).sort_index()

    def row(after: str, other: str, group: str) -> pd.Series | None:
        key = (after, f"qdgs − {other}", group)
        return table.loc[key] if key in table.index else None

    for after in (PRETRAINING, REAL):
        if (found := row(after, "random", rarest)) is not None:
            raised = _change(found)
            yield (
                f"After the {after} the qdgs set {raised} accuracy on the rarest group ({rarest}), against "
                f"random samples: {_difference(found)}."
            )
        for other, what in OTHERS.items():
            if (found := row(after, other, rarest)) is not None:
                yield f"Against {what}: {_difference(found)}."
    if (found := row(REAL, "random", "all")) is not None:
        kept = "at most" if found["difference"] >= -ALLOWED_LOSS else "more than"
        settled = found["low"] >= -ALLOWED_LOSS or found["high"] < -ALLOWED_LOSS
        interval = f" [{found['low']:+.4f}, {found['high']:+.4f}]" if found["seeds"] > 1 else ""
        doubt = "" if settled else ", which is not settled"
        yield (
            f"Over all pairs accuracy changes by {found['difference']:+.4f}{interval}: {kept} half a point "
            f"is lost{doubt}."
        )


def _change(row: pd.Series) -> str:
    if row["seeds"] < 2:
        return "changes"
    return "raises" if row["low"] > 0 else "lowers" if row["high"] < 0 else "is not seen to change"


def _difference(row: pd.Series) -> str:
    if row["seeds"] < 2:
        return f"{row['difference']:+.4f}, one seed, no interval"
    clear = "" if row["low"] > 0 or row["high"] < 0 else ", which holds 0"
    return f"{row['difference']:+.4f}, [{row['low']:+.4f}, {row['high']:+.4f}]{clear}"


def draw_study(rows: dict[str, pd.DataFrame], rarest: str, note: str) -> Figure:
    """Accuracy of each group by what was pre-trained on, a panel for each training that was verified after.

    A faint mark is a seed, a full one their mean.
    """
    rows = {after: own for after, own in rows.items() if len(own)}
    last = rows[REAL]
    pairs = " to ".join(
        f"{n:,}" for n in sorted({*last.loc[last["group"] != "all", "n"].agg(["min", "max"])})
    )
    seeds = last["seed"].nunique()
    sizes = f"{seeds} seed{'s' if seeds > 1 else ''}, {pairs} pairs a group" + (f"; {note}" if note else "")
    arms = [arm for arm in LOOK if arm in set(last["pretraining"])]
    figure = blank(9.6, 4.6)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, (after, own) in zip(panels, rows.items(), strict=True):
        _panel(axes, own, [arm for arm in arms if arm in set(own["pretraining"])], rarest)
        title(axes, HEADINGS[after], sizes if after == REAL else "nothing else seen")
    panels[0].set_ylabel("verification accuracy", fontsize=SMALL)
    marks = [
        Line2D([], [], color=color, marker=marker, markersize=8, linestyle="", label=label)
        for color, marker, label in (LOOK[arm] for arm in arms)
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(arms), frameon=False, fontsize=SMALL)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, arms: list[str], rarest: str) -> None:
    groups = list(dict.fromkeys(rows["group"]))
    for place, arm in enumerate(arms):
        color, marker, _ = LOOK[arm]
        shift = (place - (len(arms) - 1) / 2) * 0.16
        own = rows[rows["pretraining"] == arm]
        for x, group in enumerate(groups):
            values = own.loc[own["group"] == group, "accuracy"]
            if len(values):
                where = np.full(len(values), x + shift)
                axes.plot(where, values, marker, color=color, alpha=0.35, markersize=4, linestyle="")
                axes.plot(where[:1], [values.mean()], marker, color=color, markersize=8)
    axes.set_xticks(range(len(groups)), [f"{g}\n(rarest)" if g == rarest else g for g in groups])
    tidy(axes, grid="y")
