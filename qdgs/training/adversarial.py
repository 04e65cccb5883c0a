"""Generator against discriminator: hinge losses, and the loop that pre-trains a GAN or adapts one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.errors import InputError
from qdgs.training.loop import Precision, in_bfloat16
from qdgs.training.pixels import to_unit


@dataclass(frozen=True)
class GanSettings:
    """Sizes and rates of adversarial training; the defaults are those of fairTL's BigGAN at 64 pixels.

    Attributes:
        batch_size: Images of a step of the discriminator, and samples of either.
        generator_rate: Adam's.
        discriminator_rate: Adam's.
        betas: Adam's.
        averaging: Of the generator's exponential moving average at most; it starts low and rises with the
            steps, since a short adaptation would hardly move an average of ten thousand steps (our choice).
        discriminator_steps: For each step of the generator.
        precision: Of the networks' arithmetic; weights, losses, optimizers and the average stay in float32.

    References:
        Teo, Abdollahzadeh and Cheung 2023, arXiv 2212.00926, experimental settings.
    """

    batch_size: int = 128
    generator_rate: float = 5e-4
    discriminator_rate: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.999)
    averaging: float = 0.9999
    discriminator_steps: int = 2
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("batch_size", "discriminator_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Feedback:
    """Whom a generator listens to: L_G = λ·L_G(D_t) + (1 − λ)·L_G(D_s).

    Attributes:
        source: D_s, frozen; without it D_t alone is heard.
        weight: λ, the share of the evolving discriminator D_t.

    References:
        Teo, Abdollahzadeh and Cheung 2023, arXiv 2212.00926, "multiple feedback".
    """

    source: nn.Module | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(f"feedback: expected a share from 0 to 1, got {self.weight}")
        if self.weight < 1 and self.source is None:
            raise InputError(
                f"feedback: expected a source discriminator for a share of {self.weight}, got none"
            )


class Anchor(Protocol):
    """A second loss of the generator, on real images, with parameters of its own."""

    def __call__(self, generator: nn.Module, images: Tensor, random: torch.Generator) -> Tensor:
        """A loss of images `(batch_size, 3, s, s)` in [0, 1]."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained with the generator."""

    def state_dict(self) -> dict[str, Any]:
        """As torch's modules have it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """As torch's modules have it."""


@dataclass(frozen=True)
class Losses:
    """Losses of one step.

    Attributes:
        generator: L_G.
        discriminator: L_D, of the last step of the discriminator.
    """

    generator: float
    discriminator: float


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """L_D = E[relu(1 − D(x))] + E[relu(1 + D(G(z)))] of logits `(batch_size,)`."""
    return functional.relu(1 - real.float()).mean() + functional.relu(1 + generated.float()).mean()


def generator_loss(generated: Tensor) -> Tensor:
    """L_G = −E[D(G(z))] of logits `(batch_size,)`."""
    return -generated.float().mean()


def mixed_loss(images: Tensor, discriminator: nn.Module, feedback: Feedback) -> Tensor:
    """L_G of generated images, of the evolving and the frozen discriminator (see `Feedback`)."""
    source, weight = feedback.source, feedback.weight
    evolving = generator_loss(discriminator(images)) if weight > 0 else images.new_zeros(())
    if source is None or weight == 1:
        return evolving
    return weight * evolving + (1 - weight) * generator_loss(source(images))


class GanTraining:
    """A GAN in training; each `step` is one step of the generator after some of the discriminator.

    Same seed, machine and thread count: same weights, bit for bit, also when `state_dict` of an interrupted
    training is loaded into a new one.

    Args:
        generator: G, trained in place.
        discriminator: D_t, trained in place.
        images: `(n, 3, s, s)`, float in [0, 1] or uint8; mirrored at random when drawn.
        settings: Sizes and rates.
        random: Draws images and latents, on the CPU.
        latent_dim: Length of a latent.
        feedback: Whom the generator listens to.
        anchor: What else the generator is trained for.

    Attributes:
        averaged: The moving average of G: what to sample from.
        steps: Steps so far.

    Raises:
        InputError: There are no images.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        images: Tensor,
        settings: GanSettings,
        random: torch.Generator,
        *,
        latent_dim: int,
        feedback: Feedback | None = None,
        anchor: Anchor | None = None,
    ) -> None:
        if len(images) == 0:
            raise InputError("images: expected at least one to train on, got none")
        for network in (generator, discriminator):
            network.train().requires_grad_(True)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.generator, self.discriminator = generator, discriminator
        self.averaged = copy.deepcopy(generator).eval().requires_grad_(False)
        self.images, self.settings, self.random = images, settings, random
        self.latent_dim, self.feedback = latent_dim, feedback or Feedback()
        self.anchor, self.steps = anchor, 0
        rates = settings.generator_rate, settings.discriminator_rate
        trained = [*generator.parameters(), *(anchor.parameters() if anchor else ())]
        self.optimizers = tuple(
            torch.optim.Adam(parameters, lr=rate, betas=settings.betas, fused=True)
            for parameters, rate in zip((trained, [*discriminator.parameters()]), rates, strict=True)
        )

    def step(self) -> Losses:
        """Train the discriminator, then the generator."""
        for _ in range(self.settings.discriminator_steps):
            discriminator = self._train_discriminator()
        generator = self._train_generator()
        self.steps += 1
        self._average()
        return Losses(generator, discriminator)

    @property
    def spent(self) -> dict[str, int]:
        """Images so far, by what was done with them: generated, put through a network, and so on."""
        size, discriminator_steps = self.settings.batch_size, self.settings.discriminator_steps
        heard = (self.feedback.weight > 0) + (self.feedback.weight < 1)
        images = self.steps * size
        return {
            "generator_calls": images * (discriminator_steps + 1),
            "trained_on": images * discriminator_steps,
            "forwards": images * (3 * discriminator_steps + 1 + heard),
            "backwards": images * (2 * discriminator_steps + 1 + heard),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later training needs to go on as if it were this one."""
        return {
            "networks": [network.state_dict() for network in self._networks],
            "anchor": self.anchor.state_dict() if self.anchor else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": self.random.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for network, tensors in zip(self._networks, state["networks"], strict=True):
            network.load_state_dict(tensors)
        if self.anchor:
            self.anchor.load_state_dict(state["anchor"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.random.set_state(state["random"])
        self.steps = state["steps"]

    @property
    def _networks(self) -> tuple[nn.Module, ...]:
        return self.generator, self.discriminator, self.averaged

    def _train_discriminator(self) -> float:
        optimizer = self.optimizers[1]
        with torch.no_grad(), self._rounded():
            generated = self.generator(self._latents())
        optimizer.zero_grad()
        with self._rounded():
            # one pass for both: a fifth of the step's time, and one step of the spectral norms' iteration
            real, made = self.discriminator(torch.cat([self._real(), generated])).chunk(2)
        loss = discriminator_loss(real, made)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    def _train_generator(self) -> float:
        optimizer = self.optimizers[0]
        trained = [parameter for parameter in self.discriminator.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        optimizer.zero_grad()
        with self._rounded():
            loss = mixed_loss(self.generator(self._latents()), self.discriminator, self.feedback)
            anchored = self.anchor(self.generator, self._real(), self.random) if self.anchor else 0.0
        (loss + anchored).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for parameter in trained:
            parameter.requires_grad_(True)
        return loss.item()

    def _rounded(self) -> torch.autocast:
        """One region a pass: within one region, weights rounded before an optimizer's step would stay."""
        device = self.images.device
        rounded = in_bfloat16(self.settings.precision, device)
        return torch.autocast(device.type, torch.bfloat16, enabled=rounded)

    def _average(self) -> None:
        share = min(self.settings.averaging, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            averages, values = self.averaged.state_dict(), self.generator.state_dict()
            for name, average in averages.items():
                if average.is_floating_point():
                    average.lerp_(values[name], 1 - share)
                else:
                    average.copy_(values[name])

    def _real(self) -> Tensor:
        size = self.settings.batch_size
        rows = torch.randint(len(self.images), (size,), generator=self.random)
        mirrored = torch.rand(size, 1, 1, 1, generator=self.random) < 0.5
        images = to_unit(self.images[rows.to(self.images.device)])
        chosen = torch.where(mirrored.to(images.device), images.flip(3), images)
        return chosen.contiguous(memory_format=torch.channels_last)

    def _latents(self) -> Tensor:
        latents = torch.randn(self.settings.batch_size, self.latent_dim, generator=self.random)
        return latents.to(self.images.device)
