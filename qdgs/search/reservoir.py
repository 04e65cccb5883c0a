"""Up to k good solutions a cell, beside the elitist archive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdgs.search.workers import Floats


class Reservoir:
    """Keeps up to `capacity` good solutions a cell, so that a dataset can have more images than cells.

    Within a cell the best solution of each lineage comes first, by objective; then the second best of each,
    and so on: a cell's solutions are to differ, and two of one lineage are often one image twice. Rank 0 is
    always the cell's best. Exact repeats of a latent are dropped; of equal objectives the earlier stays.
    What is kept does not depend on how solutions were grouped into calls.

    Args:
        cells: Number of cells.
        capacity: Most solutions a cell.
        latent_dim: Length of a latent.
        measure_dim: Number of measures.
    """

    def __init__(self, cells: int, capacity: int, latent_dim: int, measure_dim: int) -> None:
        self.cells = cells
        self.capacity = capacity
        self._count = np.zeros(cells, np.int64)
        self._added = 0
        # Zeros, not empty: the system hands out the pages of a huge table only as they are touched.
        self._fields: dict[str, NDArray[Any]] = {
            "latents": np.zeros((cells, capacity, latent_dim), np.float32),
            "objective": np.zeros((cells, capacity), np.float32),
            "measures": np.zeros((cells, capacity, measure_dim), np.float32),
            "lineage": np.zeros((cells, capacity), np.int32),
            "order": np.zeros((cells, capacity), np.int64),
        }

    def __len__(self) -> int:
        return int(self._count.sum())

    def emptied(self) -> Reservoir:
        """A reservoir of the same size that holds nothing."""
        latents, measures = self._fields["latents"], self._fields["measures"]
        return Reservoir(self.cells, self.capacity, latents.shape[2], measures.shape[2])

    def add(
        self, cells: NDArray[Any], latents: Floats, objective: Floats, measures: Floats, lineage: NDArray[Any]
    ) -> None:
        """Offer solutions.

        Args:
            cells: `(n,)` cell of each.
            latents: `(n, latent_dim)`.
            objective: `(n,)`.
            measures: `(n, measure_dim)`.
            lineage: `(n,)`.
        """
        order = self._added + np.arange(len(cells))
        self._added += len(cells)
        new = {
            "latents": latents,
            "objective": objective,
            "measures": measures,
            "lineage": lineage,
            "order": order,
        }
        held_cells, held = self._rows(np.unique(cells))
        places = np.concatenate([held_cells, cells])
        rows = {name: np.concatenate([held[name], new[name]]) for name in held}
        keep = _distinct(places, rows)
        places, rows = places[keep], {name: values[keep] for name, values in rows.items()}
        rank = _rank_by_lineage(places, rows)
        stay = rank < self.capacity
        self._place(places[stay], rank[stay], {name: values[stay] for name, values in rows.items()})

    def rows(self) -> dict[str, NDArray[Any]]:
        """Every solution, sorted by (cell, rank): columns `cell`, `rank` and the fields of `add`."""
        cells, fields = self._rows(np.arange(self.cells))
        rank = np.arange(len(cells)) - (np.cumsum(self._count) - self._count)[cells]
        del fields["order"]
        return {"cell": cells, "rank": rank, **fields}

    def _rows(self, cells: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        counts = self._count[cells]
        places = np.repeat(cells, counts)
        rank = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, {name: field[places, rank] for name, field in self._fields.items()}

    def _place(self, cells: NDArray[Any], rank: NDArray[Any], rows: dict[str, NDArray[Any]]) -> None:
        for name, field in self._fields.items():
            field[cells, rank] = rows[name]
        touched, counts = np.unique(cells, return_counts=True)
        self._count[touched] = counts

    def __getstate__(self) -> dict[str, Any]:
        cells, rows = self._rows(np.arange(self.cells))
        shapes = {name: field.shape for name, field in self._fields.items()}
        return {**self.__dict__, "_fields": (shapes, cells, rows)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shapes, cells, rows = state["_fields"]
        fields = {name: np.zeros(shapes[name], rows[name].dtype) for name in shapes}
        self.__dict__.update({**state, "_fields": fields})
        rank = np.arange(len(cells)) - (np.cumsum(self._count) - self._count)[cells]
        self._place(cells, rank, rows)


def _distinct(cells: NDArray[Any], rows: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Rows whose latent no earlier row of the same cell holds, bit for bit."""
    latents = np.ascontiguousarray(rows["latents"])
    bits = latents.view(np.dtype((np.void, latents.shape[1] * latents.itemsize))).ravel()
    _, code = np.unique(bits, return_inverse=True)
    by_repeat = np.lexsort((rows["order"], code, cells))
    return by_repeat[_first(cells[by_repeat], code[by_repeat])]


def _rank_by_lineage(cells: NDArray[Any], rows: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Rank of each row within its cell: by rank within its lineage there, then by objective."""
    order, worse = rows["order"], -rows["objective"]
    within_lineage = _rank_in_group((cells, rows["lineage"]), (worse, order))
    return _rank_in_group((cells,), (within_lineage, worse, order))


def _rank_in_group(groups: tuple[NDArray[Any], ...], keys: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Position of each row in its group when the group is sorted by the keys, the first key foremost."""
    positions = np.lexsort((*reversed(keys), *reversed(groups)))
    starts = np.flatnonzero(_first(*(group[positions] for group in groups)))
    sizes = np.diff(np.append(starts, len(positions)))
    rank = np.empty(len(positions), np.int64)
    rank[positions] = np.arange(len(positions)) - np.repeat(starts, sizes)
    return rank


def _first(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of sorted columns differ from the row before."""
    change = np.ones(len(columns[0]), bool)
    if len(change) > 1:
        change[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return change
