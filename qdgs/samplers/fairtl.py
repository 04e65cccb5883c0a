"""fairTL and fairTL++: a GAN adapted on a small balanced reference set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.errors import InputError
from qdgs.generators.shapes_gan import (
    IMAGE_SIZE,
    LATENT_DIM,
    NAME,
    GanDiscriminator,
    GanGenerator,
    NetworkGenerator,
    ShapesGAN,
    save_gan,
)
from qdgs.samplers.base import OwnGenerator, Problem
from qdgs.samplers.own import OwnGeneratorSampler, torch_generator, training_of
from qdgs.samplers.reference import reference_of
from qdgs.training.adaptation import Adaptation, adapt
from qdgs.training.adversarial import GanSettings, GanTraining
from qdgs.training.initial import seeded
from qdgs.training.pixels import to_pixels

PRETRAINING = GanSettings(batch_size=64)
ATTRIBUTES = ("color", "shape")
"""What the embedded GAN's drawings differ in."""


@dataclass(frozen=True, eq=False)
class Gan:
    """A generator with the discriminator that it was trained against.

    Attributes:
        name: What tables call it.
        generator: Latents → images.
        discriminator: Images → logits.
        latent_dim: Length of a latent.
        image_size: Pixels a side.
    """

    name: str
    generator: nn.Module
    discriminator: GanDiscriminator
    latent_dim: int = LATENT_DIM
    image_size: int = IMAGE_SIZE

    def as_generator(self) -> NetworkGenerator:
        """The generator as it is."""
        return NetworkGenerator(copy.deepcopy(self.generator), self.latent_dim, self.image_size)


class FairTL(OwnGeneratorSampler):
    """Adapts a biased GAN on the problem's reference set; its samples are random samples of the result.

    Which GAN, in this order: one that is trained here on the problem's own training images, where
    `pretraining_steps` says so (the set-up with the source data at hand); the problem's generator, where it
    has a discriminator; the folder `gan`, or, where the groups are of drawn shapes, the embedded `shapes-gan`
    (the set-up with nothing but the pre-trained GAN).

    Where the problem has a work folder, the adapted GAN is kept in it: `{name: shapes-gan, path: FOLDER/gan}`
    is a generator like any other.

    The generator of the last step is taken. The paper keeps that of the best fairness discrepancy as a judge
    tells it, which would choose it by what it is graded by.

    Args:
        steps: Of the adaptation.
        feedback: λ; see `Adaptation`.
        probing_steps: First steps, in which the discriminator's early stages are frozen.
        frozen_stages: How many stages those are.
        batch_size: Images a step.
        gan: Folder of a GAN of the kind of `shapes-gan`.
        pretraining_steps: Of the GAN that is trained here, in batches of 64 (the paper's are of 128); 0 takes
            one that is there.

    References:
        Teo, Abdollahzadeh and Cheung 2023, arXiv 2212.00926, "Fair Generative Models via Transfer Learning".
    """

    name = "fairtl"
    paper = "Teo et al. 2023"
    quick: ClassVar[Mapping[str, Any]] = {"steps": 4, "batch_size": 2}

    def __init__(
        self,
        *,
        steps: int = 2000,
        feedback: float = 1.0,
        probing_steps: int = 0,
        frozen_stages: int = 2,
        batch_size: int = 8,
        gan: str | None = None,
        pretraining_steps: int = 0,
    ) -> None:
        super().__init__()
        self.adaptation = Adaptation(
            steps, feedback, probing_steps, frozen_stages, GanSettings(batch_size=batch_size)
        )
        self.gan = gan
        self.pretraining_steps = pretraining_steps

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Adapt the GAN.

        Raises:
            InputError: The problem has no reference set, no training images where they are needed, or no GAN.
        """
        self._begin(problem)
        reference = reference_of(problem, self.name)
        self._meter.count(reference_images=len(reference))
        with self._meter.timed():
            random = torch_generator(rng)
            source = self._source(problem, random)
            images = to_pixels(reference.images, source.image_size).to(problem.device)
            network, discriminator = self._adapted(source, images, random)
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as it is loaded
            adapted = NetworkGenerator(network, source.latent_dim, source.image_size)
            self.own = OwnGenerator(source.name, adapted, before=source.as_generator())
        if problem.work is not None:
            save_gan(problem.work / "gan", network, discriminator)

    def _source(self, problem: Problem, random: torch.Generator) -> Gan:
        if self.pretraining_steps:
            return self._pretrained(problem, random)
        given = problem.generator
        network, discriminator = getattr(given, "network", None), getattr(given, "discriminator", None)
        if isinstance(network, nn.Module) and isinstance(discriminator, GanDiscriminator):
            name = problem.run.generator.name if problem.run else "the problem's"
            return Gan(name, network, discriminator, given.latent_dim, given.image_size)
        if self.gan is None and not set(problem.attributes) <= set(ATTRIBUTES):
            name = problem.run.generator.name if problem.run else type(given).__name__
            raise InputError(
                f"{self.name}: expected a generator with a discriminator to adapt, got {name!r}, which has "
                "none; give `gan`, a folder of one, or `pretraining_steps`, to train one on training images"
            )
        shipped = ShapesGAN(self.gan, device=problem.device)
        name = Path(self.gan).name if self.gan else NAME
        return Gan(name, shipped.network, shipped.discriminator)

    def _pretrained(self, problem: Problem, random: torch.Generator) -> Gan:
        source = training_of(problem, self.name)
        training = GanTraining(
            seeded(GanGenerator, random).to(problem.device),
            seeded(GanDiscriminator, random).to(problem.device),
            to_pixels(source.images, IMAGE_SIZE).to(problem.device),
            PRETRAINING,
            random,
            latent_dim=LATENT_DIM,
        )
        for _ in range(self.pretraining_steps):
            training.step()
        self._meter.count(**training.spent)
        discriminator = copy.deepcopy(training.discriminator)
        assert isinstance(discriminator, GanDiscriminator)
        return Gan("a GAN of the training images", training.averaged, discriminator)

    def _adapted(self, source: Gan, images: Tensor, random: torch.Generator) -> tuple[nn.Module, nn.Module]:
        adapted: nn.Module = copy.deepcopy(source.generator)
        judging: nn.Module = copy.deepcopy(source.discriminator)
        for training in adapt(
            source.generator,
            source.discriminator,
            images,
            self.adaptation,
            random,
            latent_dim=source.latent_dim,
        ):
            adapted, judging, spent = training.averaged, training.discriminator, training.spent
        if self.adaptation.steps:
            self._meter.count(**spent)
        return adapted, judging


class FairTLPlusPlus(FairTL):
    """fairTL that also listens to the frozen discriminator, with linear probing before fine-tuning.

    Args:
        steps: Of the adaptation, those of probing included.
        feedback: λ; the paper's code has 0.5 for its GAN of 64 pixels.
        probing_steps: First steps, in which the discriminator's early stages are frozen; a quarter of all is
            our choice.
        frozen_stages: How many stages those are.
        batch_size: Images a step.
        gan: Folder of a GAN of the kind of `shapes-gan`.
        pretraining_steps: Of the GAN that is trained here; 0 takes one that is there.

    References:
        Teo, Abdollahzadeh and Cheung 2023, arXiv 2212.00926, "Fair Generative Models via Transfer Learning".
    """

    name = "fairtl++"

    def __init__(
        self,
        *,
        steps: int = 2000,
        feedback: float = 0.5,
        probing_steps: int | None = None,
        frozen_stages: int = 2,
        batch_size: int = 8,
        gan: str | None = None,
        pretraining_steps: int = 0,
    ) -> None:
        super().__init__(
            steps=steps,
            feedback=feedback,
            probing_steps=steps // 4 if probing_steps is None else probing_steps,
            frozen_stages=frozen_stages,
            batch_size=batch_size,
            gan=gan,
            pretraining_steps=pretraining_steps,
        )
