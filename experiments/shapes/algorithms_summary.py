"""What the study of algorithms says: means over seeds, one table and one figure."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdgs.fairness.classification import paired_interval
from qdgs.report.style import DATASET, FAINT, INK, RANDOM, SMALL, TEXT, blank, percent, tidy

HEADINGS = (
    "algorithm",
    "corrected QD score",
    "× random",
    "diversity in groups",
    "coverage",
    "outside ranges",
    "lineages",
    "elites confirmed",
    "evaluations",
    "seconds",
)
PANELS = (
    ("corrected_qd_score", "Corrected QD score", "elites where the auditor puts them"),
    ("group_diversity_ratio", "Diversity within groups", "left of the dashes: narrow"),
    ("elite_agreement", "Elites confirmed", "share whose label the auditor confirms"),
)
MEASURED = (
    "corrected_qd_score",
    "group_diversity_ratio",
    "coverage",
    "clipped_fraction",
    "lineages",
    "elite_agreement",
    "label_agreement",
    "near_duplicates",
    "gate_acceptance",
    "smallest_group_share",
    "qd_score",
    "objective_mean",
    "elites",
    "images",
    "evaluations",
    "equivalents",
    "seconds",
)


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, best corrected QD score first; `seeds`, and half of a 95 % interval as `<key>_half`.

    `over_random` is the mean over seeds of the corrected QD score divided by random search's of that seed.
    """
    random = rows[rows["algorithm"] == "random"].set_index("seed")["corrected_qd_score"]
    ratio = rows["corrected_qd_score"] / rows["seed"].map(random)
    table = []
    for algorithm, part in rows.assign(over_random=ratio).groupby("algorithm", sort=False):
        row: dict[str, Any] = {"algorithm": algorithm, "seeds": len(part)}
        for key in (*MEASURED, "over_random"):
            row[key], row[f"{key}_half"] = _mean(part[key].to_numpy(dtype=float))
        table.append(row)
    return pd.DataFrame(table).sort_values("corrected_qd_score", ascending=False, ignore_index=True)


def _mean(values: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[float, float]:
    """Mean of the values that are there, and half the length of Student's interval."""
    there = values[np.isfinite(values)]
    if not len(there):
        return math.nan, math.nan
    found = paired_interval(there, np.zeros(len(there)))
    return found.value, found.high - found.value


def markdown(rows: pd.DataFrame) -> str:
    """The table: means over seeds ± half of a 95 % interval."""
    table = means(rows)
    seeds = (
        f"{table['seeds'].min()}" if table["seeds"].nunique() == 1 else "up to " + f"{table['seeds'].max()}"
    )
    budget = int(rows["budget"].iloc[0])
    lines = [
        f"Means over {seeds} seeds ± half of a 95 % interval, at {budget:,} forward/backward equivalents.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---" + "|--:" * (len(HEADINGS) - 1) + "|",
    ]
    return "\n".join([*lines, *(_line(row) for _, row in table.iterrows())]) + "\n"


def _line(row: "pd.Series[Any]") -> str:
    cells = [
        str(row["algorithm"]),
        _with_half(row, "corrected_qd_score", ",.0f"),
        _plain(row["over_random"], ".2f"),
        _with_half(row, "group_diversity_ratio", ".2f"),
        _share(row["coverage"]),
        _share(row["clipped_fraction"]),
        _plain(row["lineages"], ",.0f"),
        _share(row["elite_agreement"]),
        _plain(row["evaluations"], ",.0f"),
        _plain(row["seconds"], ",.0f"),
    ]
    return f"| {' | '.join(cells)} |"


def _with_half(row: "pd.Series[Any]", key: str, form: str) -> str:
    half = row[f"{key}_half"]
    return _plain(row[key], form) + (f" ± {half:{form}}" if math.isfinite(half) else "")


def _plain(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "–"


def _share(value: float) -> str:
    return percent(value) if math.isfinite(value) else "–"


def draw_table(rows: pd.DataFrame) -> Figure:
    """Three panels over the algorithms, best first: a dot a seed, a line at the mean."""
    order = means(rows)["algorithm"].tolist()
    figure = blank(9.4, 1.5 + 0.42 * len(order))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (key, heading, note) in zip(panels, PANELS, strict=True):
        _panel(axes, rows, order, key)
        axes.set_title(heading, loc="left", fontsize=TEXT + 1, fontweight="bold", color=INK)
        axes.set_xlabel(note, loc="left", fontsize=SMALL, color=FAINT)
    panels[0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[1].axvline(0.8, color=RANDOM, linewidth=1.4, linestyle=(0, (4, 2)))
    panels[2].xaxis.set_major_formatter(lambda value, _: percent(value))
    panels[2].set_xlim(0, 1.02)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, order: Sequence[str], key: str) -> None:
    places = rows["algorithm"].map(order.index).to_numpy(dtype=float)
    spread = 0.06 * (rows["seed"] - rows["seed"].mean()).to_numpy(dtype=float)
    axes.scatter(rows[key], places + spread, s=20, color=DATASET, alpha=0.75, linewidths=0)
    mean = [rows.loc[rows["algorithm"] == algorithm, key].mean() for algorithm in order]
    axes.vlines(mean, np.arange(len(order)) - 0.32, np.arange(len(order)) + 0.32, color=INK, linewidth=1.8)
    tidy(axes, grid="x")
    axes.set_yticks(range(len(order)), order, fontsize=TEXT)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 1.04 * rows[key].max())
    axes.locator_params(axis="x", nbins=4)
