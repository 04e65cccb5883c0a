"""Precision and compilation of generator and guide."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import torch._functorch.config as functorch
from scipy.stats import spearmanr

from qdgs.errors import ConfigError
from qdgs.layout import entered
from qdgs.training.loop import in_bfloat16

SAME_RANKING = 0.999
"""Rank correlation from which on a guide in bfloat16 ranks images as in float32."""


class SpeedWarning(UserWarning):
    """What is meant to be quick is not."""


PROBES = 256
"""Random latents whose rankings are compared."""


def compile_networks(thing: object, mode: str) -> None:
    """Compile a part's networks in place; the first calls take long."""
    functorch.donated_buffer = False  # a Jacobian goes back through one graph once for each output
    for network in entered(thing):
        network.compile(mode=None if mode == "default" else mode)


def check_bfloat16(device: torch.device) -> None:
    """Warn where a device has no instructions for bfloat16: it gets slower then."""
    if not in_bfloat16("auto", device):
        warnings.warn(
            "search.speed.precision: this device has no instructions for bfloat16; float32 is quicker here",
            SpeedWarning,
            stacklevel=2,
        )


def check_ranking(precise: Any, quick: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Rank correlations of objective and measures between two ways to score the same latents.

    Args:
        precise: `(n, 1 + measure_dim)`, in float32.
        quick: The same latents otherwise.
        names: Of the measures.

    Raises:
        ConfigError: One is below `SAME_RANKING`.
    """
    found = {
        name: float(spearmanr(np.asarray(one), np.asarray(other)).statistic)
        for name, one, other in zip(("objective", *names), precise.T, quick.T, strict=True)
    }
    name = min(found, key=lambda name: found[name])
    if not found[name] >= SAME_RANKING:
        raise ConfigError(
            f"search.speed.precision: expected the guide to rank images in bfloat16 as in float32 (rank "
            f"correlation {SAME_RANKING:g}), got {found[name]:.4f} for {name}; take float32"
        )
    return found
