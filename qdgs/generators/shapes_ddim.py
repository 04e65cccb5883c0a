"""The embedded diffusion model: a small U-Net of colour-biased triangles and squares."""

from __future__ import annotations

import torch

from qdgs import weights
from qdgs.errors import MissingModelError
from qdgs.generators.diffusers import Diffusers
from qdgs.generators.diffusers_options import DiffusersOptions

NAME = "shapes-ddim"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def shapes_ddim(
    *,
    steps: int = 10,
    subspace: int | None = 64,
    seed: int = 0,
    output_size: int = 128,
    dtype: str = "float32",
    gradients: bool = True,
    memory: float | None = None,
    device: torch.device | str = "cpu",
) -> Diffusers:
    """The generator `shapes-ddim`: 32×32 triangles and squares, mostly red ones and blue ones.

    It is a `diffusers` pipeline like any other, read from a folder of this package.

    Args:
        steps: Of DDIM.
        subspace: Search so many random directions of the 3,072 of the noise; None searches all.
        seed: Of these directions.
        output_size: Pixels that images are resized to; judges of shapes measure outlines at 128.
        dtype: Precision of the network.
        gradients: Whether gradients are offered.
        memory: GiB that activations may take.
        device: Where images are made.

    Raises:
        ConfigError: An option does not hold.
        CorruptFileError: The weights are not those of their card.
        MissingModelError: They are not part of this installation.
    """
    folder = weights.FOLDER / NAME
    if not folder.exists():
        raise MissingModelError(
            f"{NAME}: its weights are not in this installation; train them with python "
            f"experiments/weights/shapes_ddim.py --out {folder}"
        )
    weights.check_weights(NAME, WEIGHTS)
    options = DiffusersOptions.of(
        model=str(folder),
        steps=steps,
        subspace=subspace,
        seed=seed,
        output_size=output_size,
        dtype=dtype,
        gradients=gradients,
        memory=memory,
    )
    return Diffusers(options, device=device)
