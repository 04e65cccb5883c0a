"""The loop over a scheduler's steps, with gradients: pipelines of diffusers run theirs without."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qdgs.errors import ConfigError
from qdgs.randomness import Stream, integer_seed

SCHEDULERS = {
    "consistency": "CMStochasticIterativeScheduler",
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "deis": "DEISMultistepScheduler",
    "dpm-solver": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler",
}

REPLACED = ("DDPMScheduler", "PNDMScheduler")
"""Schedulers of a thousand steps, or of a history: `auto` takes DDIM with the same noise levels instead."""

FEW_STEPS = {"CMStochasticIterativeScheduler": 1, "LCMScheduler": 4, "TCDScheduler": 4}
MANY_STEPS = 50

_STEP_NOISE = 2  # index of Stream.GENERATOR

Predict = Callable[[Tensor, Tensor], Tensor]
"""Scaled sample and noise level → what the scheduler takes: noise, v or the sample itself."""


@dataclass(frozen=True)
class Steps:
    """Steps of a scheduler, which is made anew for every batch, as it keeps a state.

    Stochastic schedulers draw the same noise for every image, from the seed: an image depends on its latent
    alone. Of DDIM and TCD η is 0.

    Attributes:
        kind: Name of the scheduler's class.
        config: Its configuration.
        steps: How many.
        seed: Of its noise.
    """

    kind: str
    config: Mapping[str, Any]
    steps: int
    seed: int

    @classmethod
    def of(cls, own: Any, name: str, steps: int | None, seed: int, *, pixels: bool) -> Steps:
        """The scheduler of a pipeline, or another with its noise levels.

        Args:
            own: The pipeline's.
            name: "own", "auto" or one of `SCHEDULERS`.
            steps: How many; the usual number if None.
            seed: Of its noise.
            pixels: Whether samples are images, so that clipping them to [-1, 1] is right.

        Raises:
            ConfigError: The scheduler is not supported, or cannot take so many steps.
        """
        kind = _kind(type(own).__name__, name)
        config = {key: value for key, value in own.config.items() if not key.startswith("_")}
        if kind != type(own).__name__:
            made = getattr(diffusers, kind).from_config(own.config)
            config = {key: value for key, value in made.config.items() if not key.startswith("_")}
        if not pixels and "clip_sample" in config:
            config["clip_sample"] = False
        made = cls(kind, config, steps or FEW_STEPS.get(kind, MANY_STEPS), seed)
        made._check()
        return made

    def scheduler(self, device: torch.device) -> Any:
        """A new scheduler at its first step."""
        scheduler = getattr(diffusers, self.kind).from_config(dict(self.config))
        scheduler.set_timesteps(self.steps, device=device)
        return scheduler

    def __call__(self, predict: Predict, noise: Tensor, *, recompute: bool = False) -> Tensor:
        """Samples of standard normal noise, of the same shape, float32.

        Args:
            predict: The network.
            noise: `(n, channels, height, width)`.
            recompute: Keep no activations for the backward pass, but compute each step again there.
        """
        scheduler = self.scheduler(noise.device)
        options = self._options(scheduler, len(noise))
        sample: Tensor = noise * scheduler.init_noise_sigma
        for level in scheduler.timesteps:
            scaled = scheduler.scale_model_input(sample, level)
            if recompute and torch.is_grad_enabled():
                predicted = checkpoint(predict, scaled, level, use_reentrant=False, preserve_rng_state=False)
            else:
                predicted = predict(scaled, level)
            sample = scheduler.step(predicted, level, sample, **options).prev_sample
        return sample

    def _options(self, scheduler: Any, rows: int) -> dict[str, Any]:
        known = inspect.signature(scheduler.step).parameters
        options: dict[str, Any] = {"eta": 0.0} if "eta" in known else {}
        if "generator" in known:
            seed = integer_seed(self.seed, Stream.GENERATOR, _STEP_NOISE)
            options["generator"] = [torch.Generator().manual_seed(seed) for _ in range(rows)]
        return options

    def _check(self) -> None:
        try:
            self.scheduler(torch.device("cpu"))
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"generator.steps: expected a number that {self.kind} can take, got {self.steps}: {reason}"
            ) from None


def _kind(own: str, name: str) -> str:
    if name in SCHEDULERS:
        return SCHEDULERS[name]
    if name == "auto" and own in REPLACED:
        return "DDIMScheduler"
    supported = {*SCHEDULERS.values(), "PNDMScheduler"}
    if own not in supported:
        raise ConfigError(
            f"generator.scheduler: the pipeline's own, {own}, is not supported; take one of "
            f"{', '.join(SCHEDULERS)}"
        )
    return own
