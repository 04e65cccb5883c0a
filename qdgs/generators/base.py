"""What a generator is, and the names of the known ones."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from qdgs.errors import GeneratorError, QdgsError, is_out_of_memory
from qdgs.layout import is_compiled
from qdgs.memory import Portions
from qdgs.targets import told_of

GENERATORS: dict[str, Any] = {
    "dcgan-digiface": "qdgs.generators.dcgan:DCGANDigiFace",
    "diffusers": "qdgs.generators.diffusers:load_diffusers",
    "python": "qdgs.generators.own:python_generator",
    "shapes-ddim": "qdgs.generators.shapes_ddim:shapes_ddim",
    "shapes-gan": "qdgs.generators.shapes_gan:ShapesGAN",
    "shapes-vae": "qdgs.generators.shapes_vae:ShapesVAE",
    "stylegan2": "qdgs.generators.stylegan2:StyleGAN2",
    "torchscript": "qdgs.generators.own:TorchScriptGenerator",
}
"""Name → "module:attribute"; a user may add a class, a function or an object that is made already."""

THREAD_SAFE = ("dcgan-digiface", "shapes-gan", "shapes-vae")
"""Those that several threads may call at once: a pass changes nothing of theirs. Another one says so by an
attribute `thread_safe`."""

CONVERTERS: dict[str, str] = {"stylegan2": "qdgs.generators.stylegan2_convert:convert"}
"""Generators that other people's files can be converted for: a function of the file and the new folder."""

SOURCES: dict[str, str] = {"diffusers": "qdgs.generators.diffusers_files:source_of"}
"""Generators whose files may have to be fetched: a function of the options → its `Source`."""

MICRO_BATCH = 64


@runtime_checkable
class Generator(Protocol):
    """Latents `(batch_size, latent_dim)` → images `(batch_size, 3, height, width)` in [0, 1].

    Row i of the output depends on row i of the input alone. One that several threads may call at once says so
    by an attribute `thread_safe` of its class, which is true.

    Attributes:
        latent_dim: Length of a latent.
        image_size: Height and width of an image in pixels.
        differentiable: Whether gradients flow from images to latents.
        prior_norm: Mean norm of latents drawn from the prior, or None where the prior has no shell.
    """

    latent_dim: int
    image_size: int
    differentiable: bool
    prior_norm: float | None

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Draw latents `(n, latent_dim)` from the prior, float32, on the CPU."""
        ...

    def __call__(self, latents: Tensor) -> Tensor:
        """Images of the latents, on the device of the generator."""
        ...


def is_thread_safe(generator: Generator) -> bool:
    """Whether several threads may make images at once."""
    kind = f"{type(generator).__module__}:{type(generator).__qualname__}"
    safe = kind in [GENERATORS[name] for name in THREAD_SAFE] or getattr(generator, "thread_safe", False)
    return bool(safe) and not is_compiled(generator)


def images_of(generator: Generator, latents: Tensor) -> Tensor:
    """Images of latents `(n, latent_dim)`, looked at.

    Raises:
        GeneratorError: They are no images, or the code of a generator that a user brought fails.
    """
    try:
        images: object = generator(latents)
    except (Exception, SystemExit) as error:
        known = isinstance(error, QdgsError) or is_out_of_memory(error)
        if known or type(generator).__module__.startswith("qdgs."):
            raise
        raise GeneratorError(
            f"generator: {type(generator).__name__} fails on latents {tuple(latents.shape)}: {told_of(error)}"
        ) from error
    return check_images(images, len(latents), generator.image_size)


def check_images(images: object, batch_size: int, image_size: int) -> Tensor:
    """Return the images, or say what is wrong with them.

    Raises:
        GeneratorError: NaN, something other than a tensor `(batch_size, 3, image_size, image_size)`, or
            values outside [0, 1].
    """
    expected = (batch_size, 3, image_size, image_size)
    if not isinstance(images, Tensor) or tuple(images.shape) != expected:
        got = tuple(images.shape) if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise GeneratorError(
            f"generator: expected images (batch_size, 3, height, width) = {expected}, got {got}"
        )
    low, high = (float(end) for end in torch.aminmax(in_memory_order(images.detach())))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise GeneratorError("generator: expected finite pixel values, got NaN or infinity")
    if low < -1e-3 or high > 1 + 1e-3:
        raise GeneratorError(f"generator: expected pixel values in [0, 1], got [{low:.3g}, {high:.3g}]")
    return images if low >= 0 and high <= 1 else images.clamp(0, 1)


def in_memory_order(images: Tensor) -> Tensor:
    """The images as `(n, height, width, 3)` where channels lie last, which torch then passes over quickly."""
    return images.permute(0, 2, 3, 1) if images.is_contiguous(memory_format=torch.channels_last) else images


def generate(generator: Generator, latents: Tensor, micro_batch: int = MICRO_BATCH) -> Iterator[Tensor]:
    """Images of many latents, micro-batch by micro-batch, without gradients.

    Every micro-batch has the same size (the last one is padded and cut), so that an image does not depend
    on how many others are rendered with it.

    Args:
        generator: The generator.
        latents: `(n, latent_dim)`.
        micro_batch: Rows at once.

    Yields:
        Images `(at most micro_batch, 3, height, width)`, checked, in the order of the latents.
    """
    portions = Portions("generator")
    for batch, rows in padded_batches(latents, micro_batch):
        with torch.no_grad():
            (images,) = portions(lambda part: (images_of(generator, part),), batch)
        yield images[:rows]


def padded_batches(latents: Tensor, micro_batch: int) -> Iterator[tuple[Tensor, int]]:
    """Latents in micro-batches of one size, and how many of each are real: the last row is repeated."""
    for start in range(0, len(latents), micro_batch):
        rows = latents[start : start + micro_batch]
        padding = micro_batch - len(rows)
        yield torch.cat([rows, rows[-1:].expand(padding, -1)]) if padding else rows, len(rows)
