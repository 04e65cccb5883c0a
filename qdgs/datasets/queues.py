"""Candidates of a group that wait for their turn."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

UNREAD = -1
"""Stratum of a candidate of which nobody can tell one: it comes last."""


class Queue:
    """Candidates in their order; the next one is of the stratum that has given the fewest so far.

    Whatever is turned down later, the strata end as even as the candidates allow: none gets more than
    another that has candidates left. Without strata it is the order alone.

    Args:
        order: Candidates.
        strata: Stratum of every candidate, `UNREAD` for those to be taken when no other is left.
        first: Among equals the stratum to begin with.
    """

    def __init__(self, order: Iterable[int], strata: NDArray[np.int64] | None = None, first: int = 0) -> None:
        rows = [int(row) for row in order]
        self._stratum = {row: 0 if strata is None else int(strata[row]) for row in rows}
        known = sorted(set(self._stratum.values()) - {UNREAD})
        turn = first % max(1, len(known))
        self._strata = [*known[turn:], *known[:turn], UNREAD]
        self._pending: dict[int, list[int]] = {stratum: [] for stratum in self._strata}
        for row in rows:
            self._pending[self._stratum[row]].append(row)
        self._given = dict.fromkeys(self._strata, 0)

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._pending.values())

    def propose(self, limit: int, free: Callable[[int], bool]) -> list[int]:
        """At most `limit` candidates; those that are not free keep their place.

        Args:
            limit: How many.
            free: Whether a candidate can be had now; asked once of each that is next.
        """
        proposed: list[int] = []
        position = dict.fromkeys(self._strata, 0)
        waiting: dict[int, list[int]] = {stratum: [] for stratum in self._strata}
        while len(proposed) < limit and (stratum := self._next(position)) is not None:
            row = self._pending[stratum][position[stratum]]
            position[stratum] += 1
            if free(row):
                self._given[stratum] += 1
                proposed.append(row)
            else:
                waiting[stratum].append(row)
        for stratum, lane in self._pending.items():
            self._pending[stratum] = waiting[stratum] + lane[position[stratum] :]
        return proposed

    def turn_down(self, row: int) -> None:
        """A candidate that was proposed does not get in: its stratum is owed another."""
        self._given[self._stratum[row]] -= 1

    def _next(self, position: dict[int, int]) -> int | None:
        left = [stratum for stratum in self._strata if position[stratum] < len(self._pending[stratum])]
        readable = [stratum for stratum in left if stratum != UNREAD]
        return min(readable or left, key=self._given.__getitem__, default=None)
