"""How many rows fit into a budget of memory: activations of one row, counted as they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Use:
    """Bytes that one row takes.

    Attributes:
        step: Most at once, during a step or the decoding, without gradients.
        kept: What a step keeps for the backward pass.
        decoded: What the decoding keeps.
        steps: How many steps there are.
    """

    step: int
    kept: int
    decoded: int
    steps: int

    def plan(self, budget: int, rows: int, gradients: bool) -> Plan:
        """How to make the images of so many rows within a budget of bytes, one row at a time at least.

        With gradients each batch's images are computed again in the backward pass where all batches together
        would not fit, and so are the steps of a batch, one after another.
        """
        if not gradients:
            return Plan(_even(rows, budget // max(self.step, 1)), False)
        whole = self.steps * self.kept + self.decoded
        if rows * whole <= budget:
            return Plan(rows, False)
        return Plan(_even(rows, budget // max(self.kept, self.decoded, 1)), True)


@dataclass(frozen=True)
class Plan:
    """How a batch is made.

    Attributes:
        rows: At once.
        recompute: Activations are not kept for the backward pass, but computed again in it.
    """

    rows: int
    recompute: bool


def _even(rows: int, most: int) -> int:
    """Rows of batches of one size, none larger than `most`, as few as can be."""
    batches = -(-rows // max(1, most))
    return -(-rows // batches)


def measure(step: Callable[[], Tensor], decode: Callable[[], Tensor], steps: int) -> Use:
    """What one row takes: both are called with and without gradients.

    Args:
        step: One step of one row.
        decode: The decoding of one row.
        steps: How many steps there are.
    """
    with torch.no_grad():
        peak = max(_Ledger.of(step).peak, _Ledger.of(decode).peak)
    with torch.enable_grad():
        kept, decoded = _Ledger.of(step), _Ledger.of(decode)
    return Use(peak, kept.left, decoded.left, steps)


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of what operations made and is still alive; tensors that were there before do not count.

    Attributes:
        peak: Most at once.
        left: At the end, while the result and its graph are alive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.left = 0
        self._known: Any = WeakIdKeyDictionary()

    @classmethod
    def of(cls, compute: Callable[[], Tensor]) -> _Ledger:
        """What a computation takes."""
        ledger = cls()
        with ledger:
            result = compute()
        ledger.left = ledger.now
        del result
        return ledger

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._known.setdefault(tensor.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._enter(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def _enter(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.now += size
        finalize(storage, self._leave, size)

    def _leave(self, size: int) -> None:
        self.now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
