"""Parts of a dataset for training and testing, each with every group in its share."""

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from qdgs.datasets.groups import exact_counts
from qdgs.errors import InputError

WHOLE: Mapping[str, float] = {"train": 1.0}
FORM = "NAME=SHARE,NAME=SHARE, as in train=0.8,test=0.2"


def parse_splits(text: str) -> dict[str, float]:
    """Splits and their shares from `train=0.8,validation=0.1,test=0.1`.

    Raises:
        InputError: It has another form, a name is given twice or is no plain word, or the shares do not sum
            to 1.
    """
    parts = [part.strip().partition("=") for part in text.split(",")]
    names = [name.strip() for name, _, _ in parts]
    if any(not re.fullmatch(r"[A-Za-z0-9_]+", name) for name in names) or len(set(names)) < len(names):
        raise InputError(f"splits: expected distinct plain names in {FORM}, got {text!r}")
    try:
        shares = {name: float(share) for name, (_, _, share) in zip(names, parts, strict=True)}
    except ValueError:
        raise InputError(f"splits: expected {FORM}, got {text!r}") from None
    if not all(math.isfinite(share) and share > 0 for share in shares.values()):
        raise InputError(f"splits: expected shares above 0, got {text!r}")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise InputError(f"splits: expected shares that sum to 1, got {sum(shares.values()):g}")
    return shares


def assign_splits(rows: pd.DataFrame, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """The split of each image, stratified by group.

    Within a group the numbers of images are exact to one. Images of one identity stay together, since a
    test set must not show what was trained on; then it is the identities that are counted.

    Args:
        rows: One row an image, with its `group`, and its `identity` where it has one.
        shares: Split → share.
        rng: Source of the order.
    """
    splits = np.empty(len(rows), dtype=object)
    unit = "identity" if "identity" in rows else None
    for _, places in sorted(rows.reset_index(drop=True).groupby("group").indices.items()):
        units = rows[unit].to_numpy()[places] if unit else places
        known = np.unique(units)
        counts = exact_counts(shares, len(known))
        names = np.repeat(list(counts), list(counts.values()))
        by_unit = dict(zip(rng.permutation(known), names, strict=True))
        splits[places] = [by_unit[one] for one in units]
    return [str(name) for name in splits]
