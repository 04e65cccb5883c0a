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
