"""One self-contained page of a comparison: what was to be decided, tables, figures, images of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from qdgs.compare_config import CompareConfig, parse_compare
from qdgs.compare_metrics import COSTS, SHOWN, best_of, number_text, over_seeds
from qdgs.comparison.cells import FIRST, Bench, Cell
from qdgs.comparison.endpoints import endpoint_sentences
from qdgs.comparison.kept import failures, kept_cell, notes_of, sheet_path
from qdgs.comparison.meanings import TABLES
from qdgs.comparison.tables import crossover_sentences, left_out_sentences, reading, result_frame
from qdgs.config import read_mapping
from qdgs.fairness.intervals import Estimate
from qdgs.files import write_text
from qdgs.report.comparison import FULL, PANELS, costs_figure, methods_figure
from qdgs.report.exhibits import Sheet
from qdgs.report.page import environment, page_style
from qdgs.report.sprites import encode
from qdgs.report.style import NARROW
from qdgs.report.vector import as_svg


@dataclass(frozen=True)
class Value:
    """One number of a table."""

    text: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Table:
    """Methods by metrics.

    Attributes:
        heading: What the numbers are about.
        columns: Heading and meaning of each metric.
        rows: Method, its generator, and its numbers, None where it has none.
    """

    heading: str
    columns: list[tuple[str, str]]
    rows: list[tuple[str, str, list[Value | None]]]


def report_comparison(folder: Path) -> Path:
    """Write report.html of a comparison's folder; of one that stopped halfway, with what is not there.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder's config.yaml is not one of a comparison.
    """
    return write_comparison_page(folder, parse_compare(read_mapping(folder / "config.yaml")))


def write_comparison_page(folder: Path, config: CompareConfig) -> Path:
    """Write report.html of what a folder holds of a comparison.

    Args:
        folder: Of the comparison.
        config: The comparison.

    Returns:
        The path of the page.
    """
    bench = Bench(config, folder)
    cells = bench.cells()
    kept = [(cell, kept_cell(bench, cell) or {}) for cell in cells]
    frame = result_frame([data for _, data in kept if "rows" in data])
    context = {
        "name": folder.resolve().name,
        "config": config,
        "title": _title(config),
        "lede": _lede(config),
        "endpoints": endpoint_sentences(frame, config) if len(frame) else [],
        "missing": [f"{cell.seed}/{cell.title}" for cell, data in kept if not data],
        "cells": len(cells),
        "failed": failures(kept),
        "notes": (*bench.independence(), *notes_of(kept), *left_out_sentences(frame)),
        "crossings": crossover_sentences(frame, config),
        "tables": [
            _table(frame, heading, metrics, config.run.generator.name) for heading, metrics in TABLES.items()
        ]
        if len(frame)
        else [],
        "figures": _figures(frame, config) if len(frame) else {},
        "sheets": _sheets(folder, kept, config.first_seed),
        "style": page_style(),
    }
    context["contents"] = _contents(context)
    page = folder / "report.html"
    write_text(page, environment().get_template("comparison.html").render(context))
    return page


def _title(config: CompareConfig) -> str:
    return f"{len(config.methods)} ways of balancing {config.run.generator.name}, side by side"


def _lede(config: CompareConfig) -> str:
    seeds = f"{config.seeds} seed{'s' if config.seeds > 1 else ''}"
    auditor = config.run.judges.auditor
    return (
        f"{config.images:,} images of each method, {seeds}, counted by "
        f"{auditor.who if auditor else 'nobody'}. {reading(config.seeds)}"
    )


def _contents(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    sections = (
        ("decided", "What was to be decided", context["endpoints"]),
        ("figure", "At a glance", context["figures"].get("methods")),
        ("images", "Images", context["sheets"]),
        ("tables", "Tables", context["tables"]),
        ("costs", "Costs", context["figures"].get("costs")),
        ("notes", "Notes", context["notes"] or context["failed"]),
    )
    return [(anchor, text) for anchor, text, there in sections if there]


def _table(frame: pd.DataFrame, heading: str, metrics: Mapping[str, str], generator: str) -> Table:
    there = {name: meaning for name, meaning in metrics.items() if (frame["metric"] == name).any()}
    rows = frame[frame["metric"].isin(there)]
    keys = list(dict.fromkeys(zip(rows["method"], rows["generator"], strict=True)))
    best = {name: best_of(frame, keys, name, generator) for name in there}
    return Table(
        heading,
        [(_heading(name), meaning) for name, meaning in there.items()],
        [
            (*key, [_value(over_seeds(frame, *key, name), name, best=key in best[name]) for name in there])
            for key in keys
        ],
    )


def _heading(metric: str) -> str:
    return SHOWN[metric][0] if metric in SHOWN else COSTS[metric]


def _value(estimate: Estimate | None, name: str, *, best: bool) -> Value | None:
    if estimate is None:
        return None
    text = number_text(estimate.value, name)
    low, high = number_text(estimate.low, name), number_text(estimate.high, name)
    told = not math.isnan(estimate.low) and low != high
    return Value(text, f"{low} to {high}" if told else "", best)


def _figures(frame: pd.DataFrame, config: CompareConfig) -> dict[str, dict[str, Any]]:
    told = "; ".join(_means(frame, metric, heading) for metric, heading in PANELS.items())
    drawn = {
        "methods": (lambda width: methods_figure(frame, config, width=width), f"Methods by number. {told}"),
        "costs": (lambda width: costs_figure(frame, config, width=width), _costs_alt(frame, config)),
    }
    return {name: _both(name, draw, alt) for name, (draw, alt) in drawn.items()}


def _both(name: str, draw: Any, alt: str) -> dict[str, Any]:
    """The figure for a page and for a phone."""
    widths: dict[str, float] = {"wide": FULL, "narrow": NARROW}
    figures: dict[str, Figure] = {key: draw(width) for key, width in widths.items()}
    return {key: as_svg(figure, f"{name}-{key}", alt) for key, figure in figures.items()}


def _means(frame: pd.DataFrame, metric: str, heading: str) -> str:
    means = frame[frame["metric"] == metric].groupby("method", sort=False)["value"].mean()
    return f"{heading}: {', '.join(f'{name} {number_text(value, metric)}' for name, value in means.items())}"


def _costs_alt(frame: pd.DataFrame, config: CompareConfig) -> str:
    told = crossover_sentences(frame, config)
    return " ".join(["Lines of what a set costs against its number of images.", *told])


def _sheets(
    folder: Path, kept: Sequence[tuple[Cell, Mapping[str, Any]]], seed: int
) -> list[tuple[str, str, Sheet | None]]:
    """First images of each method at the first seed; None where they are not kept."""
    return [
        (cell.title, data["generator"], _sheet(sheet_path(folder, cell)))
        for cell, data in kept
        if cell.seed == seed and cell.method is not None and "rows" in data
    ]


def _sheet(path: Path) -> Sheet | None:
    with suppress(OSError), Image.open(path) as image:
        return Sheet(encode(np.asarray(image.convert("RGB"))), FIRST)
    return None
