"""Images as bytes, small enough to keep a whole training set in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

BATCH = 256


def to_pixels(images: Tensor, image_size: int | None = None) -> Tensor:
    """Images in [0, 1] as uint8, scaled to `image_size` by averaging areas.

    Args:
        images: `(n, channels, height, width)`, float in [0, 1] or uint8.
        image_size: Height and width of the result; None keeps those of the images.

    Returns:
        `(n, channels, image_size, image_size)`, uint8.
    """
    if image_size is None or images.shape[-2:] == (image_size, image_size):
        return images if images.dtype == torch.uint8 else _rounded(images)
    return _rounded(functional.interpolate(to_unit(images), size=image_size, mode="area"))


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1], from uint8 or float."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images.to(torch.float32)


def unit_batches(images: Tensor, batch_size: int = BATCH) -> Iterator[Tensor]:
    """Images as float32 in [0, 1], `(at most batch_size, channels, height, width)` at once."""
    for start in range(0, len(images), batch_size):
        yield to_unit(images[start : start + batch_size])


def _rounded(images: Tensor) -> Tensor:
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
