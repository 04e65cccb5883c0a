"""Where micro-batches of latents are scored: in this process, or wherever `Workers` are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs.errors import GeneratorError, InputError
from qdgs.memory import Portions
from qdgs.side_by_side import overlapping, side_by_side

Floats = NDArray[np.float32]

Score = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Latents `(n, latent_dim)` float32 → raw objective `(n,)` and measures `(n, measure_dim)`.

Row i of the output depends on row i of the input alone; gradients flow to the latents where an algorithm
asks for them.
"""


@runtime_checkable
class RememberingScore(Protocol):
    """A score whose answers depend on what it was told before, such as one with a uniqueness term.

    Scoring alone changes nothing. What it remembers is part of a checkpoint.
    """

    def remember(self, rows: int) -> None:
        """The first `rows` rows of the last call were real solutions; the rest was padding."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        ...


@dataclass(frozen=True)
class Task:
    """What is asked of micro-batches.

    Attributes:
        measure_dim: Number of measures.
        scale: Applied to the raw objective; None leaves it.
        gradients: Whether the Jacobian is wanted too.
    """

    measure_dim: int
    scale: Callable[[Tensor], Tensor] | None = None
    gradients: bool = False


class MicroBatch(NamedTuple):
    """Latents that are scored together, always as many: the last ones are repeated where there are fewer.

    Attributes:
        latents: `(micro_batch, latent_dim)`.
        rows: How many of them are real.
    """

    latents: Floats
    rows: int


class Scored(NamedTuple):
    """What scoring a micro-batch gave, for its real rows.

    Attributes:
        scores: `(rows, 1 + measure_dim)`: objective, then measures.
        jacobian: `(rows, 1 + measure_dim, latent_dim)` where it was asked for.
    """

    scores: Floats
    jacobian: Floats | None


@runtime_checkable
class OverlappingScore(Protocol):
    """A score that can be asked again before it has answered."""

    def at_once(self) -> int:
        """How many micro-batches it takes at once as things stand."""
        ...


class Workers(Protocol):
    """Who scores micro-batches.

    The answers come in the order of the micro-batches and depend on nothing else, so that it does not
    matter who scored what, or how often.
    """

    def work(self, task: Task, batches: Sequence[MicroBatch]) -> Iterator[Scored]:
        """Score micro-batches."""
        ...


def micro_batches(latents: NDArray[Any], size: int) -> list[MicroBatch]:
    """Latents `(n, latent_dim)` cut into micro-batches of one size."""
    batches = []
    for start in range(0, len(latents), size):
        rows = np.array(latents[start : start + size], np.float32)
        padding = np.repeat(rows[-1:], size - len(rows), axis=0)
        batches.append(MicroBatch(np.concatenate([rows, padding]), len(rows)))
    return batches


class Scoring:
    """Scores micro-batches with models that are here.

    What does not fit into memory is scored in smaller portions, as `Portions` does it. Rows are independent,
    so the scores stay the same but for rounding where a device computes other sizes by other kernels. A score
    that remembers sees whole micro-batches: without gradients it has to keep to memory by itself.

    Args:
        score: The function of latents that is searched.
        device: Where the score wants its latents.
    """

    def __init__(self, score: Score, device: torch.device | str = "cpu") -> None:
        self.score = score
        self.device = torch.device(device)
        self._portions = Portions("scores")
        self._jacobians = Portions("Jacobians")

    def __call__(self, task: Task, batch: MicroBatch) -> Scored:
        """Scores of a micro-batch, and its Jacobian where it is asked for.

        Raises:
            GeneratorError: The score has a wrong shape.
            InputError: The score is not differentiable, and its Jacobian is asked for.
            QdgsError: Not even one latent fits into memory.
        """
        latents = torch.tensor(batch.latents, device=self.device)  # a copy: Ray's arrays cannot be written
        found = self._differentiated(task, latents) if task.gradients else self._scored(task, latents)
        values = [_floats(part[: batch.rows]) for part in found]
        return Scored(values[0], values[1] if task.gradients else None)

    def _scored(self, task: Task, latents: Tensor) -> tuple[Tensor, ...]:
        function = partial(_scored, self.score, task)
        return function(latents) if _keeps_something(self.score) else self._portions(function, latents)

    def _differentiated(self, task: Task, latents: Tensor) -> tuple[Tensor, ...]:
        found = self._jacobians(partial(_differentiate, self.score, task), latents)
        if self._jacobians.limit is not None and _keeps_something(self.score):
            with torch.no_grad():  # what is remembered is the whole micro-batch
                self.score(latents)
        return found


class LocalWorkers:
    """Scores micro-batches in this process, one after another, or overlapping where the score says so.

    Args:
        score: The function of latents that is searched.
        device: Where the score wants its latents.
    """

    def __init__(self, score: Score, device: torch.device | str = "cpu") -> None:
        self._scoring = Scoring(score, device)

    def work(self, task: Task, batches: Sequence[MicroBatch]) -> Iterator[Scored]:
        """Score micro-batches; a score with a memory is told of each before the next is scored."""
        score = self._scoring.score

        def at_once() -> int:
            if task.gradients or _keeps_something(score) or not isinstance(score, OverlappingScore):
                return 1
            return score.at_once()

        scores = overlapping(partial(self._scoring, task), batches, at_once)
        for batch, scored in zip(batches, scores, strict=True):
            if isinstance(score, RememberingScore):
                score.remember(batch.rows)
            yield scored


def _keeps_something(score: Score) -> bool:
    """Whether a score remembers what it was given: then it must see a micro-batch whole."""
    return isinstance(score, RememberingScore) and bool(score.state_dict())


def _scored(score: Score, task: Task, latents: Tensor) -> tuple[Tensor]:
    with torch.no_grad():
        return (_scores(score, task, latents),)


def _scores(score: Score, task: Task, latents: Tensor) -> Tensor:
    objective, measures = score(latents)
    got = (tuple(objective.shape), tuple(measures.shape))
    expected = ((len(latents),), (len(latents), task.measure_dim))
    if got != expected:
        raise GeneratorError(
            f"score: expected objective and measures of shapes {expected[0]} and {expected[1]}, "
            f"got {got[0]} and {got[1]}"
        )
    if task.scale is not None:
        objective = task.scale(objective)
    return torch.cat([objective[:, None], measures], dim=1)


def _differentiate(score: Score, task: Task, latents: Tensor) -> tuple[Tensor, Tensor]:
    """One forward and 1 + measure_dim vector-Jacobian products: ∂(Σ_k y_ki)/∂x_k = ∂y_ki/∂x_k."""
    latents = latents.detach().requires_grad_()
    scores = _scores(score, task, latents)
    if not scores.requires_grad:
        raise InputError(
            "search.algorithm: gradients are needed and the score has none; "
            "take an algorithm without gradients, such as cma_mae"
        )
    beside = scores.device.type == "cpu" and getattr(score, "thread_safe", False)
    through = side_by_side if beside else map
    gradients = list(through(partial(_gradient, latents), scores.sum(dim=0).unbind()))
    return scores.detach(), torch.stack(gradients, dim=1)


def _gradient(latents: Tensor, total: Tensor) -> Tensor:
    """∂total/∂latents; zero where total does not depend on them."""
    (gradient,) = torch.autograd.grad(
        total, latents, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return gradient


def _floats(values: Tensor) -> Floats:
    floats: Floats = values.detach().to("cpu", torch.float32).numpy()
    return floats
