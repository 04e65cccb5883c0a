"""A generator at a quick pace, bit for bit the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor

from qdgs.generators.base import MICRO_BATCH, Generator, generate, images_of
from qdgs.layout import TRIED, takes_channels_last
from qdgs.pace import Pace
from qdgs.randomness import Stream, stream

WORTH_TRYING = 8
"""Micro-batches from which on it pays to look for a generator's pace."""


_FOUND: WeakKeyDictionary[Any, dict[int, int]] = WeakKeyDictionary()
"""What was found of generators whose layout is settled: rows at once by micro-batch."""


def generate_quickly(
    generator: Generator, latents: Tensor, micro_batch: int = MICRO_BATCH
) -> Iterator[Tensor]:
    """Images of many latents as `generate` gives them, at the generator's quick pace."""
    many = len(latents) > WORTH_TRYING * micro_batch
    return generate(QuickGenerator(generator) if many else generator, latents, micro_batch)


class QuickGenerator:
    """Images of another generator, in the layout and as many at once as a CPU does quickly, where bits stay.

    For many images without gradients: what keeps the bits is found on a few latents, always the same, and
    once for a generator.

    Args:
        generator: Makes the images; its weights may be laid out otherwise afterwards.
    """

    def __init__(self, generator: Generator) -> None:
        self.latent_dim = generator.latent_dim
        self.image_size = generator.image_size
        self.differentiable = generator.differentiable
        self.prior_norm = generator.prior_norm
        self._generator = generator
        self._settled = False
        self._pace = Pace(lambda latents: (images_of(generator, latents),), self._probes)
        with suppress(TypeError):  # some objects cannot be keys
            if generator in _FOUND:
                self._pace.chosen, self._settled = _FOUND[generator], True

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Latents `(n, latent_dim)` of the other generator."""
        return self._generator.sample_latents(n, rng)

    def __call__(self, latents: Tensor) -> Tensor:
        """Images of the latents."""
        if not self._settled:
            self._settle(latents)
        (images,) = self._pace(latents)
        return images

    def _settle(self, latents: Tensor) -> None:
        if latents.device.type == "cpu":
            takes_channels_last(self._generator, self._probes(TRIED).to(latents))
        self._settled = True
        with suppress(TypeError):
            _FOUND[self._generator] = self._pace.chosen

    def _probes(self, n: int) -> Tensor:
        return self._generator.sample_latents(n, stream(0, Stream.GENERATOR))
