"""How images spread over groups, against the shares that they were to have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from qdgs.errors import InputError
from qdgs.fairness.intervals import LEVEL, RESAMPLES, Array, Estimate, percentile_interval, wilson_interval
from qdgs.registry import nearest


@dataclass(frozen=True)
class GroupShares:
    """Counts and shares by group over the images that the judge can read, and how far they are from target.

    The intervals are of two kinds: Wilson's for each group's share, and the percentile bootstrap over images
    for the numbers that need all groups at once. An interval speaks of the source of the images (the share
    in a further set of the same kind); the count of this set is exact but for the judge's own errors.

    Attributes:
        groups: Names.
        targets: Share that each group was to have.
        counts: Images read as each group; 0 for a group that no image is of.
        shares: Counts over their sum; NaN where no image could be read.
        low: Lower end of each share's interval.
        high: Upper end.
        unreadable: Images that the judge could not read.
        fairness_discrepancy: ‖p̂ − p‖₂.
        kl: KL(p̂‖p) in nats; infinite where a group of target 0 has images.
        normalized_entropy: H(p̂)/log K.
        smallest_group_share: Over the groups that have a target above 0.
        max_share_error: max |p̂ − p|/p over the groups that have a target above 0.
        unreadable_share: Over all images.
    """

    groups: tuple[str, ...]
    targets: tuple[float, ...]
    counts: tuple[int, ...]
    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    unreadable: int
    fairness_discrepancy: Estimate
    kl: Estimate
    normalized_entropy: Estimate
    smallest_group_share: Estimate
    max_share_error: Estimate
    unreadable_share: Estimate

    @property
    def images(self) -> int:
        """Images, readable or not."""
        return sum(self.counts) + self.unreadable


def share_numbers(shares: ArrayLike, targets: ArrayLike) -> dict[str, Array]:
    """Distances of group shares from their targets, for one set of shares or many.

    Groups of target 0 are left out of `max_share_error` and `smallest_group_share`: their relative error is
    undefined, and images that they hold are missing from the others, whose error shows it. The normalised
    entropy is over all K groups, and 1 for a single group.

    Args:
        shares: `(..., K)`, each row summing to 1 (or NaN).
        targets: `(K,)`, summing to 1.

    Returns:
        Name → `(...)`, under the names of `GroupShares`.
    """
    p_hat, p = np.asarray(shares, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    wanted = p > 0
    entropy: Array = -rel_entr(p_hat, 1.0).sum(axis=-1)
    groups = len(p)
    # an entropy of −0.0 or 1 + 1e-16 is rounding
    normalized = np.clip(entropy / math.log(groups), 0, 1) if groups > 1 else np.ones_like(entropy)
    return {
        "fairness_discrepancy": np.linalg.norm(p_hat - p, axis=-1),
        "kl": np.maximum(rel_entr(p_hat, p).sum(axis=-1), 0.0),
        "normalized_entropy": np.where(np.isnan(entropy), np.nan, normalized),
        "smallest_group_share": p_hat[..., wanted].min(axis=-1),
        "max_share_error": (np.abs(p_hat - p)[..., wanted] / p[wanted]).max(axis=-1),
    }


def normalize(counts: ArrayLike) -> Array:
    """Shares `(..., K)` of counts `(..., K)`; NaN where a row has none."""
    rows = np.asarray(counts, dtype=np.float64)
    totals = rows.sum(axis=-1, keepdims=True)
    shares: Array = np.divide(rows, totals, out=np.full_like(rows, np.nan), where=totals > 0)
    return shares


def check_targets(targets: Mapping[str, float]) -> None:
    """Refuse target shares that are not shares.

    Raises:
        InputError: No group, a negative or non-finite share, or shares that do not sum to 1.
    """
    if not targets:
        raise InputError("target: expected the share of at least one group, got none")
    for name, share in targets.items():
        if not (math.isfinite(share) and share >= 0):
            raise InputError(f"target.{name}: expected a share of at least 0, got {share}")
    if abs(sum(targets.values()) - 1) > 1e-6:
        raise InputError(f"target: expected shares that sum to 1, got {sum(targets.values()):g}")


def count_groups(groups: Sequence[str | None] | pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """Images of each group, absent groups as 0, and in the last place the images without a group.

    Args:
        groups: The group of each image, missing (None, NaN) where the judge could not tell.
        names: The K groups.

    Returns:
        `(K + 1,)`.

    Raises:
        InputError: A group that is not among the names.
    """
    codes = group_codes(groups, names)
    return np.bincount(np.where(codes < 0, len(names), codes), minlength=len(names) + 1).astype(np.int64)


def group_codes(groups: Sequence[str | None] | pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """The position of each image's group among the names, −1 where it is missing.

    Raises:
        InputError: A group that is not among the names.
    """
    values = pd.Series(groups, dtype=object).reset_index(drop=True)
    codes = pd.Index(list(names)).get_indexer(pd.Index(values, dtype=object)).astype(np.int64)
    unknown = values[(codes < 0) & values.notna().to_numpy()]
    if len(unknown):
        raise InputError(f"groups: unknown {str(unknown.iloc[0])!r}{nearest(str(unknown.iloc[0]), names)}")
    return codes


def group_shares(
    groups: Sequence[str | None] | pd.Series,
    targets: Mapping[str, float],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> GroupShares:
    """Shares of groups and their distances from target, with intervals.

    Args:
        groups: The group of each image, missing where the judge could not tell.
        targets: Group → share; every group that may occur, in the order to report.
        rng: Source of the resamples.
        resamples: Bootstrap resamples; resampling images is drawing their counts from a multinomial.
        level: Coverage of the intervals.

    Raises:
        InputError: An unknown group, or targets that are not shares.

    References:
        Choi et al. (2020), Fair generative modeling via weak supervision (fairness discrepancy).
    """
    check_targets(targets)
    names = tuple(targets)
    p = np.array([targets[name] for name in names])
    counts = count_groups(groups, names)
    numbers = _with_intervals(counts, p, rng, resamples, level)
    readable = int(counts[:-1].sum())
    low, high = wilson_interval(counts[:-1], readable, level)
    return GroupShares(
        groups=names,
        targets=tuple(p.tolist()),
        counts=tuple(counts[:-1].tolist()),
        shares=tuple(normalize(counts[:-1]).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        unreadable=int(counts[-1]),
        **numbers,
    )


def _with_intervals(
    counts: NDArray[np.int64], targets: Array, rng: np.random.Generator, resamples: int, level: float
) -> dict[str, Estimate]:
    drawn = resample_counts(counts, rng, resamples)
    values, draws = _numbers(counts, targets), _numbers(drawn, targets)
    return {name: percentile_interval(float(values[name]), draws[name], level) for name in values}


def _numbers(counts: NDArray[np.int64], targets: Array) -> dict[str, Array]:
    unreadable_share = normalize(counts)[..., -1]
    return share_numbers(normalize(counts[..., :-1]), targets) | {"unreadable_share": unreadable_share}


def resample_counts(counts: NDArray[np.int64], rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """Counts `(resamples, K)` of as many images drawn with replacement from those counted in `(K,)`."""
    n = int(counts.sum())
    if n == 0:
        return np.zeros((resamples, len(counts)), dtype=np.int64)
    return rng.multinomial(n, counts / n, size=resamples)
