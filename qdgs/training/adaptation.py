"""A pre-trained GAN adapted on a small balanced reference set: fairTL and fairTL++."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qdgs.errors import InputError
from qdgs.generators.shapes_gan import GanDiscriminator
from qdgs.training.adversarial import Feedback, GanSettings, GanTraining


@dataclass(frozen=True)
class Adaptation:
    """How a GAN is adapted; the defaults are fairTL's.

    | | feedback | probing_steps |
    |---|---|---|
    | fairTL | 1 | 0 |
    | fairTL++ | 0.5 to 0.8 | > 0 |

    Attributes:
        steps: Steps of the generator in all, those of probing included.
        feedback: λ, how much of the generator's feedback is the evolving discriminator's; the rest is that of
            a frozen copy of the source discriminator.
        probing_steps: First steps in which the discriminator's early stages are frozen ("linear probing");
            all of it is trained afterwards.
        frozen_stages: How many stages those are, from the highest resolution on; which ones the paper
            freezes in a discriminator of four is not known, half of them is our choice.
        training: Sizes and rates.

    References:
        Teo, Abdollahzadeh and Cheung 2023, arXiv 2212.00926, "Fair Generative Models via Transfer Learning";
        λ 0.5 in its code for BigGAN, 0.6 for StyleGAN2, 0.8 for ProGAN.
    """

    steps: int = 2000
    feedback: float = 1.0
    probing_steps: int = 0
    frozen_stages: int = 2
    training: GanSettings = field(default_factory=lambda: GanSettings(batch_size=8))

    def __post_init__(self) -> None:
        if not 0 <= self.feedback <= 1:
            raise InputError(f"feedback: expected a share from 0 to 1, got {self.feedback}")
        if not 0 <= self.probing_steps <= self.steps:
            raise InputError(f"probing_steps: expected 0 to {self.steps} (steps), got {self.probing_steps}")


def adapt(
    generator: nn.Module,
    discriminator: GanDiscriminator,
    reference: Tensor,
    adaptation: Adaptation,
    random: torch.Generator,
    *,
    latent_dim: int,
) -> Iterator[GanTraining]:
    """Train copies of a GAN on a reference set; the two networks given stay as they are.

    Args:
        generator: Of the biased GAN.
        discriminator: Of the biased GAN.
        reference: Images `(n, 3, s, s)`, uint8 or float in [0, 1], balanced.
        adaptation: Steps, λ and what is frozen when.
        random: Draws images and latents, on the CPU.
        latent_dim: Length of a latent.

    Yields:
        The training after each step; `averaged` is the adapted generator so far.

    Raises:
        InputError: The discriminator has fewer stages than are to be frozen.
    """
    training = GanTraining(
        copy.deepcopy(generator),
        copy.deepcopy(discriminator),
        reference,
        adaptation.training,
        random,
        latent_dim=latent_dim,
        feedback=_feedback(discriminator, adaptation.feedback),
    )
    early = _early_stages(training.discriminator, adaptation)
    for step in range(adaptation.steps):
        _train_stages(early, train=step >= adaptation.probing_steps)
        training.step()
        yield training


def _feedback(discriminator: GanDiscriminator, weight: float) -> Feedback:
    if weight == 1:
        return Feedback()
    return Feedback(copy.deepcopy(discriminator).eval().requires_grad_(False), weight)


def _early_stages(discriminator: nn.Module, adaptation: Adaptation) -> list[nn.Module]:
    stages = list(getattr(discriminator, "stages", ()))
    if adaptation.probing_steps and adaptation.frozen_stages > len(stages):
        raise InputError(f"frozen_stages: expected at most {len(stages)}, got {adaptation.frozen_stages}")
    return stages[: adaptation.frozen_stages]


def _train_stages(stages: list[nn.Module], *, train: bool) -> None:
    for stage in stages:  # in evaluation mode the spectral norm stays as it is, too
        stage.train(train).requires_grad_(train)
