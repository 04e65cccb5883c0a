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


def wanted(images: LabelledImages | None, place: str, use: str) -> LabelledImages:
    """Images that a method cannot do without.

    Args:
        images: What the problem holds.
        place: Its name in the problem.
        use: What the method does with them, for the error.

    Raises:
        InputError: There are none.
    """
    if images is None or len(images) == 0:
        raise InputError(f"{place}: expected labelled images to {use}, got none")
    return images


def unbalanced(problem: Problem, reference: LabelledImages, tolerance: float = 0.1) -> tuple[str, ...]:
    """A note on a reference set that has not the target's shares itself, with its shares; none if it has.

    Args:
        problem: Names groups and target.
        reference: Labelled images; those without a group are left out.
        tolerance: Largest |share − target|/target that goes without a note.
    """
    codes = problem.codes_of(reference.values)
    shares = np.bincount(codes[codes >= 0], minlength=len(problem.groups)) / max(1, (codes >= 0).sum())
    targets = np.array(list(problem.shares.values()))
    if (np.abs(shares - targets) <= tolerance * targets + 1 / max(1, len(codes))).all():
        return ()
    told = ", ".join(f"{group} {share:.1%}" for group, share in zip(problem.groups, shares, strict=True))
    return (f"the reference set is itself unbalanced: {told}",)
