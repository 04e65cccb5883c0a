"""From images to the unit embeddings that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch.nn import functional

from qdgs.errors import InputError
from qdgs.fairness.intervals import Array
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.backbones import IResNet
from qdgs.training.pixels import to_unit

TOGETHER = 128


def embed(
    backbone: IResNet,
    images: Iterable[Pixels],
    *,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Array:
    """Unit embeddings `(n, embedding_dim)`: of each image and its mirror image, added and normalised.

    Args:
        backbone: Turns images into embeddings; it is moved to the device, and into evaluation mode.
        images: Of the backbone's size, `(s, s, 3)`.
        device: Where it works.
        progress: Called with the number of images done.

    Raises:
        InputError: An embedding is not finite.
    """
    backbone.eval().to(device)
    parts: list[Array] = []
    for batch in _batches(images):
        pixels = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            unit = to_unit(pixels)
            both = backbone(unit) + backbone(unit.flip(3))
            unit_embeddings = functional.normalize(both.cpu().double())  # not every device has float64
            if not unit_embeddings.isfinite().all():
                raise InputError(
                    "recogniser: expected embeddings of finite numbers, got others; its training has failed: "
                    "train again with a lower training.learning_rate"
                )
            parts.append(unit_embeddings.numpy())
        if progress is not None:
            progress(sum(len(part) for part in parts))
    return np.concatenate(parts) if parts else np.zeros((0, backbone.config.embedding))


def _batches(images: Iterable[Pixels]) -> Iterator[Pixels]:
    rest = iter(images)
    while some := list(islice(rest, TOGETHER)):
        yield np.stack(some)
