"""Scoring latents: in micro-batches of one size, with or without the Jacobian, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs.errors import GeneratorError, InputError
from qdgs.memory import Portions

Floats = NDArray[np.float32]

Score = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Latents `(n, latent_dim)` float32 → raw objective `(n,)` and measures `(n, measure_dim)`.

Row i of the output depends on row i of the input alone; gradients flow to the latents where an algorithm
asks for them.
"""

BACKWARD_COST = 1.0
"""What a backward pass costs, in forward passes.

The usual estimate is one for the inputs and one for the weights; generator and guide are frozen, so the
gradients of the weights are never computed.
"""

JACOBIAN_BLOCK = 16
"""Jacobian points are padded to a multiple of this, not to a whole micro-batch: there are few of them."""

SOFTNESS = 0.1
"""How far beyond its two quantiles, in units of their distance, a scaled objective can ever get."""


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
class ObjectiveScale:
    """Maps a raw objective to one that is 0 at `low`, 100 at `high`, and saturates outside.

    With u = (f − low) / (high − low) and s(x) = c·x / (c + x), c = `SOFTNESS`:

        100·u inside [0, 1],   100·(1 + s(u − 1)) above,   −100·s(−u) below.

    Continuously differentiable and strictly increasing, with values in (−10, 110): once an image is as good
    as the prior's good ones there is next to nothing to gain from making it a prototype, and yet the
    gradient never vanishes. The form is our choice.

    Attributes:
        low: Raw objective that becomes 0.
        high: Raw objective that becomes 100.
    """

    low: float
    high: float

    def __call__(self, objective: Tensor) -> Tensor:
        """Scaled objective of the same shape; gradients flow."""
        u = (objective - self.low) / (self.high - self.low)
        above, below = (u - 1).clamp_min(0), (-u).clamp_min(0)
        return 100 * (u - above + below + _saturate(above) - _saturate(below))


def _saturate(excess: Tensor) -> Tensor:
    return SOFTNESS * excess / (SOFTNESS + excess)


@dataclass(frozen=True)
class Evaluation:
    """What scoring latents gave.

    Attributes:
        objective: `(n,)`.
        measures: `(n, measure_dim)`.
        jacobian: `(n, 1 + measure_dim, latent_dim)`: gradients of the objective, then of each measure.
    """

    objective: Floats
    measures: Floats
    jacobian: Floats | None = None

    def rows(self, rows: slice | list[int]) -> Evaluation:
        """Objective and measures of some of the latents."""
        return Evaluation(self.objective[rows], self.measures[rows])

    def followed_by(self, other: Evaluation) -> Evaluation:
        """Objective and measures of these latents and then the others."""
        return Evaluation(
            np.concatenate([self.objective, other.objective]), np.concatenate([self.measures, other.measures])
        )


@dataclass
class Counts:
    """What the search has spent.

    Attributes:
        evaluations: Latents scored, whatever for.
        equivalents: Their cost in forward passes: 1 each, and for a Jacobian of m measures
            1 + (1 + m)·`BACKWARD_COST`.
    """

    evaluations: int = 0
    equivalents: float = 0.0

    def add(self, points: int, cost: float = 1.0) -> None:
        """Count `points` latents at `cost` forward passes each."""
        self.evaluations += points
        self.equivalents += points * cost


class Evaluator:
    """Scores latents in micro-batches of one size, so that a score does not depend on its company.

    Args:
        score: The function of latents that is searched.
        latent_dim: Length of a latent.
        measure_dim: Number of measures.
        micro_batch: Rows at once; the last micro-batch is padded by repeating its last row, and cut.
        device: Where the score wants its latents.
        scale: Applied to the raw objective; None leaves it.
        counts: Continue counting here.
    """

    def __init__(
        self,
        score: Score,
        *,
        latent_dim: int,
        measure_dim: int,
        micro_batch: int,
        device: torch.device | str = "cpu",
        scale: ObjectiveScale | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.score = score
        self.latent_dim = latent_dim
        self.measure_dim = measure_dim
        self.micro_batch = micro_batch
        self.device = torch.device(device)
        self.scale = scale
        self.counts = Counts() if counts is None else counts
        self._portions = Portions("Jacobians")

    @property
    def evaluations(self) -> int:
        """Latents scored so far."""
        return self.counts.evaluations

    @property
    def equivalents(self) -> float:
        """Forward/backward equivalents spent so far."""
        return self.counts.equivalents

    @property
    def jacobian_cost(self) -> float:
        """Cost of one point's Jacobian in forward passes."""
        return 1 + (1 + self.measure_dim) * BACKWARD_COST

    def scaled(self, scale: ObjectiveScale | None) -> Evaluator:
        """The same evaluator, counting on, with another scale."""
        return Evaluator(
            self.score,
            latent_dim=self.latent_dim,
            measure_dim=self.measure_dim,
            micro_batch=self.micro_batch,
            device=self.device,
            scale=scale,
            counts=self.counts,
        )

    def rescale(self, raw: Evaluation) -> Evaluation:
        """An evaluation made without a scale, as this evaluator would have made it."""
        if self.scale is None:
            return raw
        return replace(raw, objective=self.scale(torch.from_numpy(raw.objective.copy())).numpy())

    def __call__(self, latents: NDArray[Any]) -> Evaluation:
        """Objective and measures of latents `(n, latent_dim)`; no gradients are kept.

        Raises:
            GeneratorError: The score is not finite, or has a wrong shape.
        """
        parts = []
        with torch.no_grad():
            for block, rows in self._blocks(latents, self.micro_batch):
                parts.append(self._scores(block)[:rows].cpu())
                self._remember(rows)
        self.counts.add(len(latents))
        return self._evaluation(parts)

    def jacobians(self, latents: NDArray[Any]) -> Evaluation:
        """Objective, measures and Jacobian of latents `(n, latent_dim)`.

        One forward and 1 + measure_dim vector-Jacobian products serve all points at once, because rows are
        independent: ∂(Σ_k y_ki)/∂x_k = ∂y_ki/∂x_k.

        Raises:
            GeneratorError: The score or a gradient is not finite, or has a wrong shape.
            InputError: The score is not differentiable.
        """
        size = min(self.micro_batch, -(-len(latents) // JACOBIAN_BLOCK) * JACOBIAN_BLOCK)
        parts, gradients = [], []
        for block, rows in self._blocks(latents, size):
            scores, jacobian = self._portions(self._differentiate, block)
            if self._portions.limit is not None:  # what is remembered is the whole block
                with torch.no_grad():
                    self.score(block)
            parts.append(scores[:rows].cpu())
            gradients.append(jacobian[:rows].cpu())
            self._remember(rows)
        self.counts.add(len(latents), self.jacobian_cost)
        evaluation = self._evaluation(parts)
        jacobians: Floats = self._gathered(gradients, 1 + self.measure_dim, self.latent_dim)
        if not np.isfinite(jacobians).all():
            raise GeneratorError("score: expected finite gradients, got NaN or infinity")
        return replace(evaluation, jacobian=jacobians)

    def _blocks(self, latents: NDArray[Any], size: int) -> Iterator[tuple[Tensor, int]]:
        for start in range(0, len(latents), size):
            rows = torch.from_numpy(np.array(latents[start : start + size], np.float32)).to(self.device)
            padding = rows[-1:].expand(size - len(rows), -1)
            yield torch.cat([rows, padding]), len(rows)

    def _scores(self, latents: Tensor) -> Tensor:
        objective, measures = self.score(latents)
        got = (tuple(objective.shape), tuple(measures.shape))
        expected = ((len(latents),), (len(latents), self.measure_dim))
        if got != expected:
            raise GeneratorError(
                f"score: expected objective and measures of shapes {expected[0]} and {expected[1]}, "
                f"got {got[0]} and {got[1]}"
            )
        if self.scale is not None:
            objective = self.scale(objective)
        return torch.cat([objective[:, None], measures], dim=1)

    def _differentiate(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        latents = latents.detach().requires_grad_()
        scores = self._scores(latents)
        if not scores.requires_grad:
            raise InputError(
                "search.algorithm: gradients are needed and the score has none; "
                "take an algorithm without gradients, such as cma_mae"
            )
        sums = scores.sum(dim=0)
        gradients = [_gradient(total, latents) for total in sums]
        return scores.detach(), torch.stack(gradients, dim=1)

    def _remember(self, rows: int) -> None:
        if isinstance(self.score, RememberingScore):
            self.score.remember(rows)

    def _evaluation(self, parts: list[Tensor]) -> Evaluation:
        scores = self._gathered(parts, 1 + self.measure_dim)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            got = ", ".join(f"{value:g}" for value in scores[row])
            raise GeneratorError(f"score: expected finite objective and measures, got {got} for latent {row}")
        return Evaluation(scores[:, 0].copy(), scores[:, 1:].copy())

    @staticmethod
    def _gathered(parts: list[Tensor], *shape: int) -> Floats:
        if not parts:
            return np.empty((0, *shape), np.float32)
        return torch.cat(parts).to(torch.float32).numpy()


def _gradient(total: Tensor, latents: Tensor) -> Tensor:
    """∂total/∂latents; zero where total does not depend on them."""
    (gradient,) = torch.autograd.grad(
        total, latents, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return gradient
