"""Pools of pictures in one, drawn from so that every kind of face is about as frequent."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faces_captions import FaceFacts, facts_of, joined
from faces_pools import Pool

SHARES = {"prior": 0.6, "rejected": 0.12, "beyond": 0.08, "found": 0.2}
CELLS = ((1 / 3, 2 / 3), (0.5,), (1 / 3, 2 / 3))
"""Bounds on light, feminine and old of the cells that are drawn from alike."""


@dataclass(frozen=True)
class Lot:
    """Pools in one, and the probability of drawing each picture."""

    pools: tuple[Pool, ...]
    facts: FaceFacts
    weights: np.ndarray

    @classmethod
    def of(cls, prior: Pool, beyond: Pool, found: list[Pool], balance: float) -> "Lot":
        """Accepted samples drawn so that all combinations of attributes are about as frequent.

        Args:
            prior: Samples of the prior; what the teacher rejects of them has a share of its own.
            beyond: Samples from beyond it.
            found: What searches found: all kinds weigh alike there too.
            balance: 1 makes all combinations of attributes equally frequent, 0 leaves them as they are.
        """
        facts = [facts_of(rows) for _, rows in (prior, beyond, *found)]
        accepted = facts[0].good >= 0.5
        parts = [
            SHARES["prior"] * _balanced(facts[0], accepted, balance)
            + SHARES["rejected"] * _uniform(~accepted)
        ]
        parts.append(SHARES["beyond"] * _uniform(np.ones(len(facts[1].good), bool)))
        for one in facts[2:]:
            good = one.good >= 0.5
            half = 0.5 * SHARES["found"] / len(found)
            parts.append(half * _balanced(one, good, balance) + half * _uniform(~good))
        weights = np.concatenate(parts)
        return cls((prior, beyond, *found), joined(facts), weights / weights.sum())

    @property
    def size(self) -> int:
        """How many pictures there are."""
        return len(self.weights)

    def images(self, rows: Tensor) -> Tensor:
        """Pictures of ascending rows, in [0, 1]."""
        numbers, parts, start = rows.numpy(), [], 0
        for pictures, _ in self.pools:
            own = numbers[(numbers >= start) & (numbers < start + len(pictures))] - start
            parts.append(np.asarray(pictures[own]))
            start += len(pictures)
        return torch.from_numpy(np.concatenate(parts)).float() / 255


def _uniform(chosen: np.ndarray) -> np.ndarray:
    return chosen / max(chosen.sum(), 1)


def _balanced(facts: FaceFacts, chosen: np.ndarray, balance: float) -> np.ndarray:
    values = facts.attributes
    cells = np.zeros(len(values), dtype=int)
    for column, bounds in enumerate(CELLS):
        cells = cells * (len(bounds) + 1) + np.digitize(values[:, column], bounds)
    cells = np.where(np.isnan(values).any(axis=1), cells.max() + 1, cells)
    counts = np.bincount(cells[chosen], minlength=cells.max() + 1)
    # a cell of a handful of pictures is not shown a thousand times
    weights = chosen / np.maximum(counts, 20)[cells] ** balance
    return weights / max(weights.sum(), 1e-12)
