"""Layout, precision and compilation of generator and guide."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from qdgs.errors import ConfigError

SAME_RANKING = 0.999
"""Rank correlation from which on a guide in bfloat16 ranks images as in float32."""

PROBES = 256
"""Random latents whose rankings are compared."""

TRIED = 16
"""Latents whose images are compared between layouts."""


def networks(thing: object) -> Iterator[nn.Module]:
    """The torch modules that a part is, or has among its attributes."""
    if isinstance(thing, nn.Module):
        yield thing
        return
    yield from (value for value in getattr(thing, "__dict__", {}).values() if isinstance(value, nn.Module))


def use_layout(thing: object, layout: torch.memory_format) -> None:
    """Lay the weights of a part's convolutions out otherwise, in place; values and names stay."""
    for network in networks(thing):
        for weight in network.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=layout)


def has_convolutions(thing: object) -> bool:
    """Whether the layout of images can make a difference to a part."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return any(isinstance(module, kinds) for network in networks(thing) for module in network.modules())


def takes_channels_last(generator: Callable[[Tensor], Tensor], latents: Tensor) -> bool:
    """Give a generator channels-last weights where its images stay bit for bit, and come sooner.

    Returns:
        Whether it has them now.
    """
    if not has_convolutions(generator):
        return False
    rows = latents[:TRIED]
    with torch.no_grad():
        before = generator(rows).contiguous()
        slow = _seconds(generator, rows)
        use_layout(generator, torch.channels_last)
        try:
            same = torch.equal(generator(rows).contiguous(), before)
        except RuntimeError:  # a module that wants its features one after another
            same = False
        if same and _seconds(generator, rows) < slow:
            return True
    use_layout(generator, torch.contiguous_format)
    return False


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


def _seconds(generator: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        generator(rows)
        taken.append(time.perf_counter() - begun)
    return min(taken)
