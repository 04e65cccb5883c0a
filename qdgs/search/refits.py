"""Measure ranges found again while a search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdgs.config import MeasureConfig
from qdgs.search.ranges import Calibration, automatic_range


def refits_due(evaluations: int, budget: int, times: int) -> int:
    """How many of so many refits, evenly spread over the budget, should have been by now."""
    return min(times, evaluations * (times + 1) // budget)


def refitted(calibration: Calibration, measures: Sequence[MeasureConfig], found: NDArray[Any]) -> Calibration:
    """The calibration with automatic ranges around what a search has found, as they were around the prior.

    Args:
        calibration: So far.
        measures: Names, cells and ranges.
        found: Measures `(n, measure_dim)` of everything that is held.
    """
    ranges = [
        automatic_range(found[:, index]) if measure.range == "auto" else before
        for index, (measure, before) in enumerate(zip(measures, calibration.ranges, strict=True))
    ]
    kept = [
        new if new[0] < new[1] else before for new, before in zip(ranges, calibration.ranges, strict=True)
    ]
    return replace(calibration, ranges=tuple(kept))


def add_again(archives: Sequence[Any], rows: dict[str, NDArray[Any]]) -> None:
    """Put solutions into archives of other ranges; of one cell the best stays.

    Args:
        archives: Empty ones.
        rows: `latents`, `objective`, `measures` and `lineage`, one row a solution.
    """
    for archive in archives:
        archive.add(
            rows["latents"],
            rows["objective"].astype(np.float64),
            rows["measures"].astype(np.float64),
            lineage=rows["lineage"],
        )
