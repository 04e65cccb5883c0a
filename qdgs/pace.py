"""How many rows pass through generator and guide together: found by itself, without changing a bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from qdgs.memory import Portions

SMALLEST = 16
"""Fewer rows at once take other paths through torch's kernels, and give other last digits."""

ROUNDS = 2
"""Times that each size is timed; the quickest time counts."""

TOLERANCE = 0.98
"""A smaller size must take less than this share of the time of the whole micro-batch."""

Function = Callable[[Tensor], tuple[Tensor, ...]]


class Pace:
    """Runs a function of rows in portions of the quickest size.

    The first micro-batch is done in every size, and sizes whose results are not those of the whole
    micro-batch bit for bit are dropped; the others are timed on the work of the next micro-batches, none of
    which is done twice. So the choice, which depends on the clock, makes no difference to what is found.
    Nothing is tried with gradients, nor on other devices than a CPU: there the whole micro-batch is taken.
    Where memory runs out, portions are halved.

    Args:
        function: Rows → results, one a row.
        rows_at_once: "auto", or a size to keep to.

    Attributes:
        chosen: Size of micro-batch → rows at once, as far as it is settled.
    """

    def __init__(self, function: Function, rows_at_once: Literal["auto"] | int = "auto") -> None:
        self._function = function
        self._rows_at_once = rows_at_once
        self._portions = Portions("generator and guide")
        self._seconds: dict[int, dict[int, list[float]]] = {}
        self.chosen: dict[int, int] = {}

    def __call__(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the function gives for the rows."""
        if torch.is_grad_enabled():
            return self._function(rows)  # whoever asks for gradients holds the portions
        if self._rows_at_once != "auto":
            return self._portions(self._function, rows, self._rows_at_once)
        if rows.device.type != "cpu" or self._portions.limit or len(rows) < 2 * SMALLEST:
            return self._portions(self._function, rows)
        if len(rows) in self.chosen:
            return self._portions(self._function, rows, self.chosen[len(rows)])
        return self._try(rows)

    def _try(self, rows: Tensor) -> tuple[Tensor, ...]:
        n = len(rows)
        if n not in self._seconds:
            whole = self._portions(self._function, rows)
            self._seconds[n] = {
                size: [] for size in _sizes(n) if size == n or self._agrees(rows, size, whole)
            }
            return whole
        trials = self._seconds[n]
        size = min(trials, key=lambda size: len(trials[size]))
        begun = time.perf_counter()
        done = self._portions(self._function, rows, size)
        trials[size].append(time.perf_counter() - begun)
        if all(len(taken) >= ROUNDS for taken in trials.values()):
            self.chosen[n] = _quickest(trials)
        return done

    def _agrees(self, rows: Tensor, size: int, whole: tuple[Tensor, ...]) -> bool:
        parts = self._portions(self._function, rows, size)
        return all(torch.equal(one, other) for one, other in zip(parts, whole, strict=True))


def _sizes(n: int) -> list[int]:
    """The whole, its half, and so on, as long as the parts are even."""
    sizes = [n]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST:
        sizes.append(sizes[-1] // 2)
    return sizes


def _quickest(trials: dict[int, list[float]]) -> int:
    whole = max(trials)
    best = min(trials, key=lambda size: min(trials[size]))
    return best if min(trials[best]) < TOLERANCE * min(trials[whole]) else whole
