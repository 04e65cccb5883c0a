"""Identities of a generator: latents, several images of each, and the folder that they are kept in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from qdgs.errors import InputError
from qdgs.generators.base import Generator, generate
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.images import write_index

CENTRE_SAMPLES = 4096
"""Random latents that the prior's mean is taken from."""


def variations(
    generator: Generator, latents: Tensor, images: int, offset: float, rng: np.random.Generator
) -> Tensor:
    """Latents of several images of each latent, `(n · images, latent_dim)`, those of one together.

    Each is c + √(1 − offset²)·(z − c) + offset·(ε − c), ε another random latent and c the prior's mean: for a
    Gaussian prior that is the prior's own distribution again, on the same shell, and the correlation of two
    images of an identity is 1 − offset².

    Args:
        generator: Whose latents they are.
        latents: `(n, latent_dim)`.
        images: Images of each.
        offset: From 0, the same, to 1, unrelated.
        rng: Draws ε.
    """
    centre = generator.sample_latents(CENTRE_SAMPLES, rng).mean(dim=0)
    others = generator.sample_latents(len(latents) * images, rng) - centre
    own = (latents.cpu() - centre).repeat_interleave(images, dim=0)
    moved: Tensor = centre + (1 - offset**2) ** 0.5 * own + offset * others
    return moved


def rendered(
    generator: Generator,
    latents: Tensor,
    *,
    crop: int | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Pixels:
    """Images `(n, s, s, 3)` of latents in bytes, or of their middle.

    Raises:
        InputError: The crop is larger than the images.
    """
    size = generator.image_size
    if crop is not None and crop > size:
        raise InputError(f"crop: expected at most {size}, the side of the generator's images, got {crop}")
    start = (size - (crop or size)) // 2
    middle = slice(start, start + (crop or size))
    parts = []
    for images in generate(generator, latents.to(device)):
        bytes_ = (images[:, :, middle, middle] * 255).round().to(torch.uint8)
        parts.append(bytes_.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        if progress is not None:
            progress(sum(len(part) for part in parts))
    return np.concatenate(parts)


def write_identities(
    folder: Path, pixels: Pixels, identities: NDArray[np.int64], groups: Sequence[str] | None = None
) -> None:
    """Write a folder an identity, and `index.csv` with file, identity and group; whole or not at all.

    Args:
        folder: A new one.
        pixels: `(n, height, width, 3)`.
        identities: Number of each image's identity.
        groups: Group of each image, where they are known.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    width = max(4, len(str(identities.max(initial=0))))
    names = [f"{number:0{width}d}" for number in identities]
    counts: dict[str, int] = {}
    files = []
    for name, image in zip(names, pixels, strict=True):
        counts[name] = counts.get(name, -1) + 1
        files.append(f"{name}/{name}_{counts[name]:04d}.png")
        path = temporary / files[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    rows: dict[str, Sequence[object]] = {"file": files, "identity": names}
    write_index(temporary, rows if groups is None else {**rows, "group": groups})
    temporary.replace(folder)
