"""A generator fitted with the autophagy penalty, and random samples of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.generators.shapes_gan import NetworkGenerator
from qdgs.samplers.base import OwnGenerator, Problem
from qdgs.samplers.own import OwnGeneratorSampler, torch_generator, training_of
from qdgs.training.generative import VariationalAutoencoder, image_autoencoder
from qdgs.training.hypernetwork import Fitting, SetHypernetwork, fit_directly, fit_hypernetwork
from qdgs.training.initial import seeded
from qdgs.training.pixels import to_pixels, to_unit

LATENT_DIM = 8
PLAIN_RATE = 1e-3


class InkDecoder(nn.Module):
    """A decoder of ink, 1 − image, as a network from latents to images.

    Args:
        model: Was fitted to ink; its weights are copied.
    """

    def __init__(self, model: VariationalAutoencoder) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(model.decoder)

    def forward(self, latents: Tensor) -> Tensor:
        """Images of latents."""
        images: Tensor = 1 - self.decoder(latents)
        return images


class Autophagy(OwnGeneratorSampler):
    """Fits an autoencoder to the problem's training images by a hypernetwork with the autophagy penalty.

    The labels of the training images are not used, and no target either: the method promises to make
    minorities no rarer than they are among those images, not to balance them. Its generator before is the
    same autoencoder, fitted directly by plain likelihood with as many steps, which the cost leaves out.

    Sizes are ours, for two cores: convolutions, 8 latents and batches of 32, where the paper's autoencoder of
    digits has dense layers of 1,024, 32 latents and batches of 512.

    Args:
        steps: Of the hypernetwork.
        penalty: λ; the paper's is 1 for its autoencoder.
        batch_size: Images a step.
        hidden: Widths of the layers that see each image.
        latent_dim: Length of a latent.
        beta: Weight of the KL divergence.
        image_size: Pixels a side.
        learning_rate: Adam's at first, of the hypernetwork. Five times as much, which is right for the
            autoencoder by itself, moves all of its weights at once so far that it paints nothing ever after.

    References:
        Mayer et al. 2024, arXiv 2405.13977, "Improving Fairness and Mitigating MADness in Generative Models".
    """

    paper = "Mayer et al. 2024"
    quick: ClassVar[Mapping[str, Any]] = {"steps": 2, "hidden": (4, 4)}

    def __init__(
        self,
        *,
        steps: int = 3000,
        penalty: float = 1.0,
        batch_size: int = 32,
        hidden: tuple[int, ...] = (32, 64, 96),
        latent_dim: int = LATENT_DIM,
        beta: float = 1.5,
        image_size: int = 64,
        learning_rate: float = 2e-4,
    ) -> None:
        super().__init__()
        self.fitting = Fitting(steps, batch_size, learning_rate, penalty)
        self.hidden = tuple(hidden)
        self.latent_dim, self.beta, self.image_size = latent_dim, beta, image_size

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Fit the autoencoder, and once more without hypernetwork and penalty.

        Raises:
            InputError: The problem has no training images.
        """
        self._begin(problem)
        training = training_of(problem, "autophagy")
        ink = 1 - to_unit(to_pixels(training.images, self.image_size)).to(problem.device)
        random = torch_generator(rng)
        model = seeded(self._model, random).to(problem.device)
        plain = copy.deepcopy(model)
        with self._meter.timed():
            self._fit_by_hypernetwork(model, ink, random)
        fit_directly(plain, ink, replace(self.fitting, learning_rate=PLAIN_RATE), random)
        self.own = OwnGenerator("shapes-autoencoder", self._generator_of(model), self._generator_of(plain))
        self.notes = (
            "the training images' labels are not used, and minorities are not made more than they are",
        )

    def _model(self) -> VariationalAutoencoder:
        return image_autoencoder(self.image_size, latent_dim=self.latent_dim, beta=self.beta)

    def _fit_by_hypernetwork(
        self, model: VariationalAutoencoder, ink: Tensor, random: torch.Generator
    ) -> None:
        hypernetwork = seeded(lambda: SetHypernetwork(model, ink[0].numel(), hidden=self.hidden), random)
        hypernetwork.to(self.problem.device)
        fit_hypernetwork(hypernetwork, model, ink, self.fitting, random)
        self._meter.count(**_spent(self.fitting, len(ink)))

    def _generator_of(self, model: VariationalAutoencoder) -> NetworkGenerator:
        return NetworkGenerator(InkDecoder(model), self.latent_dim, self.image_size)


def _spent(fitting: Fitting, data: int) -> dict[str, int]:
    images = fitting.steps * min(fitting.batch_size, data)
    passes = 5 if fitting.penalty else 4  # hypernetwork, encoder, decoder twice; hypernetwork on the samples
    return {
        "generator_calls": images,
        "trained_on": images,
        "forwards": passes * images + data,
        "backwards": passes * images,
    }
