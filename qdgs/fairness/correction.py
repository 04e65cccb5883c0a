"""Group shares corrected for the judge's own errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qdgs.errors import InputError
from qdgs.fairness.intervals import LEVEL, RESAMPLES, Array, Estimate, percentile_interval
from qdgs.fairness.shares import GroupShares, group_codes, normalize, resample_counts, share_numbers

_MAX_ITERATIONS = 2000
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class CorrectedShares:
    """Group shares after the correction for the judge's errors; intervals hold both uncertainties.

    Attributes:
        groups: Names.
        shares: Corrected share of each group with its interval.
        fairness_discrepancy: As in `GroupShares`, of the corrected shares; so are the others.
        kl: In nats.
        normalized_entropy: H/log K.
        smallest_group_share: Over the groups that have a target above 0.
        max_share_error: Over the groups that have a target above 0.
        known: Images of known group that the judge's confusion was counted on.
    """

    groups: tuple[str, ...]
    shares: tuple[Estimate, ...]
    fairness_discrepancy: Estimate
    kl: Estimate
    normalized_entropy: Estimate
    smallest_group_share: Estimate
    max_share_error: Estimate
    known: int


def confusion_counts(
    known: Sequence[str | None] | pd.Series, read: Sequence[str | None] | pd.Series, names: Sequence[str]
) -> pd.DataFrame:
    """How often images of each known group (row) were read as each group (column).

    Images that either side could not read are left out: the correction concerns shares over readable images.

    Args:
        known: The true group of each image.
        read: The group that the judge gives it.
        names: The K groups.

    Raises:
        InputError: A group that is not among the names, or sequences of two lengths.
    """
    if len(known) != len(read):
        raise InputError(
            f"confusion: expected as many known as read groups, got {len(known)} and {len(read)}"
        )
    rows, columns = group_codes(known, names), group_codes(read, names)
    both = (rows >= 0) & (columns >= 0)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (rows[both], columns[both]), 1)
    return pd.DataFrame(counts, index=pd.Index(names, name="known"), columns=pd.Index(names, name="read"))


def correct_shares(read: ArrayLike, confusion: ArrayLike) -> Array:
    """The shares of true groups that make the counts of read groups most likely.

    With B the rate at which group i is read as j, reading turns shares p into pB; p maximises
    Σ_j n_j log (pB)_j over the simplex, by expectation maximisation: p_i ← p_i Σ_j B_ij n_j/(pB)_j / n.
    Where the inverse n B⁻¹ / n lies in the simplex, it is the answer.

    Args:
        read: Counts or shares of groups as read, `(..., K)`.
        confusion: B or its counts, `(..., K, K)`: known group by group as read. A group of which no image
            is known is taken to be read without error.

    Returns:
        Shares `(..., K)`; NaN where nothing was read.

    References:
        Saerens, Latinne and Decaestecker (2002), Adjusting the outputs of a classifier to new a priori
        probabilities; Teo, Abdollahzadeh and Cheung (2023), On measuring fairness in generative
        models (CLEAM).
    """
    q = normalize(read)
    rates = _rates(np.asarray(confusion, dtype=np.float64))
    shape = np.broadcast_shapes(q.shape, rates.shape[:-1])
    groups = shape[-1]
    rows = np.broadcast_to(q, shape).reshape(-1, groups)
    each = np.broadcast_to(rates, (*shape, groups)).reshape(-1, groups, groups)
    p = np.where(np.isnan(rows), np.nan, 1 / groups)
    moving = np.flatnonzero(~np.isnan(rows).any(axis=1))
    for _ in range(_MAX_ITERATIONS):
        new = _maximization(p[moving], rows[moving], each[moving])
        change = np.abs(new - p[moving]).max(axis=1)
        p[moving] = new
        moving = moving[change > _TOLERANCE]
        if not len(moving):
            break
    return p.reshape(shape)


def _maximization(p: Array, q: Array, rates: Array) -> Array:
    expected = np.einsum("ri,rij->rj", p, rates)
    ratio = np.divide(q, expected, out=np.zeros_like(q), where=expected > 0)
    return normalize(p * np.einsum("rij,rj->ri", rates, ratio))


def _rates(confusion: Array) -> Array:
    rates = normalize(confusion)
    unknown = np.isnan(rates).any(axis=-1, keepdims=True)
    return np.where(unknown, np.eye(confusion.shape[-1]), rates)


def corrected_shares(
    shares: GroupShares,
    confusion: pd.DataFrame,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> CorrectedShares:
    """Correct a set's shares, and carry the uncertainty of the set and of the judge's confusion.

    The set is resampled as a multinomial. Each row of the confusion is drawn from the Dirichlet posterior of
    its counts under a prior that weighs one image in all, so that a judge that made no mistake on the images
    of known group is not taken to be faultless. The estimate itself uses the bare counts. The images of
    known group must be like those of the set; a confusion measured on cleaner ones corrects too little.

    Args:
        shares: The shares as the judge read them.
        confusion: Counts, known groups as index, groups as read as columns (see `confusion_counts`).
        rng: Source of the resamples.
        resamples: How many.
        level: Coverage of the intervals.

    Raises:
        InputError: The confusion lacks a group, or holds values that are not counts.

    References:
        Teo, Abdollahzadeh and Cheung (2023), On measuring fairness in generative models (CLEAM);
        Angelopoulos et al. (2023), Prediction-powered inference.
    """
    counts = _check_confusion(confusion, shares.groups)
    read, targets = np.array(shares.counts, dtype=np.int64), np.array(shares.targets)
    p = correct_shares(read, counts)
    drawn = correct_shares(resample_counts(read, rng, resamples), _draw_confusions(counts, rng, resamples))
    values, draws = share_numbers(p, targets), share_numbers(drawn, targets)
    return CorrectedShares(
        groups=shares.groups,
        shares=tuple(percentile_interval(float(p[k]), drawn[:, k], level) for k in range(len(p))),
        known=int(counts.sum()),
        **{name: percentile_interval(float(values[name]), draws[name], level) for name in values},
    )


def _draw_confusions(counts: Array, rng: np.random.Generator, resamples: int) -> Array:
    gammas = rng.standard_gamma(counts + 1 / len(counts), size=(resamples, *counts.shape))
    drawn = normalize(gammas)
    return np.where(counts.sum(axis=1)[:, None] > 0, drawn, np.eye(len(counts)))


def _check_confusion(confusion: pd.DataFrame, groups: Sequence[str]) -> NDArray[np.float64]:
    for axis, labels in (("rows", confusion.index), ("columns", confusion.columns)):
        missing = [name for name in groups if name not in labels]
        if missing:
            raise InputError(
                f"confusion: expected a group {missing[0]!r} among its {axis}, got {list(labels)}"
            )
    counts = confusion.loc[list(groups), list(groups)].to_numpy(dtype=np.float64)
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise InputError("confusion: expected counts of at least 0, got negative or missing values")
    if math.isclose(float(counts.sum()), 0):
        raise InputError("confusion: expected counts of images of known group, got none")
    return counts
