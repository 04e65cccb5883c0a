"""How many rows pass through generator and guide together: fewer than a micro-batch are quicker on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from qdgs.memory import Portions

SMALLEST = 16
"""Fewer rows at once take other paths through torch's kernels, and give other last digits."""

Function = Callable[[Tensor], tuple[Tensor, ...]]


class Pace:
    """Runs a function of rows in portions, whose activations stay in a CPU's cache.

    Taken is the smallest size that gives the same bits on probe rows as the whole micro-batch does. Probes
    are the same in every run and no clock is asked, so that every run, resumed or not, takes the same size.
    Nothing is tried with gradients, nor on other devices than a CPU: there the whole micro-batch is taken.
    Where memory runs out, portions are halved.

    Args:
        function: Rows → results, one a row.
        probes: Gives so many rows to try, always the same.
        rows_at_once: "auto", or a size to keep to.

    Attributes:
        chosen: Size of micro-batch → rows at once, as far as it is settled.
    """

    def __init__(
        self,
        function: Function,
        probes: Callable[[int], Tensor],
        rows_at_once: Literal["auto"] | int = "auto",
    ) -> None:
        self._function = function
        self._probes = probes
        self._rows_at_once = rows_at_once
        self._portions = Portions("generator and guide")
        self.chosen: dict[int, int] = {}

    def __call__(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the function gives for the rows."""
        if torch.is_grad_enabled():
            return self._function(rows)  # whoever asks for gradients holds the portions
        if self._rows_at_once != "auto":
            return self._portions(self._function, rows, self._rows_at_once)
        if rows.device.type != "cpu" or self._portions.limit or len(rows) < 2 * SMALLEST:
            return self._portions(self._function, rows)
        if len(rows) not in self.chosen:
            self.chosen[len(rows)] = self._smallest(self._probes(len(rows)).to(rows))
        return self._portions(self._function, rows, self.chosen[len(rows)])

    def _smallest(self, probes: Tensor) -> int:
        whole = self._portions(self._function, probes)
        return next(size for size in _sizes(len(probes)) if self._agrees(probes, size, whole))

    def _agrees(self, rows: Tensor, size: int, whole: tuple[Tensor, ...]) -> bool:
        if size == len(rows):
            return True
        parts = self._portions(self._function, rows, size)
        return all(torch.equal(one, other) for one, other in zip(parts, whole, strict=True))


def _sizes(n: int) -> list[int]:
    """The whole, its half, and so on, as long as the parts are even; the smallest first."""
    sizes = [n]
    while sizes[0] % 2 == 0 and sizes[0] // 2 >= SMALLEST:
        sizes.insert(0, sizes[0] // 2)
    return sizes
