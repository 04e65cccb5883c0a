"""Generators that a user brings: an object made by Python code, or a TorchScript file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qdgs.errors import ConfigError, GeneratorError, QdgsError, is_out_of_memory
from qdgs.generators.base import Generator, images_of
from qdgs.scripted import Script
from qdgs.targets import Member, check_members, make_target, told_of, whole_number

MEMBERS: dict[str, Member] = {
    "latent_dim": ("an integer of at least 1", whole_number),
    "image_size": ("an integer of at least 1", whole_number),
    "differentiable": ("true or false", lambda value: isinstance(value, bool)),
    "prior_norm": (
        "a number, or None",
        lambda value: value is None or (isinstance(value, int | float) and not isinstance(value, bool)),
    ),
    "sample_latents": ("a method of n and rng", callable),
    "__call__": ("a method of latents", callable),
}
RANGES = ((0, 1), (-1, 1))
ALONE = 0.02
"""How far two images of one latent may be apart: more than rounding does on any device."""


def python_generator(target: str, *, device: torch.device | str = "cpu", **options: Any) -> Generator:
    """The generator that the user's code makes.

    Args:
        target: "package.module:factory".
        device: Handed on where the factory takes it.
        options: Handed on.

    Raises:
        ConfigError: The target cannot be imported, fails, or makes no generator.
    """
    generator: Generator = make_target(target, options, place="generator", given={"device": device})
    place = f"generator.target ({target})"
    check_generator(generator, place)
    check_latents(generator, place)
    check_rows(generator, place, device=device)
    return generator


def check_generator(generator: object, place: str) -> None:
    """See that an object is a generator.

    Raises:
        ConfigError: Names what it lacks.
    """
    check_members(generator, MEMBERS, kind="a generator", place=place)


def check_latents(generator: Generator, place: str) -> None:
    """See that a generator draws what it says.

    Raises:
        ConfigError: It draws no float32 tensor `(n, latent_dim)`.
    """
    try:
        latents: object = generator.sample_latents(2, np.random.default_rng(0))
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        if isinstance(error, QdgsError) or is_out_of_memory(error):
            raise
        raise ConfigError(f"{place}: sample_latents(2, rng) fails: {told_of(error)}") from error
    expected = (2, generator.latent_dim)
    got = f"a {type(latents).__name__}"
    if isinstance(latents, Tensor):
        if tuple(latents.shape) == expected and latents.dtype == torch.float32:
            return
        got = f"{latents.dtype} {tuple(latents.shape)}"
    raise ConfigError(f"{place}: expected sample_latents(2, rng) to give torch.float32 {expected}, got {got}")


def check_rows(generator: Generator, place: str, *, device: torch.device | str) -> None:
    """See that a generator makes images, and that of a latent whatever else is in its batch.

    Raises:
        ConfigError: It fails or makes something else; or a network of it is in training mode, or it draws
            noise at every call.
    """
    latents = generator.sample_latents(3, np.random.default_rng(0)).to(device)
    try:
        with torch.no_grad():
            one, other = (images_of(generator, latents[rows])[0] for rows in ([0, 1], [0, 2]))
    except GeneratorError as error:
        raise ConfigError(f"{place}: {str(error).removeprefix('generator: ')}") from error
    if (one - other).abs().max() > ALONE:
        raise ConfigError(
            f"{place}: expected a latent's image to depend on that latent alone, got two images of one; "
            "call .eval() on its networks, and keep the noise that it adds"
        )


class TorchScriptGenerator:
    """A TorchScript module from standard normal latents to images.

    Args:
        path: The file.
        latent_shape: Shape of one latent as the module takes it, such as 512 or [100, 1, 1]; a module that
            has the attribute `latent_dim` needs none.
        range: What its pixels lie in: [0, 1] or [-1, 1].
        device: Where it works.

    Raises:
        ConfigError: An option does not hold, or what it makes is no image.
        MissingModelError: There is no such file.
        CorruptFileError: The file is not TorchScript.
    """

    differentiable = True

    def __init__(
        self,
        path: str,
        *,
        latent_shape: int | Sequence[int] | None = None,
        range: Sequence[int] = (0, 1),
        device: torch.device | str = "cpu",
    ) -> None:
        self.script = Script(path, place="generator", device=device)
        if latent_shape is None:
            latent_shape = getattr(self.script.module, "latent_dim", None)
        shape = (latent_shape,) if isinstance(latent_shape, int) else latent_shape
        if not isinstance(shape, Sequence) or not shape or not all(whole_number(side) for side in shape):
            raise ConfigError(
                "generator.latent_shape: expected the shape of a latent, such as 512 or [100, 1, 1], got "
                f"{latent_shape!r}"
            )
        self.latent_shape = tuple(shape)
        self.latent_dim = math.prod(self.latent_shape)
        if not isinstance(range, Sequence) or tuple(range) not in RANGES:
            raise ConfigError(f"generator.range: expected [0, 1] or [-1, 1], got {range!r}")
        self.low = float(range[0])
        half = self.latent_dim / 2
        self.prior_norm: float | None = math.sqrt(2) * math.exp(math.lgamma(half + 0.5) - math.lgamma(half))
        self.image_size = self._size_of_images(device)
        check_rows(self, "generator.path", device=device)

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Standard normal latents `(n, latent_dim)`, float32, on the CPU."""
        return torch.from_numpy(rng.standard_normal((n, self.latent_dim), dtype=np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        """Images `(n, 3, image_size, image_size)` of latents `(n, latent_dim)`."""
        images: Tensor = self.script(latents.reshape(-1, *self.latent_shape))
        return (images - self.low) / (1 - self.low)

    def _size_of_images(self, device: torch.device | str) -> int:
        with torch.no_grad():
            images: object = self.script(torch.zeros(2, *self.latent_shape, device=device))
        if isinstance(images, Tensor) and images.shape[:2] == (2, 3) and images.ndim == 4:
            height, width = images.shape[2:]
            if height == width:
                return int(height)
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ConfigError(
            f"generator.path: expected a script that makes images (2, 3, height, height) of two latents, "
            f"got {got}"
        )
