"""From latents to what a pipeline begins with: noise on the Gaussian's shell, or an embedding's offset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qdgs.errors import ConfigError
from qdgs.randomness import Stream, stream

SHELL_WIDTH = 3.0
"""Half the width of the shell in standard deviations: 99.7 % of random noise lies within."""

_NOISE, _BASIS = 0, 1  # indices of Stream.GENERATOR; 2 is the schedulers' noise


@dataclass(frozen=True)
class Space:
    """Latents q `(n, latent_dim)` → vectors v `(n, dim)`, standard normal where q is.

    Without a subspace v = q. In one, v = √(dim / latent_dim)·B·q with B `(dim, latent_dim)` of orthonormal
    random columns: each v then looks like white noise, its entries' variance is one on average, and latents
    keep their angles.

    Attributes:
        dim: Length of a vector.
        basis: B, or None for the whole space.
    """

    dim: int
    basis: Tensor | None = None

    @classmethod
    def of(cls, dim: int, subspace: int | None, seed: int) -> Space:
        """The whole space, or a subspace drawn from a seed.

        Raises:
            ConfigError: The subspace has more dimensions than the space.
        """
        if subspace is None:
            return cls(dim)
        if subspace > dim:
            raise ConfigError(f"generator.subspace: expected at most the {dim} there are, got {subspace}")
        drawn = stream(seed, Stream.GENERATOR, _BASIS).standard_normal((dim, subspace))
        basis, triangle = np.linalg.qr(drawn)
        signs = np.sign(np.diag(triangle))  # makes the decomposition unique
        return cls(dim, torch.from_numpy((basis * signs).astype(np.float32)))

    @property
    def latent_dim(self) -> int:
        """Length of a latent."""
        return self.dim if self.basis is None else self.basis.shape[1]

    def __call__(self, latents: Tensor) -> Tensor:
        """The vectors."""
        if self.basis is None:
            return latents
        vectors: Tensor = math.sqrt(self.dim / self.latent_dim) * latents @ self.basis.to(latents.device).T
        return vectors


def on_shell(vectors: Tensor) -> Tensor:
    """Vectors `(n, dim)` pulled to where the norms of standard normal ones are: √dim ± 3·√½.

    Denoisers were trained on such noise alone; with norms apart from it images turn flat or burnt. Direction
    stays, and so does what lies within.
    """
    dim = vectors.shape[1]
    middle, width = math.sqrt(dim), SHELL_WIDTH * math.sqrt(0.5)
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(1e-6)
    pulled: Tensor = vectors * (norms.clamp(max(middle - width, 0.0), middle + width) / norms)
    return pulled


def fixed_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise `(1, *shape)`, the same for every image."""
    drawn = stream(seed, Stream.GENERATOR, _NOISE).standard_normal((1, *shape), dtype=np.float32)
    return torch.from_numpy(drawn)


def normal_norm(dim: int) -> float:
    """Mean norm of standard normal vectors of this length: √2·Γ((dim + 1)/2)/Γ(dim/2)."""
    return math.sqrt(2) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))
