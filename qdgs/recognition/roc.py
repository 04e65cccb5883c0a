"""The trade-off between the two mistakes of telling pairs by their distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdgs.errors import InputError
from qdgs.fairness.intervals import Array

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Roc:
    """The trade-off between mistakes, from the strictest threshold on.

    Attributes:
        thresholds: Ascending; at each, pairs up to and at it are accepted. The first, −∞, accepts none.
        false_accepts: Share of the different pairs that are accepted.
        true_accepts: Share of the same pairs that are.
    """

    thresholds: Array
    false_accepts: Array
    true_accepts: Array

    def true_accepts_at(self, false_accept_rate: float) -> float:
        """Highest share of same pairs accepted with at most this share of the different ones."""
        return float(self.true_accepts[self.false_accepts <= false_accept_rate].max())

    def equal_error(self) -> tuple[float, float]:
        """Where as large a share of the same pairs is refused as of the different ones is accepted.

        Returns:
            Threshold and rate, linear between the two distances around it.
        """
        excess = self.false_accepts + self.true_accepts - 1  # grows from −1 to 1
        after = int(np.argmax(excess >= 0))
        before = after - 1
        share = -excess[before] / (excess[after] - excess[before])
        start = self.thresholds[before] if before else self.thresholds[after]
        threshold = start + share * (self.thresholds[after] - start)
        rate = self.false_accepts[before] + share * (self.false_accepts[after] - self.false_accepts[before])
        return float(threshold), float(rate)


def roc_curve(distances: Array, same: Bools) -> Roc:
    """The curve through every distance that occurs.

    Raises:
        InputError: There are no same pairs, or no different ones.
    """
    if same.all() or not same.any():
        kind = "different" if same.all() else "same"
        raise InputError(
            f"pairs: expected same and different ones, got {len(same):,} pairs, none of them {kind}"
        )
    order = np.argsort(distances, kind="stable")
    sorted_distances, sorted_same = distances[order], same[order]
    last = np.append(np.flatnonzero(np.diff(sorted_distances)), len(order) - 1)
    accepted = np.cumsum(sorted_same)[last]
    true_accepts = accepted / same.sum()
    false_accepts = (last + 1 - accepted) / (~same).sum()
    return Roc(
        np.append(-np.inf, sorted_distances[last]),
        np.append(0.0, false_accepts),
        np.append(0.0, true_accepts),
    )
