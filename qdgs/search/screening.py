"""A surrogate that looks at candidates before the guide does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ribs.emitters import EmitterBase

from qdgs.search.workers import Floats

UNITS = 256
RIDGE = 1e-3
LEAST = -1e9
"""In place of a threshold without end: an empty cell comes before any other."""

FIRST = 2 * UNITS
"""Observations from which on the surrogate is asked."""


class Surrogate:
    """Objective and measures of latents, guessed from those that the guide has scored.

    Ridge regression on the latents and on random features tanh(W·x + b). Every observation counts, and what
    is kept of them is the size of the features alone, however many there are.

    Args:
        latent_dim: Length of a latent.
        outputs: Number of values that are guessed.
        rng: Draws the features.

    References:
        Rahimi and Recht 2008, "Weighted sums of random kitchen sinks".
    """

    def __init__(self, latent_dim: int, outputs: int, rng: np.random.Generator) -> None:
        self._weights = rng.standard_normal((latent_dim, UNITS)) * (2 / latent_dim**0.5)
        self._biases = rng.standard_normal(UNITS)
        size = UNITS + latent_dim + 1
        self._products, self._targets = np.zeros((size, size)), np.zeros((size, outputs))
        self._solution: NDArray[np.float64] | None = None
        self.observations = 0

    def observe(self, latents: Floats, values: NDArray[Any]) -> None:
        """Learn from latents `(n, latent_dim)` and their values `(n, outputs)`."""
        features = self._features(latents)
        self._products += features.T @ features
        self._targets += features.T @ values
        self.observations += len(latents)
        self._solution = None

    def predict(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """Guessed values `(n, outputs)`."""
        solution = self._solution
        if solution is None:
            ridge = RIDGE * self.observations * np.eye(len(self._products))
            solution = np.linalg.solve(self._products + ridge, self._targets).astype(np.float64)
            self._solution = solution
        guess: NDArray[np.float64] = self._features(latents) @ solution
        return guess

    def _features(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        x = np.asarray(latents, np.float64)
        return np.concatenate([np.tanh(x @ self._weights + self._biases), x, np.ones((len(x), 1))], axis=1)


class Screen:
    """Chooses, of many candidates, those that a surrogate promises most of.

    A candidate promises by how much its guessed objective exceeds the threshold of its guessed cell; the best
    of each cell comes first. A guess is no evaluation, and is not counted as one: it costs time alone.

    Args:
        archive: What candidates are for.
        factor: Candidates for each one that is chosen.
        surrogate: Guesses.

    Attributes:
        guessed: Candidates looked at so far.
    """

    def __init__(self, archive: Any, factor: int, surrogate: Surrogate) -> None:
        self.archive = archive
        self.factor = factor
        self.surrogate = surrogate
        self.guessed = 0

    def choose(self, candidates: NDArray[Any], n: int) -> NDArray[np.int64]:
        """Rows of the n that promise most, best first; the first n while the surrogate knows little."""
        if self.surrogate.observations < FIRST:
            return np.arange(n)
        self.guessed += len(candidates)
        guess = self.surrogate.predict(candidates)
        objective, measures = guess[:, 0], guess[:, 1:]
        occupied, there = self.archive.retrieve(measures)
        empty = max(float(self.archive.threshold_min), LEAST)
        promise = objective - np.where(occupied, there["threshold"], empty)
        order = np.argsort(-promise, kind="stable")
        _, first = np.unique(self.archive.index_of(measures)[order], return_index=True)
        foremost = np.zeros(len(order), bool)
        foremost[first] = True
        chosen: NDArray[np.int64] = np.concatenate([order[foremost], order[~foremost]])[:n]
        return chosen


class ScreenedEmitter(EmitterBase):  # type: ignore[misc] # pyribs ships no types
    """An emitter that keeps no account of its solutions, with a screen before them.

    Args:
        inner: Makes `screen.factor` times as many; its archive is an `ArchiveView`.
        screen: Chooses.
        batch_size: Solutions an iteration.
    """

    def __init__(self, inner: Any, screen: Screen, *, batch_size: int) -> None:
        super().__init__(
            inner.archive, solution_dim=inner.solution_dim, bounds=None, lower_bounds=None, upper_bounds=None
        )
        self.batch_size = batch_size
        self._inner, self._screen = inner, screen

    def ask(self) -> NDArray[Any]:
        """Latents `(batch_size, latent_dim)`."""
        candidates: NDArray[Any] = self._inner.ask()
        chosen = self._screen.choose(candidates, self.batch_size)
        self.archive.lineages = self.archive.lineages_of(len(candidates))[chosen]
        return candidates[chosen]
