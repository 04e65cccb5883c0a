"""What a way of balancing costs, counted where it is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd
from torch import Tensor

from qdgs.generators.base import MICRO_BATCH, Generator
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge


@dataclass(frozen=True)
class Cost:
    """What was spent; costs add up.

    Attributes:
        generator_calls: Latents that were turned into images, those within a training and the set's own
            included; an image that was made to be read or scored is not counted again when the set is kept.
        judge_labels: Images that a judge read; one image read by two judges counts twice.
        guide_scores: Images that a guide scored.
        reference_images: Labelled images that the user had to bring.
        trained_on: Images or latents that whatever was trained saw; by a network each epoch anew, by other
            models (hyperplanes, mixtures, regressions) once.
        forwards: Images or latents put through a network other than a judge: the generator, the guide's,
            and whatever is trained, whether a gradient follows or not.
        backwards: Images or latents whose gradients were taken through such a network; a Jacobian counts once
            for each of its rows.
        seconds: Wall clock, of this machine as it was.
    """

    generator_calls: int = 0
    judge_labels: int = 0
    guide_scores: int = 0
    reference_images: int = 0
    trained_on: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        added = {item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)}
        return Cost(**added)

    def __sub__(self, other: Cost) -> Cost:
        left = {item.name: getattr(self, item.name) - getattr(other, item.name) for item in fields(self)}
        return Cost(**left)


class Meter:
    """Generates and judges, and counts it; the rest is told to `count`."""

    def __init__(self) -> None:
        self.cost = Cost()

    def count(self, **spent: float) -> None:
        """Add to the cost, by the names of `Cost`."""
        more: dict[str, Any] = {name: getattr(self.cost, name) + amount for name, amount in spent.items()}
        self.cost = replace(self.cost, **more)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds of a block; blocks must not lie within one another."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.count(seconds=time.monotonic() - begun)

    def images(
        self, generator: Generator, latents: Tensor, micro_batch: int = MICRO_BATCH
    ) -> Iterator[Tensor]:
        """Images of latents `(n, latent_dim)` as 8-bit files keep them, in [0, 1], without gradients.

        Yields:
            `(at most micro_batch, 3, height, width)`, in the order of the latents.
        """
        for images in generate_quickly(generator, latents, micro_batch, as_stored):
            self.count(generator_calls=len(images), forwards=len(images))
            yield images

    def read(self, judge: Judge, images: Tensor) -> pd.DataFrame:
        """A judge's rows for images `(n, 3, height, width)`."""
        self.count(judge_labels=len(images))
        return judge.judge(images)
