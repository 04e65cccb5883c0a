"""StyleGAN2, from a folder that `qdgs convert stylegan2` wrote."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.backends import cudnn

from qdgs.errors import ConfigError, CorruptFileError, GeneratorError
from qdgs.generators.stylegan2_files import read_folder
from qdgs.generators.stylegan2_networks import Architecture, Network
from qdgs.registry import nearest

SPACES = ("z", "w", "w+")
NOISES = ("constant", "none")


class StyleGAN2:
    """A StyleGAN2 that is searched in z, in W or in W+.

    - "z": the latent is z, standard normal.
    - "w": the latent is q = (w − w_avg) / w_std, element by element, for all layers; w = mapping(z).
    - "w+": one such q for each layer, after one another. Random samples have the same in all layers.

    Truncation ψ draws w' = w_avg + ψ·(w − w_avg): of z it is part of the image, in "w" and "w+" of the draw
    alone, for there a latent tells its w.

    Args:
        path: The folder.
        space: What a latent is.
        truncation: ψ, above 0 and up to 1.
        noise: "constant", the noise that the layers keep, or "none".
        device: Where images are made.

    Raises:
        ConfigError: An option does not hold.
        MissingModelError: The folder is not there.
        CorruptFileError: A file in it is damaged.

    References:
        Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN". Chang et al. 2024 search
        "w+", whitened.
    """

    differentiable = True

    def __init__(
        self,
        path: str,
        *,
        space: str = "w",
        truncation: float = 1.0,
        noise: str = "constant",
        device: torch.device | str = "cpu",
    ) -> None:
        if not isinstance(path, str | Path):
            raise ConfigError(f"generator.path: expected the name of a folder, got {path!r}")
        self.space = _one_of("space", space, SPACES)
        self.noise = _one_of("noise", noise, NOISES)
        if isinstance(truncation, bool) or not isinstance(truncation, int | float) or not 0 < truncation <= 1:
            raise ConfigError(
                f"generator.truncation: expected a number above 0 and up to 1, got {truncation!r}"
            )
        self.truncation = float(truncation)
        card, tensors = read_folder(Path(path))
        self.architecture = card.architecture
        self.network = _network(card.architecture, tensors, Path(path))
        self.network.synthesis.to(device)
        if space == "z":  # otherwise it serves the draw alone, which is on the CPU
            self.network.mapping.to(device)
        self.w_avg, self.w_std = self.network.mapping.w_avg.to(device), self.network.w_std.to(device)
        self.image_size = card.architecture.resolution
        self.latent_dim, self.prior_norm = self._prior(card.statistics.norm)

    def _prior(self, w_norm: float) -> tuple[int, float | None]:
        """Length of a latent, and mean norm of those drawn."""
        architecture = self.architecture
        if self.space == "z":
            half = architecture.z_dim / 2
            return architecture.z_dim, math.sqrt(2) * math.exp(math.lgamma(half + 0.5) - math.lgamma(half))
        layers = architecture.layers if self.space == "w+" else 1
        return architecture.w_dim * layers, self.truncation * w_norm * math.sqrt(layers)

    @property
    def called(self) -> tuple[torch.nn.Module, ...]:
        """The modules whose calls a compiler can take."""
        return self.network.mapping, self.network.synthesis

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        """Latents `(n, latent_dim)` of standard normal z, float32, on the CPU."""
        z = torch.from_numpy(rng.standard_normal((n, self.architecture.z_dim), dtype=np.float32))
        if self.space == "z":
            return z
        w: Tensor = self.network.mapping(z)
        q = self.truncation * (w - self.network.mapping.w_avg) / self.network.w_std
        return q.repeat(1, self.architecture.layers) if self.space == "w+" else q

    def __call__(self, latents: Tensor) -> Tensor:
        """Images `(n, 3, resolution, resolution)` of latents `(n, latent_dim)`.

        Raises:
            GeneratorError: The latents are of another space.
        """
        if latents.shape[1:] != (self.latent_dim,):
            raise GeneratorError(
                f"stylegan2: expected latents (batch_size, latent_dim) = (batch_size, {self.latent_dim}) of "
                f"{self.space!r}, got {tuple(latents.shape)}"
            )
        with _without_tf32():
            images: Tensor = self.network.synthesis(self.styles(latents), noise=self.noise == "constant")
        return ((images + 1) / 2).clamp(0, 1)

    def styles(self, latents: Tensor) -> Tensor:
        """The w of every layer `(n, layers, w_dim)`."""
        if self.space == "z":
            w = self.w_avg + self.truncation * (self.network.mapping(latents) - self.w_avg)[:, None]
        else:
            w = self.w_avg + self.w_std * latents.reshape(len(latents), -1, self.architecture.w_dim)
        styles: Tensor = w.expand(-1, self.architecture.layers, -1)
        return styles


@contextmanager
def _without_tf32() -> Iterator[None]:
    """On CUDA cuDNN keeps ten bits of a float32's mantissa unless it is told not to."""
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def _network(architecture: Architecture, tensors: dict[str, Tensor], folder: Path) -> Network:
    with torch.device("meta"):
        network = Network(architecture)
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError:
        raise CorruptFileError(
            f"{folder}: expected the tensors that its card describes, got others; convert the pickle again"
        ) from None
    return network.eval().requires_grad_(False)


def _one_of(option: str, value: object, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"generator.{option}: unknown {value!r}{nearest(str(value), known)}")
    return value
