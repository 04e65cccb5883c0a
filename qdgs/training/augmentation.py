"""Augmentation of a whole batch at once."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turn each image about its middle, with white where it shows what lies outside.

    Bilinear. `grid_sample` pads with zeros, so it is the negative 1 − x that is sampled: zero there is white.

    Args:
        images: `(batch_size, channels, s, s)` in [0, 1].
        angles: `(batch_size,)` in radians, counter-clockwise.
    """
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    negative = functional.grid_sample(1 - images, grid, padding_mode="zeros", align_corners=False)
    return 1 - negative


def rotate_randomly(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn each image by its own angle, uniform over the circle.

    Training images so turned have white corners, as test images have; the published study filled them with
    black, which no test image has.

    Args:
        images: `(batch_size, channels, s, s)` in [0, 1].
        generator: Draws the angles, on its own device.
    """
    turns = torch.rand(len(images), generator=generator, device=generator.device)
    return rotate(images, (2 * math.pi * turns).to(images.device))


def flip_randomly(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, left to right.

    Args:
        images: `(batch_size, channels, s, s)`.
        generator: Draws which, on its own device.
    """
    mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def rotate_hues(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn the colours of each image about the grey axis by its own angle, uniform over the circle.

    Greys, white paper among them, stay as they are; values that leave [0, 1] are clipped.

    Args:
        images: `(batch_size, 3, s, s)` in [0, 1].
        generator: Draws the angles, on its own device.
    """
    turns = torch.rand(len(images), generator=generator, device=generator.device)
    angles = (2 * math.pi * turns).to(images.device)
    matrices = _hue_rotations(angles)
    return torch.einsum("nij,njhw->nihw", matrices, images).clamp(0, 1)


def without_color(images: Tensor, generator: torch.Generator) -> Tensor:
    """The mean of the three channels in all of them; nothing is drawn.

    Args:
        images: `(batch_size, 3, s, s)` in [0, 1].
        generator: Not used.
    """
    return images.mean(dim=1, keepdim=True).expand_as(images)


def _hue_rotations(angles: Tensor) -> Tensor:
    """Rotations `(n, 3, 3)` about (1, 1, 1)/√3: cos·I + sin·[u]ₓ + (1 − cos)·uuᵀ (Rodrigues)."""
    unit = 3**-0.5
    cross = torch.tensor([[0.0, -unit, unit], [unit, 0.0, -unit], [-unit, unit, 0.0]]).to(angles)
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return cos * torch.eye(3).to(angles) + sin * cross + (1 - cos) / 3
