"""What the methods with a generator of their own share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from qdgs.errors import InputError
from qdgs.generators.base import Generator
from qdgs.samplers.base import BaseSampler, LabelledImages, Problem, judged_samples, sample_rows


class OwnGeneratorSampler(BaseSampler):
    """Random samples of the method's own generator, which `fit` has put into `own`."""

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draw n samples of the method's generator; one that the judge cannot read has no label."""
        generator = self._generator
        with self._meter.timed():
            latents = generator.sample_latents(n, rng)
            values = judged_samples(self.problem, generator, latents, self._meter)
            return sample_rows(self.problem, latents, values)

    @property
    def _generator(self) -> Generator:
        if self.own is None:
            raise InputError(f"{type(self).__name__}: expected fit before sample, got sample alone")
        return self.own.generator


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """Random numbers for torch, seeded by those of numpy, which move on."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def training_of(problem: Problem, method: str) -> LabelledImages:
    """The problem's training images.

    Args:
        problem: What they belong to.
        method: Who asks, for the error.

    Raises:
        InputError: There are none.
    """
    if problem.training is None or not len(problem.training):
        raise InputError(f"{method}: expected training images of the generator's kind, got none")
    return problem.training
