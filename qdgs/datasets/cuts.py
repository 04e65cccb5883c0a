"""Where one group ends and the next begins on a measure: the middle of a range is not a class boundary."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qdgs.errors import InputError


@dataclass(frozen=True)
class Cut:
    """A calibrated cut point: `measure >= value` is the high side.

    Attributes:
        value: The cut point, in the measure's unit.
        balanced_accuracy: Mean of the shares of low and of high images that lie on their own side.
        counts: How many low and how many high images it was calibrated on.
    """

    value: float
    balanced_accuracy: float
    counts: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """Plain types for config.yaml, audit.json and the dataset card."""
        return {
            "value": self.value,
            "balanced_accuracy": self.balanced_accuracy,
            "low": self.counts[0],
            "high": self.counts[1],
        }


def calibrate_cut(
    measures: ArrayLike,
    is_high: ArrayLike,
    *,
    minimum: int = 10,
    name: str = "measure",
    values: tuple[str, str] = ("low", "high"),
) -> Cut:
    """The point of a measure that best separates labelled images of its low and its high side.

    Maximises ½·(P(m < c | low) + P(m ≥ c | high)) over c. The best points form intervals between
    neighbouring measures; the middle of the widest is taken.

    Args:
        measures: `(n,)`.
        is_high: `(n,)`, True where the teacher reads the high value.
        minimum: Images needed on each side.
        name: Name of the measure, for errors.
        values: Names of the low and the high value, for errors.

    Raises:
        InputError: Too few images of one side, or the measure does not tell the sides apart.
    """
    points, high = _checked(measures, is_high, name)
    counts = (int((~high).sum()), int(high.sum()))
    for value, count in zip(values, counts, strict=True):
        if count < minimum:
            raise InputError(
                f"dataset.groups.{name}.cut: expected at least {minimum} images that the teacher reads as "
                f"{value!r} to calibrate the cut on, got {count}; give the cut as a number"
            )
    edges, right = _separations(points, high)
    # Counted in integers, so that equally good intervals are equal: right = tn·n_high + tp·n_low.
    best = int(right.max()) if len(right) else 0
    accuracy = best / (2 * counts[0] * counts[1])
    if accuracy <= 0.5:
        raise InputError(
            f"dataset.groups.{name}.cut: expected the measure to grow from {values[0]!r} to {values[1]!r}, "
            f"got a balanced accuracy of {accuracy:.2f} at its best cut; check its prompts, or give the cut "
            "as a number"
        )
    return Cut(_middle_of_widest(edges, right == best), accuracy, counts)


def _checked(measures: ArrayLike, is_high: ArrayLike, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    points = np.asarray(measures, dtype=np.float64)
    high = np.asarray(is_high, dtype=bool)
    if points.ndim != 1 or points.shape != high.shape:
        raise InputError(
            f"dataset.groups.{name}.cut: expected measures and labels of shape (n,), got {points.shape} and "
            f"{high.shape}"
        )
    if not np.isfinite(points).all():
        raise InputError(f"dataset.groups.{name}.cut: expected finite measures, got NaN or infinity")
    return points, high


def _separations(points: NDArray[Any], high: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct measures `(k,)` and how right a cut between each and the next is `(k − 1,)`."""
    edges, inverse = np.unique(points, return_inverse=True)
    highs = np.bincount(inverse, weights=high, minlength=len(edges)).astype(np.int64)
    lows = np.bincount(inverse, minlength=len(edges)) - highs
    true_low = np.cumsum(lows)[:-1]
    true_high = highs.sum() - np.cumsum(highs)[:-1]
    return edges, true_low * highs.sum() + true_high * lows.sum()


def _middle_of_widest(edges: NDArray[Any], best: NDArray[Any]) -> float:
    changes = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(np.int8)))
    starts, ends = edges[changes[::2]], edges[changes[1::2]]
    widest = int(np.argmax(ends - starts))
    low, high = float(starts[widest]), float(ends[widest])
    middle = low + (high - low) / 2
    return middle if middle > low else high
