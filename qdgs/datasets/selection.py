"""Which candidates of each group get into the dataset, and in which order they are tried."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qdgs.config import DatasetConfig, group_names, target_shares
from qdgs.datasets.duplicates import DuplicateFilter
from qdgs.datasets.groups import IN_GAP, Cuts, assign_values, exact_counts, group_codes
from qdgs.datasets.queues import Queue
from qdgs.errors import InputError
from qdgs.randomness import Stream, stream

Gate = Callable[[pd.DataFrame], ArrayLike]
Embed = Callable[[pd.DataFrame], ArrayLike]
Integers = NDArray[np.int64]
Vary = Callable[[pd.DataFrame, Integers], pd.DataFrame]
"""Rows and how many variations of each are wanted `(n,)` → at most so many of each.

A variation is a row with its own latent, measures and objective; its index is that of the row it is of.
"""


class Pool:
    """Candidates of every group, in the order in which they are to be tried.

    Attributes:
        names: Groups, in the order of `config.group_names`; positions in it stand for groups below.
        shares: Group → its target share.
        wanted: Images wanted of each group, `(groups,)`.
        per_latent: Images that one row gives.
        values: Value of each row on each grouped measure, `(n, measures)`.
        groups: Group of each row, `(n,)`.
        cells: Cell of each row, `(n,)`.
        below_floor: How many rows are below the quality floor.
        in_gap: How many rows above it are in a gap.
        order: For each group its candidates, in the order in which they are to be tried.
    """

    def __init__(self, rows: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts, seed: int) -> None:
        self.names = group_names(dataset.groups)
        self.shares = target_shares(dataset)
        self.wanted = np.array(list(exact_counts(self.shares, dataset.images).values()))
        self.per_latent = dataset.per_latent
        self.values = assign_values(rows, dataset, cuts)
        self.groups = group_codes(self.values, dataset)
        self.cells = rows["cell"].to_numpy(np.int64)
        floor = -np.inf if dataset.quality_floor is None else dataset.quality_floor
        good = rows["objective"].to_numpy() >= floor
        self.below_floor = int((~good).sum())
        self.in_gap = int((good & (self.groups == IN_GAP)).sum())
        lineages = rows["lineage"].to_numpy() if "lineage" in rows else np.arange(len(rows))
        turn = _random_turns(self.cells, seed)
        self.order = [
            _spread(np.flatnonzero(good & (self.groups == group)), self.cells, lineages, turn)
            for group in range(len(self.names))
        ]

    @property
    def latents_wanted(self) -> list[int]:
        """Rows that the images wanted of each group take."""
        return [-(-int(wanted) // self.per_latent) for wanted in self.wanted]

    def scarcest_first(self) -> list[int]:
        """Groups by candidates per wanted image, so that plentiful ones do not take what scarce ones need."""
        plenty = [len(rows) / max(1, wanted) for rows, wanted in zip(self.order, self.wanted, strict=True)]
        return sorted(range(len(plenty)), key=lambda group: plenty[group])


class Selection:
    """What has been tried and taken so far.

    Args:
        pool: Candidates.
        per_cell: At most so many of one cell.
        duplicates: Tells near-duplicates among candidates; variations are not shown to it.
        strata: Stratum of each candidate `(n,)`, to be taken evenly within its group.
        vary: Makes further images of what is taken, up to the pool's `per_latent`.

    Attributes:
        taken: For each group the images taken, in order: a row's number, or beyond all rows a variation's.
        variations: Further images of rows taken, in parts, with the row's number as index.
        pending: For each group the candidates not tried yet.
        judged: Candidates that the gate saw, `(groups,)`.
        rejected: Candidates that it rejected, `(groups,)`.
        duplicates: Candidates dropped as near-duplicates, `(groups,)`.
    """

    def __init__(
        self,
        pool: Pool,
        per_cell: int,
        duplicates: DuplicateFilter,
        *,
        strata: Integers | None = None,
        vary: Vary | None = None,
    ) -> None:
        self.pool = pool
        self.per_cell = per_cell
        self.filter = duplicates
        self.vary = vary
        self.turns = pool.scarcest_first()
        self.pending = [Queue(order, strata, first=group) for group, order in enumerate(pool.order)]
        self.variations: list[pd.DataFrame] = []
        self.taken: list[list[int]] = [[] for _ in pool.names]
        self.used: dict[int, int] = {}
        self.judged = np.zeros(len(pool.names), dtype=np.int64)
        self.rejected = np.zeros(len(pool.names), dtype=np.int64)
        self.duplicates = np.zeros(len(pool.names), dtype=np.int64)

    def propose(self) -> list[int]:
        """For every group as many further candidates as its missing images take, scarcest group first.

        Their cells count them at once; `settle` gives back the place of those that do not get in.
        """
        return [row for group in self.turns for row in self._propose(group)]

    def _propose(self, group: int) -> list[int]:
        missing = self._missing(group)
        return self.pending[group].propose(-(-missing // self.pool.per_latent), self._reserve)

    def _missing(self, group: int) -> int:
        return int(self.pool.wanted[group]) - len(self.taken[group])

    def _reserve(self, row: int) -> bool:
        """Take a place of the row's cell, where there is one."""
        cell = int(self.pool.cells[row])
        free = self.used.get(cell, 0) < self.per_cell
        if free:
            self.used[cell] = self.used.get(cell, 0) + 1
        return free

    def settle(self, rows: pd.DataFrame, chosen: Integers, gate: Gate | None, embed: Embed | None) -> None:
        """Judge candidates, drop near-duplicates, take the rest and their variations."""
        accepted = np.ones(len(chosen), dtype=bool)
        if gate is not None:
            accepted = _verdicts(gate(rows.iloc[chosen]), len(chosen))
            self._count(self.judged, chosen)
            self._count(self.rejected, chosen[~accepted])
        kept = np.ones(int(accepted.sum()), dtype=bool)
        if embed is not None and len(kept) and self.filter.min_distance > 0:
            kept = self.filter.keep(embed(rows.iloc[chosen[accepted]]))
            self._count(self.duplicates, chosen[accepted][~kept])
        for row in chosen[accepted][kept]:
            self.taken[self.pool.groups[row]].append(int(row))
        for row in np.concatenate([chosen[~accepted], chosen[accepted][~kept]]):
            self.used[int(self.pool.cells[row])] -= 1
            self.pending[self.pool.groups[row]].turn_down(int(row))
        if self.vary is not None and kept.any():
            self._add_variations(rows, chosen[accepted][kept], self.vary)

    def _add_variations(self, rows: pd.DataFrame, taken: Integers, vary: Vary) -> None:
        missing = {int(group): self._missing(group) for group in np.unique(self.pool.groups[taken])}
        wanted = np.zeros(len(taken), dtype=np.int64)
        for place, group in enumerate(self.pool.groups[taken]):
            wanted[place] = min(self.pool.per_latent - 1, missing[int(group)])
            missing[int(group)] -= int(wanted[place])
        made = vary(rows.iloc[taken], wanted)
        first = len(rows) + sum(len(part) for part in self.variations)
        self.variations.append(made)
        for number, row in enumerate(made.index, start=first):
            self.taken[self.pool.groups[row]].append(number)

    def _count(self, counter: Integers, rows: Integers) -> None:
        np.add.at(counter, self.pool.groups[rows], 1)

    def interleaved(self) -> list[int]:
        """Taken rows in an order of which every prefix has the groups in the shares of the whole."""
        places = [
            ((turn + 0.5) / len(rows), group, row)
            for group, rows in enumerate(self.taken)
            for turn, row in enumerate(rows)
        ]
        return [row for _, _, row in sorted(places)]


def _random_turns(cells: Integers, seed: int) -> Integers:
    """A random turn for each row's cell, the same for rows of one cell, `(n,)`."""
    distinct, position = np.unique(cells, return_inverse=True)
    turns: Integers = stream(seed, Stream.FLATTEN).permutation(len(distinct))[position]
    return turns


def _spread(rows: Integers, cells: Integers, lineages: NDArray[Any], turn: Integers) -> Integers:
    """Order a group's rows: bests of cells before second bests, seldom seen lineages before frequent ones.

    Args:
        rows: Rows of the group in (cell, rank) order.
        cells: Cell of every row of the frame.
        lineages: Lineage of every row of the frame.
        turn: Random turn of every row of the frame.
    """
    place_in_cell = _occurrence(cells[rows])
    order = np.lexsort((turn[rows], place_in_cell))
    rows, place_in_cell = rows[order], place_in_cell[order]
    ordered: Integers = rows[np.lexsort((turn[rows], _occurrence(lineages[rows]), place_in_cell))]
    return ordered


def _occurrence(keys: NDArray[Any]) -> Integers:
    """How often each of `(n,)` keys has come before its place."""
    return np.asarray(pd.Series(keys).groupby(keys).cumcount(), dtype=np.int64)


def _verdicts(answer: ArrayLike, expected: int) -> NDArray[np.bool_]:
    verdicts = np.asarray(answer, dtype=bool)
    if verdicts.shape != (expected,):
        raise InputError(f"gate: expected one verdict a candidate ({expected},), got shape {verdicts.shape}")
    return verdicts
