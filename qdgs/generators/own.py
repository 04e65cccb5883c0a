"""Generators that a user brings: an object made by Python code, or a TorchScript file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qdgs.errors import ConfigError
from qdgs.generators.base import Generator
from qdgs.scripted import Script
from qdgs.targets import Member, check_members, make_target, whole_number

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
    check_generator(generator, f"generator.target ({target})")
    check_latents(generator, f"generator.target ({target})")
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
    latents: object = generator.sample_latents(2, np.random.default_rng(0))
    expected = (2, generator.latent_dim)
    got = f"a {type(latents).__name__}"
    if isinstance(latents, Tensor):
        if tuple(latents.shape) == expected and latents.dtype == torch.float32:
            return
        got = f"{latents.dtype} {tuple(latents.shape)}"
    raise ConfigError(f"{place}: expected sample_latents(2, rng) to give torch.float32 {expected}, got {got}")


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
