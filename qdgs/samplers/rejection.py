"""Random samples as they come, and random samples until every group is full."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.samplers.base import BaseSampler, Problem, judged_samples, sample_rows

BATCH = 1024


class RandomSampler(BaseSampler):
    """The first n samples of the prior, labelled by the judge: what everything else is to beat."""

    paper = "the generator as it is"

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Nothing is learned."""
        self._begin(problem)

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draw n samples; one that the judge cannot read has no label."""
        problem = self.problem
        with self._meter.timed():
            latents = problem.generator.sample_latents(n, rng)
            return sample_rows(
                problem, latents, judged_samples(problem, problem.generator, latents, self._meter)
            )


class RejectionSampler(BaseSampler):
    """Random samples that the gate accepts, kept until every group has its images.

    A group of prior mass m takes about k/m draws for its k images, and a group that the generator never makes
    takes all of `problem.draws`; then the sample is short of that group, and `notes` says so.

    Args:
        batch: Samples drawn at once; what is over in the last batch is thrown away and paid for.

    References:
        von Neumann (1951), Various techniques used in connection with random digits.
    """

    paper = "von Neumann 1951"

    def __init__(self, batch: int = BATCH) -> None:
        super().__init__()
        self.batch = batch

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Nothing is learned."""
        self._begin(problem)

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """As many of each group as the target says, in the order in which they were drawn."""
        with self._meter.timed():
            latents, values = self._drawn(n, rng)
            return sample_rows(self.problem, latents, values)

    def _drawn(self, n: int, rng: np.random.Generator) -> tuple[Tensor, pd.DataFrame]:
        problem = self.problem
        missing = np.array(list(problem.counts(n).values()))
        latents, values, drawn = [], [], 0
        while missing.any() and drawn < problem.draws:
            batch = problem.generator.sample_latents(min(self.batch, problem.draws - drawn), rng)
            read = judged_samples(problem, problem.generator, batch, self._meter)
            kept = self._kept(read, missing)
            latents.append(batch[kept])
            values.append(read.iloc[kept])
            drawn += len(batch)
        self._tell(missing, drawn)
        return torch.cat(latents), pd.concat(values, ignore_index=True)

    def _kept(self, read: pd.DataFrame, missing: np.ndarray) -> np.ndarray:
        """Rows that a group still has a place for; `missing` becomes what is missing then."""
        codes = np.where(read["accepted"].to_numpy(bool), self.problem.codes_of(read), -1)
        kept = [np.flatnonzero(codes == group)[:places] for group, places in enumerate(missing)]
        missing -= np.array([len(rows) for rows in kept])
        return np.sort(np.concatenate(kept))

    def _tell(self, missing: np.ndarray, drawn: int) -> None:
        self.notes = tuple(
            f"{group} lacks {short:,} images after {drawn:,} draws"
            for group, short in zip(self.problem.groups, missing, strict=True)
            if short
        )
