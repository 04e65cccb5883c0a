"""How rows pass through generator and guide: on a CPU few together, and several portions side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from qdgs.memory import Function, Portions
from qdgs.side_by_side import AT_ONCE, side_by_side

SMALLEST = 16
"""Fewer rows at once take other paths through torch's kernels, and give other last digits."""

BESIDE = 32
"""Rows a portion that are liked best side by side: fewer calls, and activations still stay in the cache."""


class Way(NamedTuple):
    """How the rows of a micro-batch pass.

    Attributes:
        rows: At once.
        beside: Whether portions pass side by side, in threads.
    """

    rows: int
    beside: bool = False


class Pace:
    """Runs a function of rows in portions, whose activations stay in a CPU's cache, in threads where it may.

    Taken is the first way that gives the same bits on probe rows as the whole micro-batch does: first those
    side by side, where the function allows threads, in portions of `BESIDE` as long as they fill all threads;
    then the smallest size. Probes are the same in every run
    and no clock is asked, so that every run, resumed or not, takes the same way on as many threads. Nothing
    is tried with gradients, nor on other devices than a CPU: there the whole micro-batch is taken. Where
    memory runs out, portions are halved.

    Args:
        function: Rows → results, one a row.
        probes: Gives so many rows to try, always the same.
        rows_at_once: "auto", or a size to keep to.
        thread_safe: Whether several threads may call the function at once.
        probed: Whose bits have to stay, where that is not the function itself.

    Attributes:
        chosen: Size of micro-batch and torch's threads → way, as far as it is settled.
    """

    def __init__(
        self,
        function: Function,
        probes: Callable[[int], Tensor],
        rows_at_once: Literal["auto"] | int = "auto",
        *,
        thread_safe: bool = False,
        probed: Function | None = None,
    ) -> None:
        self._function = function
        self._probed = probed or function
        self._probes = probes
        self._rows_at_once = rows_at_once
        self._thread_safe = thread_safe
        self._portions = Portions("generator and guide")
        self._beside = Portions("generator and guide", partial(side_by_side, batches=AT_ONCE))
        self.chosen: dict[tuple[int, int], Way] = {}

    @property
    def beside(self) -> bool:
        """Whether portions were found to pass side by side: more rows may come before these are through."""
        threads = torch.get_num_threads()
        return any(way.beside for (_, own), way in list(self.chosen.items()) if own == threads)

    def __call__(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the function gives for the rows."""
        if torch.is_grad_enabled():
            return self._function(rows)  # whoever asks for gradients holds the portions
        if self._rows_at_once != "auto":
            return self._portions(self._function, rows, self._rows_at_once)
        if rows.device.type != "cpu" or self._portions.limit or len(rows) < 2 * SMALLEST:
            return self._portions(self._function, rows)
        case = len(rows), torch.get_num_threads()
        if case not in self.chosen:
            self.chosen[case] = self._first(self._probes(len(rows)).to(rows))
        return self._passed(self._function, rows, self.chosen[case])

    def _passed(self, function: Function, rows: Tensor, way: Way) -> tuple[Tensor, ...]:
        portions = self._beside if way.beside else self._portions
        return portions(function, rows, way.rows)

    def _first(self, probes: Tensor) -> Way:
        whole = self._passed(self._probed, probes, Way(len(probes)))
        return next(way for way in self._ways(len(probes)) if self._agrees(probes, way, whole))

    def _agrees(self, rows: Tensor, way: Way, whole: tuple[Tensor, ...]) -> bool:
        if way.rows == len(rows):
            return True
        parts = self._passed(self._probed, rows, way)
        return all(torch.equal(one, other) for one, other in zip(parts, whole, strict=True))

    def _ways(self, n: int) -> Iterator[Way]:
        """Side by side, then one after another."""
        sizes = _sizes(n)
        threads = torch.get_num_threads()
        if self._thread_safe and threads > 1:
            best = BESIDE if n // BESIDE * AT_ONCE >= threads else SMALLEST
            yield from (Way(size, beside=True) for size in sorted(sizes[:-1], key=lambda size: size != best))
        yield from (Way(size) for size in sizes)


def _sizes(n: int) -> list[int]:
    """The whole, its half, and so on, as long as the parts are even; the smallest first."""
    sizes = [n]
    while sizes[0] % 2 == 0 and sizes[0] // 2 >= SMALLEST:
        sizes.insert(0, sizes[0] // 2)
    return sizes
