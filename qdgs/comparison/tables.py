"""The rows of a comparison as CSV, parquet and a Markdown table, and what its endpoints say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from qdgs.compare_config import ARMS, CompareConfig, EndpointConfig
from qdgs.datasets.manifest import write_parquet
from qdgs.fairness.classification import paired_interval
from qdgs.fairness.intervals import Estimate
from qdgs.files import write_text
from qdgs.report.comparison import CHEAP, aiming, cheapest, cost_lines

COLUMNS = ["method", "generator", "seed", "metric", "value", "low", "high", "n"]

SHOWN: dict[str, tuple[str, int]] = {
    "fairness_discrepancy": ("FD", -1),
    "corrected_fairness_discrepancy": ("FD corrected", -1),
    "fairness_discrepancy_ratio": ("FD / random's", -1),
    "kl": ("KL to target", -1),
    "normalized_entropy": ("entropy", 1),
    "max_share_error": ("max share error", -1),
    "smallest_group_share": ("smallest group", 1),
    "label_agreement": ("label agreement", 1),
    "judged_quality": ("quality", 1),
    "group_diversity_ratio": ("diversity", 1),
    "near_duplicates": ("near-duplicates", -1),
    "kernel_distance": ("KID (pixels)", -1),
    "mean_accuracy": ("mean accuracy", 1),
    "worst_group_accuracy": ("worst group", 1),
    "average_precision": ("AP", 1),
    "equal_opportunity_difference": ("DEO", -1),
    "bias_amplification": ("BA", 0),
    "score_divergence": ("KL of scores", -1),
}
"""Metric → its heading, and whether more is better (1), less is (−1) or near 0 is (0)."""

COSTS = {
    "generator_calls": "generator calls",
    "judge_labels": "judge labels",
    "guide_scores": "guide scores",
    "reference_images": "images brought",
    "trained_on": "trained on",
    "forwards": "forwards",
    "backwards": "backwards",
    "seconds": "seconds",
}
GATED = ("rejection", "qdgs", "qdgs-gradient")
"""Samplers whose images the gate chooses."""


def result_frame(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows `method, generator, seed, metric, value, low, high, n` of what cells found.

    Random samples of a method's own generator are the rows of method "random" of that generator; where two
    methods have one generator, those of the first.
    """
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, str, int]] = set()
    for cell in cells:
        found = [(cell["method"], cell["rows"])]
        if cell.get("random"):
            found.append(("random", cell["random"]))
        for method, numbers in found:
            key = (method, cell["generator"], cell["seed"])
            if key not in seen:
                seen.add(key)
                head = dict(zip(("method", "generator", "seed"), key, strict=True))
                rows += [{**head, "metric": metric, **row} for metric, row in numbers.items()]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"n": int, "seed": int}) if len(frame) else frame


def write_tables(
    out: Path,
    frame: pd.DataFrame,
    config: CompareConfig,
    failed: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    """Write comparison.csv, comparison.parquet and comparison.md."""
    write_text(out / "comparison.csv", frame.to_csv(index=False))
    write_parquet(out / "comparison.parquet", pa.Table.from_pandas(frame, preserve_index=False))
    write_text(out / "comparison.md", markdown(frame, config, failed, notes))


def markdown(
    frame: pd.DataFrame, config: CompareConfig, failed: Mapping[str, str], notes: Sequence[str]
) -> str:
    """The tables of a comparison, its endpoints, failures and notes, as Markdown."""
    seeds = config.seeds
    parts = [
        "# Comparison\n",
        f"{config.images:,} images a method of `{config.run.generator.name}`, {seeds} "
        f"seed{'s' if seeds > 1 else ''}. {reading(seeds)} Best of a column in bold; random samples of a "
        "method's own generator stand under its name.\n",
        _table(frame, {name: heading for name, (heading, _) in SHOWN.items()}),
        "\n## What it cost\n",
        _table(frame, COSTS),
        *(f"- {sentence}" for sentence in crossover_sentences(frame)),
    ]
    if config.quick:
        parts.insert(1, "**Tiny sizes, to see that it works: the numbers say nothing.**\n")
    if config.endpoints:
        lines = [f"- {sentence}" for sentence in endpoint_sentences(frame, config.endpoints)]
        parts += ["\n## Endpoints, named before the run\n", *lines]
    if failed:
        parts += ["\n## Failed\n", *(f"- {cell}: {sentence}" for cell, sentence in failed.items())]
    if notes:
        parts += ["\n## Notes\n", *(f"- {note}" for note in notes)]
    return "\n".join(parts) + "\n"


def reading(seeds: int) -> str:
    """How values and intervals are to be read."""
    if seeds > 1:
        return "Means over seeds with Student's 95 % interval of the seeds."
    return "One seed: the intervals are of its images alone."


def over_seeds(frame: pd.DataFrame, method: str, generator: str, metric: str) -> Estimate | None:
    """Mean over seeds with its interval: Student's for several, that of its images for one."""
    rows = frame[
        (frame["method"] == method) & (frame["generator"] == generator) & (frame["metric"] == metric)
    ]
    if not len(rows):
        return None
    if len(rows) == 1:
        row = rows.iloc[0]
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]))
    values = rows["value"].to_numpy(float)
    return paired_interval(values, np.zeros_like(values))


def endpoint_sentences(frame: pd.DataFrame, endpoints: Sequence[EndpointConfig]) -> list[str]:
    """What the comparison says of each endpoint, a sentence each."""
    return [sentence for endpoint in endpoints for sentence in _endpoint(frame, endpoint)]


def _endpoint(frame: pd.DataFrame, endpoint: EndpointConfig) -> list[str]:
    sign = SHOWN.get(endpoint.metric, ("", 1))[1]
    values = frame[(frame["metric"] == endpoint.metric) & ~frame["method"].isin(ARMS)]
    values = values[~values.duplicated(["method", "seed"])]
    table = values.pivot(index="seed", columns="method", values="value")
    if sign == 0:  # near 0 is better
        table, sign = table.abs(), -1
    if endpoint.method not in table:
        return [f"{endpoint.metric}: {endpoint.method} has no value"]
    if endpoint.at_most is not None:
        return [_bounded(table[endpoint.method].dropna(), endpoint, endpoint.at_most)]
    rivals = _rivals(table, endpoint, sign)
    told = [_against(table, endpoint, rival, sign) for rival in rivals]
    return told or [f"{endpoint.metric}: nothing to compare {endpoint.method} with"]


def _bounded(values: pd.Series, endpoint: EndpointConfig, bound: float) -> str:
    found = paired_interval(values, np.zeros(len(values)))
    return (
        f"{endpoint.metric}: {endpoint.method} has {found.value:.3f}{_ends(found, '.3f')}, "
        f"wanted at most {bound:g}: {verdict(bound - found.value, bound - found.high)}"
    )


def _rivals(table: pd.DataFrame, endpoint: EndpointConfig, sign: int) -> list[str]:
    others = [str(name) for name in table if name != endpoint.method and table[name].notna().any()]
    if endpoint.against == "best":
        return [max(others, key=lambda name: sign * table[name].mean())] if others else []
    if endpoint.against == "ungated":
        return [name for name in others if name not in GATED]
    return [name for name in others if name == endpoint.against]


def _against(table: pd.DataFrame, endpoint: EndpointConfig, rival: str, sign: int) -> str:
    both = table[[endpoint.method, rival]].dropna()
    ours, theirs = (sign * both[name].to_numpy(float) for name in both)
    gain = paired_interval(ours, theirs)
    said = verdict(gain.value + endpoint.margin, gain.low + endpoint.margin)
    return (
        f"{endpoint.metric}: {endpoint.method} is better than {rival} by {gain.value:+.3f}"
        f"{_ends(gain, '+.3f')}, wanted at least {0 - endpoint.margin:g}: {said}"
    )


def _ends(estimate: Estimate, form: str) -> str:
    return "" if math.isnan(estimate.low) else f" ({estimate.low:{form}} to {estimate.high:{form}})"


def verdict(room: float, least: float) -> str:
    """What is said of an endpoint.

    Args:
        room: How far the mean is on the right side.
        least: The same of the worse end of its interval, NaN where it has none.
    """
    if math.isnan(least):
        return ("holds" if room >= 0 else "does not hold") + " on this one seed, which settles nothing"
    if least >= 0:
        return "holds"
    return "holds in the mean, the interval does not settle it" if room >= 0 else "does not hold"


def crossover_sentences(frame: pd.DataFrame) -> list[str]:
    """Which method is cheapest up to how many images, for what the generator and a judge are asked for."""
    told = []
    for metric in ("generator_calls", "judge_labels"):
        steps = cheapest(aiming(cost_lines(frame, metric)))
        if steps:
            parts = [f"{name} from {start:,.0f}" for start, name in steps]
            told.append(
                f"Fewest {COSTS[metric]} by images in the set, {', '.join(CHEAP)} apart, which do not aim at "
                f"the shares of groups: {', '.join(parts)}"
            )
    return told


def _table(frame: pd.DataFrame, headings: Mapping[str, str]) -> str:
    shown = {name: heading for name, heading in headings.items() if (frame["metric"] == name).any()}
    keys = list(dict.fromkeys(zip(frame["method"], frame["generator"], strict=True)))
    table = {key: {name: over_seeds(frame, *key, name) for name in shown} for key in keys}
    best = {name: best_value([row[name] for row in table.values()], name) for name in shown}
    lines = [
        "| method | generator | " + " | ".join(shown.values()) + " |",
        "|---|---|" + "--:|" * len(shown),
    ]
    for (method, generator), row in table.items():
        cells = [_cell(row[name], name, best[name]) for name in shown]
        lines.append(f"| {method} | {generator} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def best_value(estimates: Sequence[Estimate | None], name: str) -> float | None:
    """The best of a metric's values; None where none is better than another, or there is none."""
    values = [estimate.value for estimate in estimates if estimate is not None]
    if name not in SHOWN or not values:
        return None
    sign = SHOWN[name][1]
    return min(values, key=abs) if sign == 0 else max(values, key=lambda value: sign * value)


def _cell(estimate: Estimate | None, name: str, best: float | None) -> str:
    if estimate is None:
        return "–"
    text = number_text(estimate.value, name)
    text = f"**{text}**" if estimate.value == best else text
    if math.isnan(estimate.low) or estimate.low == estimate.high:
        return text
    return f"{text} ({number_text(estimate.low, name)} to {number_text(estimate.high, name)})"


def number_text(value: float, name: str) -> str:
    """A metric's value as tables have it."""
    if name in COSTS:
        return f"{value:,.0f}"
    return f"{value:.3f}"
