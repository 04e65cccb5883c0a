"""The rows of a comparison as CSV, parquet and a Markdown table, and what its endpoints say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from qdgs.compare_config import CompareConfig
from qdgs.compare_metrics import COSTS, SHOWN, best_of, number_text, over_seeds
from qdgs.comparison.endpoints import endpoint_sentences
from qdgs.datasets.manifest import write_parquet
from qdgs.fairness.diversity import GROUP_MINIMUM
from qdgs.fairness.intervals import Estimate
from qdgs.files import write_text
from qdgs.report.comparison import BALANCED, balancing, cheapest, cost_lines, reach

GRADED = "fairness_discrepancy"
"""What every set that was graded has."""

FROM_IMAGES = ("kl", "fairness_discrepancy_ratio", "group_diversity_ratio")
"""What a graded set lacks only where it is no number."""

SHARE_OF = "share of "
COLUMNS = ["method", "generator", "seed", "metric", "value", "low", "high", "n"]


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
        "method's own generator stand under its name, and its FD / random's, diversity and near-duplicates "
        "are relative to them, and to those of no other.\n",
        _table(frame, {name: heading for name, (heading, _) in SHOWN.items()}, config.run.generator.name),
        "\n## What it cost\n",
        _table(frame, COSTS, config.run.generator.name),
        *(f"- {sentence}" for sentence in crossover_sentences(frame, config)),
    ]
    if config.quick:
        parts.insert(1, "**Tiny sizes, to see that it works: the numbers say nothing.**\n")
    if config.endpoints:
        lines = [f"- {sentence}" for sentence in endpoint_sentences(frame, config)]
        parts += ["\n## Endpoints, named before the run\n", *lines]
    if failed:
        parts += ["\n## Failed\n", *(f"- {cell}: {sentence}" for cell, sentence in failed.items())]
    if notes := [*notes, *left_out_sentences(frame)]:
        parts += ["\n## Notes\n", *(f"- {note}" for note in notes)]
    return "\n".join(parts) + "\n"


def reading(seeds: int) -> str:
    """How values and intervals are to be read."""
    if seeds > 1:
        return "Means over seeds with Student's 95 % interval of the seeds."
    return "One seed: the intervals are of its images alone."


def crossover_sentences(frame: pd.DataFrame, config: CompareConfig) -> list[str]:
    """Which method is cheapest up to how many images, for what the generator and a judge are asked for."""
    told = []
    for metric in ("generator_calls", "judge_labels"):
        steps = cheapest(balancing(cost_lines(frame, metric), frame), reach(config)[1])
        if steps:
            parts = [f"{name} from {start:,.0f}" for start, name in steps]
            told.append(
                f"Fewest {COSTS[metric]} by images in the set, of methods whose largest share error is at "
                f"most {BALANCED:g}, with a search as long as it was: {', '.join(parts)}"
            )
    return told


def left_out_sentences(frame: pd.DataFrame) -> list[str]:
    """Numbers of graded sets that are missing from some seeds, and groups that diversity leaves out."""
    told = []
    graded = frame[frame["metric"] == GRADED]
    for method, generator in dict.fromkeys(zip(graded["method"], graded["generator"], strict=True)):
        rows = frame[(frame["method"] == method) & (frame["generator"] == generator)]
        seeds = rows.groupby("metric")["seed"].nunique()
        told += [
            f"{method} of {generator}: {heading} is no number in {seeds[GRADED] - seeds.get(metric, 0)} of "
            f"{seeds[GRADED]} seeds, and left out there"
            for metric, (heading, _) in SHOWN.items()
            if metric in FROM_IMAGES and seeds.get(metric, 0) < seeds[GRADED]
        ]
        here = frame[(frame["generator"] == generator) & frame["method"].isin([method, "random"])]
        few = here.loc[here["metric"].str.startswith(SHARE_OF) & (here["n"] < GROUP_MINIMUM), "metric"]
        if len(few):
            groups = ", ".join(sorted({metric.removeprefix(SHARE_OF) for metric in few}))
            told.append(
                f"{method} of {generator}: diversity leaves out {groups}, of which in a seed the set or "
                f"random samples have fewer than {GROUP_MINIMUM} images"
            )
    return told


def _table(frame: pd.DataFrame, headings: Mapping[str, str], generator: str) -> str:
    shown = {name: heading for name, heading in headings.items() if (frame["metric"] == name).any()}
    keys = list(dict.fromkeys(zip(frame["method"], frame["generator"], strict=True)))
    best = {name: best_of(frame, keys, name, generator) for name in shown}
    lines = [
        "| method | generator | " + " | ".join(shown.values()) + " |",
        "|---|---|" + "--:|" * len(shown),
    ]
    for key in keys:
        cells = [_cell(over_seeds(frame, *key, name), name, best=key in best[name]) for name in shown]
        lines.append(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(estimate: Estimate | None, name: str, *, best: bool) -> str:
    if estimate is None:
        return "–"
    text = number_text(estimate.value, name)
    text = f"**{text}**" if best else text
    low, high = number_text(estimate.low, name), number_text(estimate.high, name)
    return text if math.isnan(estimate.low) or low == high else f"{text} ({low} to {high})"
