"""Generator, guide and prior joined into the one function of latents that the search sees."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from qdgs.config import RunConfig
from qdgs.errors import ConfigError
from qdgs.generators.base import Generator, check_images
from qdgs.guides.base import SearchGuide
from qdgs.guides.prior import latent_norm_loss, norm_statistics
from qdgs.parts import Device, load_generator, load_guide
from qdgs.randomness import Stream, stream
from qdgs.run import Run

NORM_SAMPLES = 10_000
NORM_INDEX = 1_000_000  # apart from the prior's other streams, which count from 0


class Scorer:
    """Latents → objective and measures: f = guide's objective − 50·b1·L_reg(latents).

    Scoring is pure. Where the guide has a uniqueness term, its memory moves in `remember` alone.

    Args:
        generator: Makes the images.
        guide: Scores them.
        seed: Seed of the run, for the prior's norms.

    Attributes:
        differentiable: Whether gradients flow from scores to latents.

    References:
        Chang et al., AAAI 2024, arXiv 2312.14369 (L = b0·L_txt + b1·L_reg + b2·L_unq, f = 100 − 50·L).
    """

    def __init__(self, generator: Generator, guide: SearchGuide, *, seed: int) -> None:
        self.generator = generator
        self.guide = guide
        self.differentiable = generator.differentiable and getattr(guide, "differentiable", True)
        self._weight = guide.config.weights.latent_norm
        latents = generator.sample_latents(NORM_SAMPLES, stream(seed, Stream.PRIOR, NORM_INDEX))
        self._norm, self._norm_std = norm_statistics(latents)
        self._last: Tensor | None = None

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Objective `(n,)` and measures `(n, measure_dim)` of latents `(n, latent_dim)`.

        Raises:
            GeneratorError: The generator returned something other than images in [0, 1].
        """
        images = check_images(self.generator(latents), len(latents), self.generator.image_size)
        embeddings = self.guide.embed(images)
        self._last = embeddings.detach()
        scores = self.guide.score_embeddings(embeddings)
        return scores.objective - 50 * self._weight * self._prior_loss(latents), scores.measures

    def remember(self, rows: int) -> None:
        """Tell the guide's uniqueness term that the first `rows` rows of the last call came up."""
        if self._last is not None:
            self.guide.remember(self._last[:rows])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return self.guide.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.guide.load_state_dict(state)

    def _prior_loss(self, latents: Tensor) -> Tensor:
        if not self._weight:
            return latents.new_zeros(len(latents))
        return latent_norm_loss(
            latents,
            kind=self.guide.config.latent_norm,
            prior_norm=self._norm,
            prior_norm_std=self._norm_std,
            width=self.guide.config.shell_width,
        )


def load_scorer(run: Run, *, device: Device) -> Scorer:
    """The function of latents that a run searches."""
    return scorer_of(run.config, device=device)


def scorer_of(config: RunConfig, *, device: Device) -> Scorer:
    """The function of latents that a run of this configuration searches."""
    generator = load_generator(config.generator, device=device)
    guide = load_guide(config.guide, device=device)
    wanted = getattr(guide, "image_size", None)
    if wanted not in (None, generator.image_size):
        raise ConfigError(
            f"guide: expected one for the generator's images of {generator.image_size} pixels, got "
            f"{config.guide.who} for images of {wanted}; let it resize them, or take its image_size away"
        )
    return Scorer(generator, guide, seed=config.seed)


def scores_of(scorer: Scorer, latents: Tensor, micro_batch: int) -> pd.DataFrame:
    """Raw `objective` and measures by their names, one row a latent; micro-batches of one size."""
    parts = []
    for start in range(0, len(latents), micro_batch):
        rows = latents[start : start + micro_batch]
        padded = torch.cat([rows, rows[-1:].expand(micro_batch - len(rows), -1)])
        with torch.no_grad():
            objective, measures = scorer(padded)
        parts.append(torch.cat([objective[:, None], measures], dim=1)[: len(rows)].cpu())
    return pd.DataFrame(torch.cat(parts).numpy(), columns=["objective", *scorer.guide.measure_names])
