"""How many images of each group a set lacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qdgs.config import DatasetConfig
from qdgs.datasets.groups import exact_counts
from qdgs.errors import InputError

TOP_UP = "top-up.json"
"""In the folder of a run that tops up a set: what that holds and lacks."""

ROUNDING = 1e-9


def missing_images(
    counts: Mapping[str, int], targets: Mapping[str, float], limit: int | None = None
) -> dict[str, int]:
    """The fewest images to add to each group so that all have their shares; nothing is taken away.

    A group of n images and target share p is at the level n/p. All are lifted to the highest level there is,
    L = max n/p: group g lacks ⌈p·L − n⌉ images. With a limit that is less than their sum, the lowest are
    lifted first, to the level at which the limit is spent: Σ max(0, p·L − n) = limit.

    Args:
        counts: Group → images that there are.
        targets: Group → share that it is to have, summing to 1; a group of share 0 lacks nothing.
        limit: At most so many images in all.

    Returns:
        Group → images to add, in the order of the targets.

    Raises:
        InputError: A group with images has no target, or there is no image.
    """
    unknown = [name for name in counts if name not in targets]
    if unknown:
        raise InputError(f"counts: expected groups among {', '.join(targets)}, got {unknown[0]!r}")
    wanted = [name for name, share in targets.items() if share > 0]
    n = np.array([counts.get(name, 0) for name in wanted], dtype=np.float64)
    p = np.array([targets[name] for name in wanted])
    if not n.any():
        raise InputError("counts: expected images in the groups that are wanted, got none")
    lacking = p * (n / p).max() - n
    whole = [math.ceil(value - ROUNDING * max(1.0, value)) for value in lacking]
    if limit is not None and limit < sum(whole):
        whole = _lifted(n, p, limit)
    found = dict(zip(wanted, whole, strict=True))
    return {name: found.get(name, 0) for name in targets}


def together(
    found: Mapping[str, Any], manifest: pd.DataFrame, dataset: DatasetConfig
) -> list[dict[str, Any]]:
    """Each group before and after a top-up.

    Args:
        found: What `TopUp.to_json` gives.
        manifest: What was made.
        dataset: Its groups.

    Returns:
        One mapping a group: `group, target, there, share, made, together`; `share` is that of the images
        there, `together` that of all.
    """
    made = _audited_counts(manifest, dataset)
    before = sum(gap["there"] for gap in found["gaps"])
    after = before + sum(made.values())
    return [
        {
            "group": gap["group"],
            "target": gap["target"],
            "there": gap["there"],
            "share": gap["there"] / before,
            "made": made.get(gap["group"], 0),
            "together": (gap["there"] + made.get(gap["group"], 0)) / after,
        }
        for gap in found["gaps"]
    ]


def _audited_counts(manifest: pd.DataFrame, dataset: DatasetConfig) -> dict[str, int]:
    """Images by the values of the audited measures alone."""
    kept = [place for place, group in enumerate(dataset.groups.values()) if group.audit is not None]
    names = manifest["group"].str.split("/").map(lambda values: "/".join(values[place] for place in kept))
    return {str(name): int(count) for name, count in names.value_counts().items()}


def _lifted(n: np.ndarray, p: np.ndarray, limit: int) -> list[int]:
    """Images to add where only so many may be added, the lowest level first."""
    if limit == 0:
        return [0] * len(n)
    order = np.argsort(n / p, kind="stable")
    # With the k lowest groups lifted, the level is (limit + their images) / their share.
    levels = (limit + np.cumsum(n[order])) / np.cumsum(p[order])
    following = np.append((n / p)[order][1:], np.inf)
    level = levels[np.flatnonzero(levels <= following)[0]]
    raw = np.maximum(p * level - n, 0.0)
    return list(exact_counts({str(place): value for place, value in enumerate(raw)}, limit).values())
