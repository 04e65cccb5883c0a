"""Pipelines of diffusers as generators: unconditional ones, Stable Diffusion and its kin, decoders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from qdgs.errors import ConfigError, GeneratorError
from qdgs.generators.diffusers_files import (
    DECODER,
    INSTALL,
    PIXEL_PIPELINES,
    Source,
    has_transformers,
    import_diffusers,
    load,
)
from qdgs.generators.diffusers_latents import Space, fixed_noise, normal_norm, on_shell
from qdgs.generators.diffusers_memory import GIBIBYTE, Plan, Use, measure
from qdgs.generators.diffusers_networks import DecoderNetworks, LatentNetworks, Networks, PixelNetworks
from qdgs.generators.diffusers_options import DiffusersOptions, check_dtype, signature
from qdgs.generators.diffusers_steps import Steps


class Diffusers:
    """A pipeline of diffusers, searched in its initial noise or in an offset of its prompt's embedding.

    The steps are our own loop over network and scheduler, so that gradients flow; what an image depends on
    beside its latent (fixed noise, directions of a subspace) comes from the seed of the options.

    Args:
        options: Which pipeline, and how.
        device: Where images are made.

    Raises:
        ConfigError: An option does not hold, or the pipeline is not supported.
        CorruptFileError: A file of it is damaged.
        MissingModelError: It is not on this machine.
        MissingPackageError: It reads prompts, and transformers is not installed.

    References:
        Song, Meng and Ermon 2021, "Denoising Diffusion Implicit Models". Rombach et al. 2022,
        "High-Resolution Image Synthesis with Latent Diffusion Models". Song et al. 2023, "Consistency
        Models".
    """

    def __init__(self, options: DiffusersOptions, *, device: torch.device | str = "cpu") -> None:
        where = torch.device(device)
        source = Source(options.model, options.revision, options.variant, options.subfolder)
        source.folder()  # what is not here can be checked on a machine that could not run it
        loaded = load(source, check_dtype(options.dtype, where))
        self.networks = _networks(loaded, options, torch.device("cpu") if options.offload else where, where)
        self.steps = _steps(loaded, options)
        self.space = Space.of(self._dim(options.latent), options.subspace, options.seed)
        self.fixed = fixed_noise(self.networks.shape, options.seed) if options.latent == "prompt" else None
        self.differentiable = options.differentiable
        self.image_size = options.output_size or self.networks.image_size
        self.latent_dim = self.space.latent_dim
        self.prior_norm: float | None = normal_norm(self.latent_dim)
        self._working = _Working(where, options.offload, options.memory)

    def _dim(self, latent: str) -> int:
        if latent == "prompt":
            if not self.networks.embedding_dim:
                raise ConfigError("generator.latent: expected noise, as this one takes no prompt, got prompt")
            return self.networks.embedding_dim
        return int(np.prod(self.networks.shape))

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Standard normal latents `(n, latent_dim)`, float32, on the CPU."""
        return torch.from_numpy(rng.standard_normal((n, self.latent_dim), dtype=np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        """Images `(n, 3, image_size, image_size)` of latents `(n, latent_dim)`.

        Raises:
            GeneratorError: The latents are of another length.
        """
        if latents.shape[1:] != (self.latent_dim,):
            raise GeneratorError(
                "diffusers: expected latents (batch_size, latent_dim) = "
                f"(batch_size, {self.latent_dim}), got {tuple(latents.shape)}"
            )
        latents = latents.to(self._working.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable), self._placed():
            plan = self._plan(latents)
            return torch.cat([self._part(part, plan) for part in _parts(latents, plan.rows)])[: len(latents)]

    def _part(self, latents: Tensor, plan: Plan) -> Tensor:
        if plan.recompute and latents.requires_grad:
            images: Tensor = checkpoint(
                self._images, latents, recompute=True, use_reentrant=False, preserve_rng_state=False
            )
            return images
        return self._images(latents, recompute=False)

    def _images(self, latents: Tensor, recompute: bool) -> Tensor:
        images = self.networks.decode(self._samples(latents, recompute)) / 2 + 0.5
        if images.shape[-1] != self.image_size:
            images = functional.interpolate(images, self.image_size, mode="bicubic", antialias=True)
        return images.clamp(0, 1)

    def _samples(self, latents: Tensor, recompute: bool) -> Tensor:
        """What is decoded."""
        vectors, shape = self.space(latents), self.networks.shape
        if self.steps is None:
            return vectors.reshape(-1, *shape)
        if self.fixed is None:
            noise, offset = on_shell(vectors).reshape(-1, *shape), None
        else:
            noise, offset = self.fixed.to(latents.device).expand(len(latents), *shape), vectors

        def predict(sample: Tensor, level: Tensor) -> Tensor:
            return self.networks.predict(sample, level, offset)

        return self.steps(predict, noise, recompute=recompute)

    def _plan(self, latents: Tensor) -> Plan:
        budget, rows = self._working.memory, len(latents)
        if budget is None or not rows:
            return Plan(max(rows, 1), False)
        self._working.use = self._working.use or self._measured(latents[:1].detach())
        gradients = torch.is_grad_enabled() and latents.requires_grad
        return self._working.use.plan(int(budget * GIBIBYTE), rows, gradients)

    def _measured(self, latent: Tensor) -> Use:
        """What one row takes in one step and in the decoding."""
        shape = self.networks.shape
        sample = torch.zeros(1, *shape, device=latent.device, requires_grad=True)
        offset = None if self.fixed is None else self.space(latent)
        levels = [] if self.steps is None else list(self.steps.scheduler(latent.device).timesteps)

        def step() -> Tensor:
            return self.networks.predict(sample, levels[0], offset) if levels else sample

        return measure(step, lambda: self.networks.decode(sample), len(levels))

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """The networks on their device, while they work."""
        if not self._working.offload:
            yield
            return
        for module in self.networks.modules.values():
            module.to(self._working.device)
        try:
            yield
        finally:
            for module in self.networks.modules.values():
                module.to("cpu")


class _Working:
    """What changes nothing about the images but where and in what portions they are made."""

    __slots__ = ("device", "memory", "offload", "use")

    def __init__(self, device: torch.device, offload: bool, memory: float | None) -> None:
        self.device = device
        self.offload = offload
        self.memory = memory
        self.use: Use | None = None


def load_diffusers(*, device: torch.device | str = "cpu", **options: Any) -> Diffusers:
    """A pipeline of diffusers, of options by their names: those of `DiffusersOptions`.

    Raises:
        ConfigError: An option does not hold, or the pipeline is not supported.
        CorruptFileError: A file of it is damaged.
        MissingModelError: It is not on this machine.
        MissingPackageError: It reads prompts, and transformers is not installed.
    """
    return Diffusers(DiffusersOptions.of(**options), device=device)


def lacking() -> str | None:
    """What cannot be done here for want of a package."""
    return None if has_transformers() else f"pipelines that read prompts need transformers: {INSTALL}"


# the options are declared once; whoever looks for their names finds them here
vars(load_diffusers)["__signature__"] = signature()
vars(load_diffusers)["lacking"] = lacking


def _networks(loaded: Any, options: DiffusersOptions, place: torch.device, device: torch.device) -> Networks:
    name = type(loaded).__name__
    if name == DECODER:
        return DecoderNetworks(loaded, options, place)
    if name in PIXEL_PIPELINES:
        return PixelNetworks(loaded, options, place)
    return LatentNetworks(loaded, options, place, device)


def _steps(loaded: Any, options: DiffusersOptions) -> Steps | None:
    name = type(loaded).__name__
    if name == DECODER:
        return None
    import_diffusers()
    pixels = name in PIXEL_PIPELINES
    return Steps.of(loaded.scheduler, options.scheduler, options.steps, options.seed, pixels=pixels)


def _parts(latents: Tensor, rows: int) -> Iterator[Tensor]:
    """Batches of one size: the last one is padded with its last row."""
    for start in range(0, len(latents), rows):
        part = latents[start : start + rows]
        yield torch.cat([part, part[-1:].expand(rows - len(part), -1)]) if len(part) < rows else part
