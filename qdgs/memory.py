"""When memory runs out: fewer rows at once, told once, and on with the same results."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache

import torch
from torch import Tensor

from qdgs.errors import QdgsError, is_out_of_memory

Function = Callable[[Tensor], tuple[Tensor, ...]]
Through = Callable[[Function, Sequence[Tensor]], Iterable[tuple[Tensor, ...]]]


ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""


@cache
def share_heap() -> None:
    """Let threads that begin from now on share one heap.

    With glibc each would have its own, and keep there what its portions took. Where there is another
    allocator nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what the heap holds for nobody; worth some milliseconds now and then.

    Where many threads take and free tensors at once little of the heap's end is ever free, and only on
    request is the rest given back. Where there is another allocator nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryWarning(UserWarning):
    """Work goes on in smaller portions."""


class Portions:
    """Does something to rows, as many at once as fit into memory.

    What is done to a row must not depend on the others, so that portions make no difference to it.

    Args:
        what: What is done, in words.
        through: Does a function to portions, as long as there is memory; then they come one by one.

    Attributes:
        limit: Most rows at once; None until memory has run out.
    """

    def __init__(self, what: str, through: Through = map) -> None:
        self.limit: int | None = None
        self._what = what
        self._through = through

    def __call__(self, function: Function, rows: Tensor, size: int | None = None) -> tuple[Tensor, ...]:
        """Results of the function, row by row, of portions put together.

        Args:
            function: Rows `(n, …)` → tensors `(n, …)`.
            rows: `(n, …)`.
            size: Rows at once that would be liked best; all of them where None.

        Raises:
            QdgsError: A single row does not fit.
        """
        while True:
            portion = min(size or len(rows), self.limit or len(rows))
            through = self._through if self.limit is None else map
            done = _attempt(function, rows, portion, through)
            if done is not None:
                return done
            self._halve(portion)

    def _halve(self, portion: int) -> None:
        if portion <= 1:
            raise QdgsError(
                f"{self._what}: there is no memory for a single one; free some, or take smaller models"
            )
        if self.limit is None:
            warnings.warn(
                f"{self._what}: {portion} at once do not fit into memory; going on with fewer, to the same "
                "results",
                MemoryWarning,
                stacklevel=3,
            )
        self.limit = min(self.limit or portion, portion // 2)


def _attempt(function: Function, rows: Tensor, portion: int, through: Through) -> tuple[Tensor, ...] | None:
    """None where memory ran out; what had been made until then is let go of."""
    try:
        if portion >= len(rows):
            return function(rows)
        parts = list(through(function, torch.split(rows, portion)))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
