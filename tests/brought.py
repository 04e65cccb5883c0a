"""What a user might bring: modules for targets, and files of TorchScript."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn


class Stripes:
    """Latents are the colour of stripes and how many there are."""

    latent_dim = 4
    image_size = 32
    differentiable = True
    prior_norm = None

    def __init__(self, contrast: float = 1.0, device: str = "cpu") -> None:
        self.contrast = contrast
        self.columns = torch.linspace(0, 1, 32, device=device)

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((n, self.latent_dim)).astype(np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        waves = 0.5 + 0.5 * self.contrast * (self.columns * (6 + latents[:, 3:])).sin()
        return (latents[:, :3].sigmoid()[:, :, None, None] * waves[:, None, None]).expand(-1, -1, 32, -1)


class Warmth:
    """A guide: bright is good; it measures warmth and how much goes on."""

    measure_names = ("warmth", "detail")

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        red, _, blue = images.mean(dim=(2, 3)).unbind(dim=1)
        detail = images.std(dim=(1, 2, 3))
        return 100 * self.gain * images.mean(dim=(1, 2, 3)), torch.stack([red - blue, detail], dim=1)


class Thermometer:
    """A judge of warmth."""

    attributes: Mapping[str, tuple[str, ...]] = {"warmth": ("cold", "warm")}

    def __init__(self, cut: float = 0.0) -> None:
        self.cut = cut

    def judge(self, images: Tensor) -> pd.DataFrame:
        score = (images[:, 0] - images[:, 2]).mean(dim=(1, 2)).cpu().numpy().astype(float)
        return pd.DataFrame(
            {
                "warmth": np.where(score > self.cut, "warm", "cold"),
                "warmth_score": score,
                "accepted": np.ones(len(score), dtype=bool),
                "quality": images.mean(dim=(1, 2, 3)).cpu().numpy().astype(float),
            }
        )


class OtherThermometer(Thermometer):
    """Another."""


class Blind:
    """No judge: it tells no quality."""

    attributes: Mapping[str, tuple[str, ...]] = {"warmth": ("cold", "warm")}

    def judge(self, images: Tensor) -> pd.DataFrame:
        return pd.DataFrame({"warmth": ["cold"] * len(images), "accepted": [True] * len(images)})


class Half:
    """Half a generator."""

    latent_dim = 3
    image_size = 32.0
    differentiable = True


STRIPES = Stripes()


def failing(text: str = "no such thing") -> None:
    raise KeyError(text)


class Painter(nn.Module):
    """A generator for TorchScript: a linear layer, pixels in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6, 3 * 16 * 16, generator=generator))

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents.flatten(1) @ self.weight).view(-1, 3, 16, 16)


class Rater(nn.Module):
    """A guide for TorchScript."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = images.mean(dim=[2, 3])
        return means.sum(dim=1), torch.stack([means[:, 0] - means[:, 2], means[:, 1]], dim=1)


class Sorter(nn.Module):
    """A judge for TorchScript: logits of warmth, then of light."""

    def forward(self, images: Tensor) -> Tensor:
        red, green, blue = images.mean(dim=[2, 3]).unbind(dim=1)
        return torch.stack([blue, red, -green, 0 * green, green], dim=1)


def scripted(module: nn.Module, path: Path) -> Path:
    """The file that a user would have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path
