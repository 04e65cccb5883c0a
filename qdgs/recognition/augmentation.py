"""What makes training faces worse, one at a time: low resolution, crop, light and colour, mirroring.

References:
    Kim, Jain and Liu, CVPR 2022, arXiv 2204.00964, section 4.1; the ranges are those of their released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from qdgs.recognition_config import AugmentationConfig

Pixels = NDArray[np.uint8]

SMALLEST_SIDE = 0.2
"""Smallest side that an image is scaled down to, in its own."""
SMALLEST_AREA = 0.2
WIDEST = 4 / 3
JITTER = 0.5
INTERPOLATIONS = (
    cv2.INTER_NEAREST,
    cv2.INTER_LINEAR,
    cv2.INTER_AREA,
    cv2.INTER_CUBIC,
    cv2.INTER_LANCZOS4,
)
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def augment(image: Pixels, config: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """An image `(height, width, 3)`, each change made with its own probability."""
    steps: tuple[tuple[float, Callable[[Pixels, np.random.Generator], Pixels]], ...] = (
        (config.flip, mirrored),
        (config.crop, cropped),
        (config.photometric, relit),
        (config.low_resolution, blurred),
    )
    for probability, change in steps:
        if rng.random() < probability:
            image = change(image, rng)
    return np.ascontiguousarray(image)


def mirrored(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Left and right changed."""
    return image[:, ::-1]


def cropped(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A part of a fifth of the area or more stays where it is; around it everything is black."""
    height, width = image.shape[:2]
    area = rng.uniform(SMALLEST_AREA, 1.0) * height * width
    ratio = math.exp(rng.uniform(-math.log(WIDEST), math.log(WIDEST)))
    rows = min(max(round(math.sqrt(area / ratio)), 1), height)
    columns = min(max(round(math.sqrt(area * ratio)), 1), width)
    top, left = (int(rng.integers(0, rest + 1)) for rest in (height - rows, width - columns))
    part = (slice(top, top + rows), slice(left, left + columns))
    result = np.zeros_like(image)
    result[part] = image[part]
    return result


def relit(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation times factors from 0.5 to 1.5, in random order."""
    values = image.astype(np.float32)
    for kind in rng.permutation(3):
        values = _blended(values, int(kind), np.float32(rng.uniform(1 - JITTER, 1 + JITTER)))
    return np.rint(values).astype(np.uint8)


def blurred(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Scaled down to a fifth of the side or more and up again, each way with an interpolation by chance."""
    height, width = image.shape[:2]
    share = rng.uniform(SMALLEST_SIDE, 1.0)
    down, up = (INTERPOLATIONS[place] for place in rng.integers(0, len(INTERPOLATIONS), 2))
    small = cv2.resize(
        image, (max(round(share * width), 1), max(round(share * height), 1)), interpolation=down
    )
    large: Pixels = cv2.resize(small, (width, height), interpolation=up)
    return large


def _blended(values: NDArray[np.float32], kind: int, factor: np.float32) -> NDArray[np.float32]:
    """The values mixed with black (0), their mean gray (1), or their own gray (2)."""
    gray = values @ LUMA
    other = (np.float32(0), gray.mean(), gray[..., None])[kind]
    mixed: NDArray[np.float32] = np.clip(factor * values + (1 - factor) * other, 0, 255)
    return mixed
