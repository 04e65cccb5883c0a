"""Margin heads: from embeddings and identities to the logits that a recogniser is trained on.

All of them change the one logit of the true identity, from s·cos θ to

    s·(cos(θ + g_angle) − g_add),

and differ in the two margins only:

| head | g_angle | g_add |
|---|---|---|
| CosFace | 0 | m |
| ArcFace | m | 0 |
| AdaFace | −m·ẑ | m·ẑ + m |

with ẑ in [−1, 1] how much longer than usual the embedding is: at ẑ = −1 (a poor image) AdaFace is ArcFace, at
ẑ = 0 CosFace, and at ẑ = 1 it asks most of those that are far from their identity.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from qdgs.recognition_config import HeadConfig

EDGE = 1e-3
"""Distance that cos θ keeps from ±1, and an angle with margin from 0 and π: there the arc cosine is steep."""
SHORTEST, LONGEST = 1e-3, 100.0
"""Norms beyond these count as these."""
FIRST_MEAN, FIRST_STD = 20.0, 100.0
"""What AdaFace takes for the norms' mean and deviation before it has seen any."""
RATE = 0.01
"""Weight of a batch in AdaFace's running mean and deviation of the norms."""


class MarginHead(nn.Module, ABC):
    """Embeddings `(batch_size, embedding_dim)`, labels `(batch_size,)` → logits `(batch_size, identities)`.

    Subclasses give the margins.

    Args:
        config: Scale s and margin m.
        embedding_dim: Length of an embedding.
        identities: Number of identities.
        generator: Draws the identities' first directions.
    """

    def __init__(
        self, config: HeadConfig, embedding_dim: int, identities: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        directions = torch.randn(identities, embedding_dim, generator=generator)
        self.directions = nn.Parameter(functional.normalize(directions))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Logits of images whose identities are known."""
        cosines = functional.linear(functional.normalize(embeddings), functional.normalize(self.directions))
        cosines = cosines.clamp(EDGE - 1, 1 - EDGE)
        angle, add = self.margins(embeddings.detach().norm(dim=1).clamp(SHORTEST, LONGEST))
        rows = torch.arange(len(labels), device=labels.device)
        theta = (cosines[rows, labels].acos() + angle).clamp(EDGE, math.pi - EDGE)
        logits: Tensor = cosines.index_put((rows, labels), theta.cos() - add) * self.config.scale
        return logits

    @abstractmethod
    def margins(self, norms: Tensor) -> tuple[Tensor, Tensor]:
        """g_angle and g_add of embeddings with norms `(batch_size,)`."""

    @property
    def norms(self) -> dict[str, float]:
        """What it knows of the norms of its backbone's embeddings; most heads ask nothing of them."""
        return {}

    def take_norms(self, norms: Mapping[str, float]) -> None:
        """Begin with what another head of the same backbone knew, where that suffices."""

    @property
    def margin(self) -> float:
        """The margin m."""
        assert self.config.margin is not None, "the configuration fills it in"
        return self.config.margin


class CosFace(MarginHead):
    """The margin is taken off the cosine.

    References:
        Wang et al., CVPR 2018, arXiv 1801.09414, equation 4.
    """

    def margins(self, norms: Tensor) -> tuple[Tensor, Tensor]:
        """0, and the margin."""
        return torch.zeros_like(norms), torch.full_like(norms, self.margin)


class ArcFace(MarginHead):
    """The margin is added to the angle.

    References:
        Deng et al., CVPR 2019, arXiv 1801.07698, equation 3.
    """

    def margins(self, norms: Tensor) -> tuple[Tensor, Tensor]:
        """The margin, and 0."""
        return torch.full_like(norms, self.margin), torch.zeros_like(norms)


class AdaFace(MarginHead):
    """Both margins, by the quality that an embedding's norm tells.

    ẑ = clip((‖z‖ − μ) / (σ/h), −1, 1), without gradient, μ and σ running mean and deviation of the norms. In
    training every call moves them by `RATE` to those of its batch, over all processes; then they are used.
    As published they begin far away, σ at 100, so that for the first hundreds of steps ẑ is near 0; a head
    that goes on with a trained backbone takes those of the one before (our choice).

    References:
        Kim, Jain and Liu, CVPR 2022, arXiv 2204.00964, equations 8 to 15.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: HeadConfig, embedding_dim: int, identities: int, *, generator: torch.Generator
    ) -> None:
        super().__init__(config, embedding_dim, identities, generator=generator)
        self.register_buffer("mean", torch.tensor(FIRST_MEAN))
        self.register_buffer("std", torch.tensor(FIRST_STD))

    @property
    def norms(self) -> dict[str, float]:
        """Mean and deviation so far."""
        return {"mean": self.mean.item(), "std": self.std.item()}

    def take_norms(self, norms: Mapping[str, float]) -> None:
        """Begin with those of another."""
        if {"mean", "std"} <= set(norms):
            self.mean.fill_(norms["mean"])
            self.std.fill_(norms["std"])

    def margins(self, norms: Tensor) -> tuple[Tensor, Tensor]:
        """−m·ẑ and m·ẑ + m."""
        if self.training:
            self._follow(norms)
        quality = (self.config.h * (norms - self.mean) / (self.std + EDGE)).clamp(-1, 1)
        return -self.margin * quality, self.margin * quality + self.margin

    def _follow(self, norms: Tensor) -> None:
        mean, std = mean_and_std(norms)
        self.mean.lerp_(mean, RATE)
        self.std.lerp_(std, RATE)


HEADS: Mapping[str, type[MarginHead]] = {"adaface": AdaFace, "arcface": ArcFace, "cosface": CosFace}


def mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (n − 1 in the denominator) of the values of all processes together."""
    total = torch.stack([values.new_tensor(float(len(values))), values.sum()])
    _add_up(total)
    number, mean = total[0], total[1] / total[0]
    squares = (values - mean).square().sum()
    _add_up(squares)
    return mean, (squares / (number - 1).clamp_min(1)).sqrt()


def _add_up(values: Tensor) -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
