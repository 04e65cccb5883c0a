"""Latent mixtures: a mixture of Gaussians fitted to the samples that each group has, none of them moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from qdgs.fairness.correction import correct_shares
from qdgs.samplers.base import judged_samples
from qdgs.samplers.hyperplanes import Array, Hyperplane
from qdgs.samplers.latent_shift import LatentShiftSampler, drawn_from


class LatentMixturesSampler(LatentShiftSampler):
    """Latent shift without the shift, for attributes that are not linear in the latents.

    Where no direction leads from one value to another, a group's mixture is fitted to the samples that the
    judge accepts and puts into that very group; a group that the samples do not have cannot be made. A
    mixture spills into neighbouring groups, so the judge reads some images of each, and the shares of the
    mixtures are set such that what it reads has the target's. Both are ours.

    Args:
        samples: Judged samples to learn from.
        components: Gaussians a group, each with a full covariance; fewer where a group has few latents.
        probes: Images of each mixture that the judge reads to set the shares; 0 leaves them the target's.

    References:
        Tan, Shen and Zhou (2020), Improving the fairness of deep generative models without retraining,
        arXiv 2012.04842 (a mixture a group).
    """

    paper = "ours, after Tan et al. 2020"
    quick: ClassVar[Mapping[str, Any]] = {"samples": 1200, "components": 2, "probes": 20}

    def __init__(self, *, samples: int = 10_000, components: int = 10, probes: int = 250) -> None:
        super().__init__(samples=samples, components=components)
        self.probes = probes

    def _latents_for(self, group: str, z: Array, read: pd.DataFrame) -> Array:
        whole = read["accepted"].to_numpy(bool)
        own: Array = z[whole & (self.problem.codes_of(read) == self.problem.groups.index(group))]
        return own

    def _directions(self, z: Array, read: pd.DataFrame, seed: int) -> dict[str, Hyperplane]:
        return {}

    def _settled(self, rng: np.random.Generator) -> dict[str, float]:
        """Shares w of the mixtures with Σ_g w_g·P(read as j | mixture g) ∝ target_j, as near as can be."""
        wanted = super()._settled(rng)
        if not self.probes:
            return wanted
        names = list(wanted)
        rates = np.stack([self._read_of(name, names, rng) for name in names])
        readable = rates.sum(axis=1)
        if not readable.all():
            return wanted
        shares = correct_shares(list(wanted.values()), rates) / readable
        return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))

    def _read_of(self, group: str, names: list[str], rng: np.random.Generator) -> Array:
        """How often images of a group's mixture are read as each group, of all that are probed."""
        problem = self.problem
        latents = torch.from_numpy(drawn_from(self.mixtures[group], self.probes, rng).astype(np.float32))
        read = judged_samples(problem, problem.generator, latents, self._meter)
        codes = np.where(read["accepted"].to_numpy(bool), problem.codes_of(read), -1)
        counts = [(codes == problem.groups.index(name)).sum() for name in names]
        return np.array(counts, dtype=np.float64) / self.probes

    def _told(self) -> tuple[str, ...]:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in self.shares.items())
        return (f"shares of the mixtures: {shares}",)
