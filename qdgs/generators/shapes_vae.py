"""The embedded generator: a small VAE of colour-biased triangles and squares."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.weights import load_weights

LATENT_DIM = 6
IMAGE_SIZE = 128


class Encoder(nn.Module):
    """Images `(batch_size, 3, 128, 128)` → mean and log-variance, each `(batch_size, latent_dim)`."""

    def __init__(self, latent_dim: int = LATENT_DIM) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.mean = nn.Linear(8192, latent_dim)
        self.log_variance = nn.Linear(8192, latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior."""
        features = self.convolutions(images)
        return self.mean(features), self.log_variance(features)


class Decoder(nn.Module):
    """Latents `(batch_size, latent_dim)` → images `(batch_size, 3, 128, 128)` in [0, 1]."""

    def __init__(self, latent_dim: int = LATENT_DIM) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, 8192)
        self.convolutions = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
        )  # fmt: skip

    def logits(self, latents: Tensor) -> Tensor:
        """Images before the sigmoid."""
        logits: Tensor = self.convolutions(self.linear(latents).unflatten(1, (32, 16, 16)))
        return logits

    def forward(self, latents: Tensor) -> Tensor:
        """Images."""
        return self.logits(latents).sigmoid()


class ShapesVAE:
    """The decoder of the paper's VAE with its standard normal prior.

    Args:
        device: Where images are made.

    References:
        Chang et al. 2024, released code: the architecture of the shapes experiment. The weights are ours.
    """

    latent_dim = LATENT_DIM
    image_size = IMAGE_SIZE
    differentiable = True
    # mean of the chi distribution with six degrees of freedom
    prior_norm: float | None = 2.3499641

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        self.decoder = Decoder()
        self.decoder.load_state_dict(load_weights("shapes-vae"))
        self.decoder.eval().requires_grad_(False).to(device)

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Standard normal latents `(n, 6)`, float32, on the CPU."""
        return torch.from_numpy(rng.standard_normal((n, LATENT_DIM), dtype=np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        """Images `(n, 3, 128, 128)` of latents `(n, 6)`."""
        images: Tensor = self.decoder(latents)
        return images
