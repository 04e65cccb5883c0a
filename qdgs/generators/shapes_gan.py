"""A small GAN of colour-biased triangles and squares, with its discriminator, at 64 pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from qdgs import weights
from qdgs.errors import CorruptFileError, MissingModelError

LATENT_DIM = 32
IMAGE_SIZE = 64
CHANNELS = (128, 64, 32, 16)
NAME = "shapes-gan"


class GanGenerator(nn.Module):
    """Latents `(batch_size, latent_dim)` → images `(batch_size, 3, 64, 64)` in [0, 1].

    A linear layer makes 4×4, transposed convolutions double the size; each feature vector is scaled to unit
    mean square, so that a row depends on its own latent alone, in training too: small reference sets are
    adapted to in batches of eight, whose statistics would say little. What is made is ink, 1 − image.

    Args:
        latent_dim: Length of a latent.
        channels: Channels at 4×4, 8×8, …; their number sets the image's size.

    References:
        Karras et al. 2018, "Progressive Growing of GANs", section 4.2 (the normalisation).
    """

    def __init__(self, latent_dim: int = LATENT_DIM, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.channels = channels[0]
        self.linear = nn.Linear(latent_dim, 16 * channels[0])
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
            for inputs, outputs in itertools.pairwise((*channels, 3))
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Images."""
        features = self.linear(latents).unflatten(1, (self.channels, 4, 4))
        for doubling in self.doublings:
            features = doubling(functional.leaky_relu(_unit_mean_square(features), 0.2))
        images: Tensor = 1 - features.float().sigmoid()  # in bfloat16 the lightest ink would be none
        return images


class GanDiscriminator(nn.Module):
    """Images `(batch_size, 3, 64, 64)` → logits `(batch_size,)`, large for what looks real.

    Strided convolutions down to 4×4 and a linear layer, all with spectral normalisation. Sees 1 − image.

    Args:
        channels: Channels at 32×32, 16×16, ….

    Attributes:
        stages: The convolutions, the highest resolution first.

    References:
        Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks".
    """

    def __init__(self, channels: Sequence[int] = CHANNELS[::-1]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
            for inputs, outputs in itertools.pairwise((3, *channels))
        )
        self.head = spectral_norm(nn.Linear(16 * channels[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        features = 1 - images
        for stage in self.stages:
            features = functional.leaky_relu(stage(features), 0.2)
        logits: Tensor = self.head(features.flatten(1))
        return logits.squeeze(1)


class NetworkGenerator:
    """Any network from standard normal latents to images, as a generator of ours.

    Args:
        network: Latents `(batch_size, latent_dim)` → images `(batch_size, 3, s, s)` in [0, 1], row by row;
            kept in evaluation mode, its weights fixed.
        latent_dim: Length of a latent.
        image_size: s.
    """

    differentiable = True

    def __init__(self, network: nn.Module, latent_dim: int, image_size: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.latent_dim, self.image_size = latent_dim, image_size
        # mean of the chi distribution
        self.prior_norm: float | None = math.sqrt(2) * math.exp(
            math.lgamma((latent_dim + 1) / 2) - math.lgamma(latent_dim / 2)
        )

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Standard normal latents `(n, latent_dim)`, float32, on the CPU."""
        return torch.from_numpy(rng.standard_normal((n, self.latent_dim), dtype=np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        """Images `(n, 3, s, s)` of latents `(n, latent_dim)`."""
        images: Tensor = self.network(latents)
        return images


class ShapesGAN(NetworkGenerator):
    """The embedded GAN, or one of its kind in a folder, for instance one that was adapted.

    Args:
        path: Folder with `model.safetensors` and its card, as `save_gan` writes it; without it the embedded
            weights.
        device: Where images are made.

    Attributes:
        discriminator: What it was trained against, its weights fixed.

    Raises:
        MissingModelError: There is no such folder.
        CorruptFileError: It holds something else.
    """

    def __init__(self, path: str | None = None, *, device: torch.device | str = "cpu") -> None:
        generator, self.discriminator = load_gan(Path(path) if path else weights.FOLDER / NAME)
        super().__init__(generator.to(device), LATENT_DIM, IMAGE_SIZE)
        self.discriminator.eval().requires_grad_(False).to(device)


def load_gan(folder: Path) -> tuple[GanGenerator, GanDiscriminator]:
    """Generator and discriminator of a folder, on the CPU.

    Raises:
        MissingModelError: There is no such folder.
        CorruptFileError: It holds something else.
    """
    if not (folder / "card.json").is_file():
        raise MissingModelError(
            f"{folder}: expected a trained GAN, got none; "
            f"train one with python experiments/weights/shapes_gan.py --out {folder}"
        )
    remedy = "install qdgs again" if folder.parent == weights.FOLDER else "train it again"
    tensors = weights.read_weights(folder, remedy)
    generator, discriminator = GanGenerator(), GanDiscriminator()
    try:
        generator.load_state_dict(_part(tensors, "generator."))
        discriminator.load_state_dict(_part(tensors, "discriminator."))
    except RuntimeError:
        raise CorruptFileError(
            f"{folder}: expected the tensors of {NAME}, got those of another model"
        ) from None
    return generator, discriminator


def save_gan(folder: Path, generator: nn.Module, discriminator: nn.Module, **facts: Any) -> None:
    """Write both networks so that `load_gan` reads them, with a card that holds the facts."""
    weights.write_weights(folder, gan_tensors(generator, discriminator), **facts)


def gan_tensors(generator: nn.Module, discriminator: nn.Module) -> dict[str, Tensor]:
    """Both networks' tensors in one table, as `load_gan` reads them."""
    named: Iterable[tuple[str, nn.Module]] = (("generator", generator), ("discriminator", discriminator))
    return {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in named
        for key, value in network.state_dict().items()
    }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _unit_mean_square(features: Tensor) -> Tensor:
    return features * (features.square().mean(1, keepdim=True) + 1e-8).rsqrt()
