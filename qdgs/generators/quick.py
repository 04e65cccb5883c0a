"""A generator at a quick pace, bit for bit the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qdgs.generators.base import MICRO_BATCH, Generator, images_of, is_thread_safe, padded_batches
from qdgs.layout import TRIED, takes_channels_last
from qdgs.memory import give_back
from qdgs.pace import Pace, Way
from qdgs.randomness import Stream, stream
from qdgs.side_by_side import AT_ONCE, overlapping

WORTH_TRYING = 8
"""Micro-batches from which on it pays to look for a generator's pace."""

TIDIED = 16
"""Micro-batches after which the heap gives back what it keeps between them."""

WHOLE = 2**20
"""More rows than a micro-batch has."""

Then = Callable[[Tensor], Tensor]

_FOUND: WeakKeyDictionary[Any, dict[tuple[int, int], Way]] = WeakKeyDictionary()
"""What was found of generators whose layout is settled."""


def as_they_are(images: Tensor) -> Tensor:
    """The images themselves."""
    return images


def generate_quickly(
    generator: Generator, latents: Tensor, micro_batch: int = MICRO_BATCH, then: Then = as_they_are
) -> Iterator[Tensor]:
    """What `then` makes of the images that `generate` gives, at the generator's quick pace."""
    quick = QuickGenerator(generator, then, trying=len(latents) > WORTH_TRYING * micro_batch)
    batches = overlapping(
        lambda batch: quick(batch[0])[: batch[1]], padded_batches(latents, micro_batch), quick.at_once
    )
    for number, batch in enumerate(batches, start=1):
        yield batch
        if number % TIDIED == 0:
            give_back()


class QuickGenerator:
    """Images of another generator, laid out, portioned and threaded as a CPU likes best, where bits stay.

    For many images without gradients: what keeps the bits is found on a few latents, always the same, and
    once for a generator.

    Args:
        generator: Makes the images; its weights may be laid out otherwise afterwards.
        then: What is made of images, at once while they are at hand.
        trying: Whether to look for the pace; where not, whole micro-batches are made.
    """

    def __init__(self, generator: Generator, then: Then = as_they_are, *, trying: bool = True) -> None:
        self._generator = generator
        self._settled = not trying
        self._pace = Pace(
            lambda latents: (then(images_of(generator, latents)),),
            self._probes,
            "auto" if trying else WHOLE,
            thread_safe=is_thread_safe(generator),
            probed=lambda latents: (images_of(generator, latents),),
        )
        with suppress(TypeError):  # some objects cannot be keys
            if trying and generator in _FOUND:
                self._pace.chosen, self._settled = _FOUND[generator], True

    def at_once(self) -> int:
        """How many micro-batches may be in the making."""
        return AT_ONCE if self._pace.beside else 1

    def portion(self, micro_batch: int) -> int | None:
        """Rows of a portion where those of a micro-batch were found to pass side by side."""
        way = self._pace.chosen.get((micro_batch, torch.get_num_threads()))
        return way.rows if way is not None and way.beside else None

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """What is made of the images of a micro-batch of latents."""
        if not self._settled:
            self._settle(latents)
        (made,) = self._pace(latents)
        return made

    def _settle(self, latents: Tensor) -> None:
        if latents.device.type == "cpu":
            takes_channels_last(self._generator, self._probes(TRIED).to(latents))
        self._settled = True
        with suppress(TypeError):
            _FOUND[self._generator] = self._pace.chosen

    def _probes(self, n: int) -> Tensor:
        return self._generator.sample_latents(n, stream(0, Stream.GENERATOR))
