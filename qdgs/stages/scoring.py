"""Generator, guide and prior joined into the one function of latents that the search sees."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from qdgs.config import RunConfig, SpeedConfig
from qdgs.errors import ConfigError, InputError
from qdgs.generators.base import Generator, images_of, is_thread_safe, padded_batches
from qdgs.guides.base import SearchGuide
from qdgs.guides.own import OwnGuide
from qdgs.guides.prior import latent_norm_loss, norm_statistics
from qdgs.layout import takes_channels_last, use_layout
from qdgs.pace import Pace
from qdgs.parts import Device, load_generator, load_guide
from qdgs.randomness import Stream, stream
from qdgs.run import Run
from qdgs.side_by_side import AT_ONCE, overlapping
from qdgs.stages.speed import PROBES, check_bfloat16, check_ranking, compile_networks

NORM_SAMPLES = 10_000
NORM_INDEX = 1_000_000  # apart from the prior's other streams, which count from 0


class Scorer:
    """Latents → objective and measures: f = guide's objective − 50·b1·L_reg(latents).

    Scoring is pure. Where the guide has a uniqueness term, its memory moves in `remember` alone.

    Args:
        generator: Makes the images.
        guide: Scores them.
        seed: Seed of the run, for the prior's norms.
        speed: How both are run.

    Attributes:
        differentiable: Whether gradients flow from scores to latents.
        thread_safe: Whether several threads may score at once.

    References:
        Chang et al., AAAI 2024, arXiv 2312.14369 (L = b0·L_txt + b1·L_reg + b2·L_unq, f = 100 − 50·L).
    """

    def __init__(
        self,
        generator: Generator,
        guide: SearchGuide,
        *,
        seed: int,
        speed: SpeedConfig = SpeedConfig(),  # noqa: B008 # frozen
    ) -> None:
        self.generator = generator
        self.guide = guide
        self.differentiable = generator.differentiable and getattr(guide, "differentiable", True)
        self._weight = guide.config.weights.latent_norm
        latents = generator.sample_latents(NORM_SAMPLES, stream(seed, Stream.PRIOR, NORM_INDEX))
        self._norm, self._norm_std = norm_statistics(latents)
        self._last: Tensor | None = None
        self._probes = latents
        safe = is_thread_safe(generator) and getattr(guide, "thread_safe", False)
        self.thread_safe = speed.compile == "no" and safe
        self._pace = Pace(
            self._pass,
            lambda n: latents[torch.arange(n) % len(latents)],
            speed.rows_at_once,
            thread_safe=self.thread_safe,
        )
        self._channels_last: bool | None = None if speed.layout == "auto" else False
        self._precision = torch.float32
        self._prepare(speed, latents)

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Objective `(n,)` and measures `(n, measure_dim)` of latents `(n, latent_dim)`.

        Raises:
            GeneratorError: The generator fails, or returned something other than images in [0, 1].
            InputError: Gradients are asked for, and do not flow.
        """
        if self._channels_last is None:
            here = latents.device.type == "cpu"
            self._channels_last = here and takes_channels_last(self.generator, self._probes)
        objective, measures, self._last = self._pace(latents)
        return objective, measures

    def at_once(self) -> int:
        """How many micro-batches may be scored at once."""
        return AT_ONCE if self._pace.beside else 1

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

    def _pass(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Objective, measures and embeddings, which carry no gradients, in one pass through both."""
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=self._precision is torch.bfloat16):
            images = images_of(self.generator, latents)
        images = images.float() if self._precision is torch.bfloat16 else images
        images = images.contiguous() if self._channels_last else images
        embeddings = self.guide.embed(images)
        scores = self.guide.score_embeddings(embeddings)
        wanted = latents.requires_grad and torch.is_grad_enabled()
        if wanted and not all(part.requires_grad for part in scores):
            raise _without_gradients("guide's scores" if images.requires_grad else "generator's images")
        objective = scores.objective - 50 * self._weight * self._prior_loss(latents)
        return objective, scores.measures, embeddings.detach()

    def _prepare(self, speed: SpeedConfig, latents: Tensor) -> None:
        encoder = getattr(self.guide, "encoder", None)
        if speed.layout == "channels_last":
            for part in (self.generator, encoder):
                use_layout(part, torch.channels_last)
        if speed.precision == "bfloat16":
            self._use_bfloat16(encoder, latents)
        if speed.compile != "no":
            for part in (self.generator, getattr(getattr(encoder, "model", None), "visual", None)):
                compile_networks(part, speed.compile)

    def _use_bfloat16(self, encoder: Any, latents: Tensor) -> None:
        device = torch.device(getattr(encoder, "device", "cpu"))
        check_bfloat16(device)
        exact = scores_of(self, latents[:PROBES].to(device), PROBES // 4)
        self._precision = encoder.precision = torch.bfloat16
        self._pace.chosen.clear()  # what keeps the bits of float32 was found
        quick = scores_of(self, latents[:PROBES].to(device), PROBES // 4)
        check_ranking(exact.to_numpy(), quick.to_numpy(), tuple(exact.columns[1:]))

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


def _without_gradients(where: str) -> InputError:
    return InputError(
        f"search.algorithm: gradients are needed and the {where} carry none; take an algorithm without "
        "gradients, such as cma_mae, or give the part that stops them differentiable = False"
    )


def load_scorer(run: Run, *, device: Device) -> Scorer:
    """The function of latents that a run searches."""
    return scorer_of(run.config, device=device)


def scorer_of(config: RunConfig, *, device: Device) -> Scorer:
    """The function of latents that a run of this configuration searches."""
    generator = load_generator(config.generator, device=device)
    guide = load_guide(config.guide, device=device)
    check_fit(generator, guide, device=device)
    return Scorer(generator, guide, seed=config.seed, speed=config.search.speed)


def check_fit(generator: Generator, guide: SearchGuide, *, device: Device = "cpu") -> None:
    """See that a guide takes the generator's images; one that a user brought is shown two grey ones.

    Raises:
        ConfigError: It wants another size, fails, or gives no scores.
    """
    size, wanted = generator.image_size, getattr(guide, "image_size", None)
    if wanted not in (None, size):
        raise ConfigError(
            f"guide: expected one for the generator's images of {size} pixels, got {guide.config.who} for "
            f"images of {wanted}; let it resize them, or take its image_size away"
        )
    if isinstance(guide, OwnGuide):
        with torch.no_grad():
            guide.score(torch.full((2, 3, size, size), 0.5, device=device))


def scores_of(scorer: Scorer, latents: Tensor, micro_batch: int) -> pd.DataFrame:
    """Raw `objective` and measures by their names, one row a latent; micro-batches of one size."""

    def scored(batch: tuple[Tensor, int]) -> Tensor:
        with torch.no_grad():
            objective, measures = scorer(batch[0])
        return torch.cat([objective[:, None], measures], dim=1)[: batch[1]].cpu()

    parts = list(overlapping(scored, padded_batches(latents, micro_batch), scorer.at_once))
    return pd.DataFrame(torch.cat(parts).numpy(), columns=["objective", *scorer.guide.measure_names])
