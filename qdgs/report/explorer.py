"""What the page's explorer knows of the archive: one column a property, one entry an elite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from qdgs.config import DatasetConfig, group_names
from qdgs.randomness import Stream, stream
from qdgs.report.archive import MeasureAxis
from qdgs.report.opinions import Agreement, Codes, Opinions
from qdgs.report.style import COLORS

MOST_ELITES = 10_000
SHADES = 48
IN_PAIR = (60, 30, 16, 8, 4)
"""Images shown of each pair of opinions: as many as keep the whole below `MOST_IMAGES`."""
MOST_IMAGES = 1200


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows of a table that the page shows, and of how many they are.

    Attributes:
        rows: Positions in the table.
        total: Rows of the table.
    """

    rows: Codes
    total: int

    def __len__(self) -> int:
        return len(self.rows)


def palette(shades: int = SHADES) -> list[str]:
    """Colours from the lowest to the highest objective."""
    return [to_hex(colormaps[COLORS](at)) for at in np.linspace(0, 1, shades)]


def choose_solutions(solutions: pd.DataFrame, seed: int, most: int = MOST_ELITES) -> Chosen:
    """All solutions, or a random sample of `most` where there are more."""
    rows = np.arange(len(solutions))
    if len(rows) > most:
        rows = np.sort(stream(seed, Stream.REPORT).choice(rows, most, replace=False))
    return Chosen(rows, len(solutions))


def choose_images(opinions: Opinions, objective: NDArray[np.float64], most: int = MOST_IMAGES) -> Chosen:
    """Images for the table of opinions: of each pair of opinions those of the highest objectives.

    The guide was surest of these, so among disagreements they are the most telling.
    """
    pairs = pd.DataFrame(
        {"asked": opinions.audited_group(opinions.asked), "read": -1, "objective": objective}
    )
    if opinions.read is not None:
        pairs["read"] = opinions.audited_group(opinions.read)
    best_first = pairs.sort_values("objective", ascending=False, kind="stable")
    rank = best_first.groupby(["asked", "read"]).cumcount()
    limit = next((limit for limit in IN_PAIR if (rank < limit).sum() <= most), IN_PAIR[-1])
    return Chosen(best_first.index[rank < limit].to_numpy(np.int64)[:most], len(pairs))


def space(
    axes: Sequence[MeasureAxis], dataset: DatasetConfig, cuts: Mapping[str, Sequence[float]] | None
) -> dict[str, Any]:
    """Measures as axes, groups as values, and what the codes of opinions mean."""
    return {
        "measures": [_measure(axis, dataset, cuts) for axis in axes],
        "grouped": [
            {"name": name, "values": list(group.names), "audited": group.audit is not None}
            for name, group in dataset.groups.items()
        ],
        "groups": group_names(dataset.groups),
        "label": dataset.label,
        "agreements": [agreement.name.lower() for agreement in Agreement],
    }


def solutions_table(
    solutions: pd.DataFrame, axes: Sequence[MeasureAxis], opinions: Opinions, chosen: Chosen
) -> dict[str, Any]:
    """Columns of the explorer: cells and measures, objective, lineage and opinions of the chosen rows."""
    rows = solutions.iloc[chosen.rows]
    return {
        "total": chosen.total,
        "cell": [axis.index(rows[axis.name]).tolist() for axis in axes],
        "measure": [_short(rows[axis.name]) for axis in axes],
        "lineage": rows["lineage"].tolist() if "lineage" in rows else None,
        **opinions_table(rows["objective"], opinions.take(chosen.rows)),
    }


def opinions_table(objective: "pd.Series[float]", opinions: Opinions) -> dict[str, Any]:
    """Columns that images and elites share."""
    return {
        "objective": _short(objective),
        "group": opinions.group.tolist(),
        "asked": opinions.asked.T.tolist(),
        "read": None if opinions.read is None else opinions.read.T.tolist(),
        "askedGroup": opinions.audited_group(opinions.asked).tolist(),
        "readGroup": None if opinions.read is None else opinions.audited_group(opinions.read).tolist(),
        "agreement": opinions.agreement.tolist(),
    }


def _measure(
    axis: MeasureAxis, dataset: DatasetConfig, cuts: Mapping[str, Sequence[float]] | None
) -> dict[str, Any]:
    group = dataset.groups.get(axis.name)
    return {
        "name": axis.name,
        "low": axis.low,
        "high": axis.high,
        "cells": axis.cells,
        "lowPrompt": axis.low_prompt,
        "highPrompt": axis.high_prompt,
        "cuts": list((cuts or {}).get(axis.name, [])) if group else [],
        "values": list(group.names) if group else [],
    }


def _short(values: "pd.Series[float]") -> list[float]:
    """Four significant digits: enough for a reader, half the bytes."""
    return [float(f"{value:.4g}") for value in values]
