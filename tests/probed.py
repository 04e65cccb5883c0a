"""Models that are probed: of the stand-in generator's patches, red or blue and tall or wide."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def blueness(images: Tensor) -> Tensor:
    ink = 1 - images[:, 1]
    return ((images[:, 2] - images[:, 0]) * ink).sum(dim=[1, 2]) / ink.sum(dim=[1, 2]).clamp_min(1e-6)


def width(images: Tensor) -> Tensor:
    ink = 1 - images[:, 1]
    return ink.amax(dim=1).sum(dim=1) - ink.amax(dim=2).sum(dim=1)


class ByShape(nn.Module):
    """What it should do: one logit, positive for wide."""

    def forward(self, images: Tensor) -> Tensor:
        return 10 * width(images)


class ByColor(nn.Module):
    """It takes blue for wide, as `reliance` says; two logits."""

    def __init__(self, reliance: float = 1.0) -> None:
        super().__init__()
        self.reliance = reliance

    def forward(self, images: Tensor) -> Tensor:
        logit = self.reliance * 8 * blueness(images) + (1 - self.reliance) * 2 * width(images)
        return torch.stack([-logit / 2, logit / 2], dim=1)


class Constant(nn.Module):
    """It says wide of everything."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 1), 2.0)


class Seven(nn.Module):
    """Of seven classes."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=[1, 2, 3])[:, None].expand(-1, 7)


class Picky:
    """It raises at blue images, and gives no number at the widest."""

    values = ("wide", "tall")

    def __init__(self, limit: float = 0.5) -> None:
        self.limit = limit

    def __call__(self, images: Tensor) -> Tensor:
        if (blueness(images) > self.limit).any():
            raise ValueError("blue is not supported")
        logits = torch.stack([width(images), -width(images)], dim=1)
        return torch.where((width(images) > 12)[:, None], torch.nan, logits)


class Detector:
    """It finds red patches alone, as lists of boxes."""

    def __call__(self, images: Tensor) -> Sequence[list[int]]:
        return [[0, 0, 8, 8] if red else [] for red in (blueness(images) < 0).tolist()]


class Finder:
    """It finds something in every image; scores as an array of numpy."""

    def __call__(self, images: Tensor) -> np.ndarray:
        return np.ones(len(images))


class Reddener(nn.Module):
    """From images to images: the blue comes back red where it is `strong`, at twice the size."""

    def __init__(self, strong: float = 1.0) -> None:
        super().__init__()
        self.strong = strong

    def forward(self, images: Tensor) -> Tensor:
        red, green, blue = images.unbind(dim=1)
        mixed = torch.lerp(blue, torch.minimum(red, blue) + (green - green.amin()) * 0, self.strong)
        restored = torch.stack([torch.lerp(red, torch.maximum(red, blue), self.strong), green, mixed], dim=1)
        return torch.nn.functional.interpolate(restored, scale_factor=2.0)
