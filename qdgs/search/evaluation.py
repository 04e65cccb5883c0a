"""Scoring latents: in micro-batches of one size, with or without the Jacobian, and counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs.errors import GeneratorError
from qdgs.search.workers import Floats, LocalWorkers, Score, Scored, Task, Workers, micro_batches

BACKWARD_COST = 1.0
"""What a backward pass costs, in forward passes.

The usual estimate is one for the inputs and one for the weights; generator and guide are frozen, so the
gradients of the weights are never computed.
"""

JACOBIAN_BLOCK = 8
"""Jacobian points are padded to a multiple of this, not to a whole micro-batch: there are few of them.

Fewer than 16 rows may have other last bits; an iteration always has as many points, so that runs repeat.
"""

SOFTNESS = 0.1
"""How far beyond its two quantiles, in units of their distance, a scaled objective can ever get."""


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
        workers: Who scores; by default this process.
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
        workers: Workers | None = None,
    ) -> None:
        self.score = score
        self.latent_dim = latent_dim
        self.measure_dim = measure_dim
        self.micro_batch = micro_batch
        self.scale = scale
        self.counts = Counts() if counts is None else counts
        self.workers = LocalWorkers(score, device) if workers is None else workers

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
            scale=scale,
            counts=self.counts,
            workers=self.workers,
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
        scored = self._scored(latents, self.micro_batch, gradients=False)
        self.counts.add(len(latents))
        return self._evaluation(scored)

    def jacobians(self, latents: NDArray[Any]) -> Evaluation:
        """Objective, measures and Jacobian of latents `(n, latent_dim)`.

        One forward and 1 + measure_dim vector-Jacobian products serve all points at once, because rows are
        independent: ∂(Σ_k y_ki)/∂x_k = ∂y_ki/∂x_k.

        Raises:
            GeneratorError: The score or a gradient is not finite, or has a wrong shape.
            InputError: The score is not differentiable.
        """
        size = min(self.micro_batch, -(-len(latents) // JACOBIAN_BLOCK) * JACOBIAN_BLOCK)
        scored = self._scored(latents, size, gradients=True)
        self.counts.add(len(latents), self.jacobian_cost)
        parts = [part.jacobian for part in scored if part.jacobian is not None]
        jacobian: Floats = _joined(parts, 1 + self.measure_dim, self.latent_dim)
        if not np.isfinite(jacobian).all():
            raise GeneratorError("score: expected finite gradients, got NaN or infinity")
        return replace(self._evaluation(scored), jacobian=jacobian)

    def _scored(self, latents: NDArray[Any], size: int, *, gradients: bool) -> list[Scored]:
        task = Task(self.measure_dim, self.scale, gradients)
        return list(self.workers.work(task, micro_batches(latents, size)))

    def _evaluation(self, scored: list[Scored]) -> Evaluation:
        scores = _joined([part.scores for part in scored], 1 + self.measure_dim)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            got = ", ".join(f"{value:g}" for value in scores[row])
            raise GeneratorError(f"score: expected finite objective and measures, got {got} for latent {row}")
        return Evaluation(scores[:, 0].copy(), scores[:, 1:].copy())


def _joined(parts: list[Floats], *shape: int) -> Floats:
    return np.concatenate(parts) if parts else np.empty((0, *shape), np.float32)
