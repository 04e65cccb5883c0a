"""Which candidates of each group get into the dataset, and in which order they are tried."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qdgs.config import DatasetConfig, group_names, target_shares
from qdgs.datasets.duplicates import DuplicateFilter
from qdgs.datasets.groups import IN_GAP, Cuts, assign_values, exact_counts, group_codes
from qdgs.errors import InputError
from qdgs.randomness import Stream, stream

Gate = Callable[[pd.DataFrame], ArrayLike]
Embed = Callable[[pd.DataFrame], ArrayLike]
Integers = NDArray[np.int64]


class Pool:
    """Candidates of every group, in the order in which they are to be tried.

    Attributes:
        names: Groups, in the order of `config.group_names`; positions in it stand for groups below.
        shares: Group → its target share.
        wanted: Images wanted of each group, `(groups,)`.
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

    def scarcest_first(self) -> list[int]:
        """Groups by candidates per wanted image, so that plentiful ones do not take what scarce ones need."""
        plenty = [len(rows) / max(1, wanted) for rows, wanted in zip(self.order, self.wanted, strict=True)]
        return sorted(range(len(plenty)), key=lambda group: plenty[group])


class Selection:
    """What has been tried and taken so far.

    Attributes:
        taken: For each group the rows taken, in order.
        pending: For each group the candidates not tried yet.
        judged: Candidates that the gate saw, `(groups,)`.
        rejected: Candidates that it rejected, `(groups,)`.
        duplicates: Candidates dropped as near-duplicates, `(groups,)`.
    """

    def __init__(self, pool: Pool, per_cell: int, duplicates: DuplicateFilter) -> None:
        self.pool = pool
        self.per_cell = per_cell
        self.filter = duplicates
        self.turns = pool.scarcest_first()
        self.pending = [list(order) for order in pool.order]
        self.taken: list[list[int]] = [[] for _ in pool.names]
        self.used: dict[int, int] = {}
        self.judged = np.zeros(len(pool.names), dtype=np.int64)
        self.rejected = np.zeros(len(pool.names), dtype=np.int64)
        self.duplicates = np.zeros(len(pool.names), dtype=np.int64)

    def propose(self) -> list[int]:
        """For every group as many further candidates as it lacks images, scarcest group first.

        Their cells count them at once; `settle` gives back the place of those that do not get in.
        """
        return [row for group in self.turns for row in self._propose(group)]

    def _propose(self, group: int) -> list[int]:
        missing = self.pool.wanted[group] - len(self.taken[group])
        pending = self.pending[group]
        proposed: list[int] = []
        waiting: list[int] = []
        position = 0
        while position < len(pending) and len(proposed) < missing:
            row = pending[position]
            position += 1
            cell = int(self.pool.cells[row])
            if self.used.get(cell, 0) < self.per_cell:
                self.used[cell] = self.used.get(cell, 0) + 1
                proposed.append(row)
            else:
                waiting.append(row)
        self.pending[group] = waiting + pending[position:]
        return proposed

    def settle(self, rows: pd.DataFrame, chosen: Integers, gate: Gate | None, embed: Embed | None) -> None:
        """Judge candidates, drop near-duplicates, take the rest."""
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
