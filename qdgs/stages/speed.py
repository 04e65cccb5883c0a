"""Precision and compilation of generator and guide."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr

from qdgs.errors import ConfigError
from qdgs.layout import networks

SAME_RANKING = 0.999
"""Rank correlation from which on a guide in bfloat16 ranks images as in float32."""

PROBES = 256
"""Random latents whose rankings are compared."""


def compile_networks(thing: object, mode: str) -> None:
    """Compile a part's networks in place; the first calls take long."""
    for network in networks(thing):
        network.compile(mode=None if mode == "default" else mode)


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
