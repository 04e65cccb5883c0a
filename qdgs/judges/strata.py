"""Two values of a score with a middle stratum that is neither."""

from __future__ import annotations

import numpy as np

from qdgs.errors import InputError

AGES = ("young", "old")
PRESENTATIONS = ("masculine", "feminine")


def two_values(names: tuple[str, str], score: np.ndarray, cut: float, margin: float) -> list[str | None]:
    """Names of scores `(n,)`: the first below the cut, the second from it on.

    Missing where the score is, and where it lies nearer to the cut than the margin: ambiguous.
    """
    distance = np.asarray(score, dtype=np.float64) - cut
    told = np.isfinite(distance) & (np.abs(distance) >= margin)
    return [names[int(far >= 0)] if clear else None for far, clear in zip(distance, told, strict=True)]


def check_option(place: str, value: float, low: float, high: float) -> float:
    """The value, if it is a number in a range.

    Raises:
        InputError: It is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise InputError(f"{place}: expected a number from {low} to {high}, got {value!r}")
    return float(value)
