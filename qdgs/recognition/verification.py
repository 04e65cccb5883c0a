"""How well distances tell whether two faces are one person's: over all pairs, and by group.

A distance is the squared Euclidean one of unit embeddings, d² = 2 − 2·cos θ, from 0 to 4; two faces count as
one person's where it lies below a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdgs.errors import InputError
from qdgs.fairness.intervals import (
    LEVEL,
    RESAMPLES,
    Array,
    Estimate,
    finite,
    percentile_interval,
    wilson_interval,
)
from qdgs.recognition.roc import Bools, Roc, roc_curve

FOLDS = 10
THRESHOLDS = np.arange(400) * 0.01
"""Thresholds that are tried, as the field's own programs do."""
FALSE_ACCEPT_RATES = (1e-1, 1e-2, 1e-3, 1e-4)
SHIFT_RESAMPLES = 400


@dataclass(frozen=True)
class GroupVerification:
    """One group's pairs.

    Attributes:
        n: Number of pairs.
        different: Of them, pairs of two persons; below 1/FAR of these a rate FAR is finer than they can tell.
        accuracy: With the thresholds that all groups share, and its bootstrap interval.
        own_accuracy: With thresholds chosen among the group's own pairs, ten-fold.
        true_accepts: False accept rate → true accept rate, each at the group's own threshold.
        equal_error_rate: Of the group alone.
        equal_error_threshold: Where it is reached.
        threshold_shift: That threshold less the one of all pairs together, with its bootstrap interval.
    """

    n: int
    different: int
    accuracy: Estimate
    own_accuracy: float
    true_accepts: Mapping[float, float]
    equal_error_rate: float
    equal_error_threshold: float
    threshold_shift: Estimate


@dataclass(frozen=True)
class Verification:
    """A benchmark's result.

    Attributes:
        n: Number of pairs.
        different: Of them, pairs of two persons.
        folds: How many there are: ten, or those that the list of pairs tells.
        accuracy: Mean over the folds, each at the threshold that is best on the others.
        accuracy_std: Deviation over the folds.
        threshold: Mean of the folds' thresholds.
        true_accepts: False accept rate → true accept rate.
        equal_error_rate: Over all pairs.
        equal_error_threshold: Where it is reached.
        groups: By name; empty where no groups are known.
        worst_group: Name of the group of lowest accuracy.
        worst: Its accuracy; the interval is of the lowest accuracy, whichever group has it: groups' lowest
            ends, each at a level of 1 − (1 − level) / groups, so that all hold together.
        left_out: Groups with too few pairs to be told of, or with none of one kind.
        roc: The whole curve.
    """

    n: int
    different: int
    folds: int
    accuracy: float
    accuracy_std: float
    threshold: float
    true_accepts: Mapping[float, float]
    equal_error_rate: float
    equal_error_threshold: float
    groups: Mapping[str, GroupVerification]
    worst_group: str | None
    worst: Estimate
    left_out: tuple[str, ...]
    roc: Roc

    def to_json(self) -> dict[str, Any]:
        """Plain types, without the curve; NaN becomes null."""
        data = asdict(self)
        data.pop("roc")
        plain: dict[str, Any] = finite(data)
        return plain


def squared_distances(first: Array, second: Array) -> Array:
    """Squared distance `(n,)` of each pair of unit embeddings `(n, embedding_dim)`."""
    distances: Array = np.square(np.asarray(first, np.float64) - np.asarray(second, np.float64)).sum(axis=1)
    return distances


def folds_of(same: Bools, groups: NDArray[np.str_] | None = None, folds: int = FOLDS) -> NDArray[np.int64]:
    """Fold of each pair, `(n,)`: runs of consecutive pairs, as even as can be.

    Where there are groups, every group's same and different pairs are dealt so, each by themselves: a list
    that is sorted by group would otherwise have groups for folds, and each its threshold from the others.
    Groups thus change the folds, and accuracies by a little: a benchmark that publishes consecutive runs
    keeps them where its folds are told beside its groups.

    Raises:
        InputError: There are fewer pairs than folds.
    """
    if len(same) < folds:
        raise InputError(f"pairs: expected at least {folds}, one for each fold, got {len(same)}")
    found = np.empty(len(same), dtype=np.int64)
    kinds = [np.ones(len(same), dtype=bool)]
    if groups is not None:
        kinds = [(groups == name) & (same == kind) for name in np.unique(groups) for kind in (True, False)]
    dealt = 0  # goes on from kind to kind, so that what is left over does not all go to the first folds
    for members in kinds:
        n = int(members.sum())
        sizes = np.full(folds, n // folds)
        sizes[(dealt + np.arange(n % folds)) % folds] += 1
        found[members] = np.repeat(np.arange(folds), sizes)
        dealt += n % folds
    return found


def folded(distances: Array, same: Bools, fold_of: NDArray[np.int64]) -> tuple[Bools, Array]:
    """Which pairs are told right at thresholds chosen without them.

    Of `THRESHOLDS` the lowest with the best accuracy on the other folds is taken, and accepts what lies below
    it.

    Args:
        distances: `(n,)`.
        same: `(n,)`.
        fold_of: Fold of each pair, from 0 on, `(n,)`: those of `folds_of`, or of a list.

    Returns:
        Whether each pair is told right `(n,)`, and each fold's threshold `(folds,)`.

    References:
        Huang et al. 2007, Labeled Faces in the Wild, section 4 (the protocol); the grid and the strict
        comparison are those of InsightFace's programs.
    """
    right = _right_by_fold(distances, same, fold_of, int(fold_of.max()) + 1)
    others = right.sum(axis=0) - right
    chosen = THRESHOLDS[others.argmax(axis=1)]
    correct: Bools = (distances < chosen[fold_of]) == same
    return correct, chosen


def verify_distances(
    distances: Array,
    same: Bools,
    groups: NDArray[np.str_] | None = None,
    *,
    rng: np.random.Generator,
    folds: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Verification:
    """Everything that is told of a benchmark.

    Intervals resample pairs within groups, as if they were independent of each other.

    Args:
        distances: `(n,)`.
        same: `(n,)`.
        groups: Group of each pair `(n,)`, if there are any.
        rng: Source of the resamples.
        folds: Fold of each pair, from 0 on, `(n,)`; without it those of `folds_of`.
        resamples: How many, for accuracies; thresholds take at most `SHIFT_RESAMPLES`.
        level: Coverage of the intervals.

    Raises:
        InputError: There are too few pairs, or not a single group has both same and different ones.
    """
    fold_of = folds_of(same, groups) if folds is None else folds
    correct, thresholds = folded(distances, same, fold_of)
    by_fold = [correct[fold_of == fold].mean() for fold in range(len(thresholds))]
    roc = roc_curve(distances, same)
    threshold, rate = roc.equal_error()
    by_group = (
        {} if groups is None else _by_group(distances, same, correct, groups, folds, rng, resamples, level)
    )
    worst_group = min(by_group, key=lambda name: by_group[name].accuracy.value) if by_group else None
    return Verification(
        n=len(same),
        different=int((~same).sum()),
        folds=len(by_fold),
        accuracy=float(np.mean(by_fold)),
        accuracy_std=float(np.std(by_fold)),
        threshold=float(thresholds.mean()),
        true_accepts={far: roc.true_accepts_at(far) for far in FALSE_ACCEPT_RATES},
        equal_error_rate=rate,
        equal_error_threshold=threshold,
        groups=by_group,
        worst_group=worst_group,
        worst=_worst(by_group, rng, resamples, level),
        left_out=() if groups is None else tuple(sorted({*map(str, groups)} - {*by_group})),
        roc=roc,
    )


def _right_by_fold(
    distances: Array, same: Bools, fold_of: NDArray[np.int64], folds: int
) -> NDArray[np.int64]:
    """Pairs told right in each fold at each threshold `(folds, thresholds)`."""
    # the first threshold above a distance accepts it
    first = np.searchsorted(THRESHOLDS, distances, side="right")
    right = np.zeros((folds, len(THRESHOLDS) + 1), dtype=np.int64)
    np.add.at(right, (fold_of[same], first[same]), 1)
    np.add.at(right, (fold_of[~same], first[~same]), -1)
    different = np.bincount(fold_of[~same], minlength=folds)
    told: NDArray[np.int64] = different[:, None] + right.cumsum(axis=1)[:, : len(THRESHOLDS)]
    return told


def _by_group(
    distances: Array,
    same: Bools,
    correct: Bools,
    groups: NDArray[np.str_],
    folds: NDArray[np.int64] | None,
    rng: np.random.Generator,
    resamples: int,
    level: float,
) -> dict[str, GroupVerification]:
    found = {str(name): np.flatnonzero(groups == name) for name in np.unique(groups)}
    members = _members(same, found)
    shifts = _shifts(distances, same, found, list(members), rng, min(resamples, SHIFT_RESAMPLES), level)
    result = {}
    for name, rows in members.items():
        roc = roc_curve(distances[rows], same[rows])
        threshold, rate = roc.equal_error()
        accuracy = float(correct[rows].mean())
        result[name] = GroupVerification(
            n=len(rows),
            different=int((~same[rows]).sum()),
            accuracy=_interval(accuracy, len(rows), rng, resamples, level),
            own_accuracy=_own_accuracy(distances[rows], same[rows], None if folds is None else folds[rows]),
            true_accepts={far: roc.true_accepts_at(far) for far in FALSE_ACCEPT_RATES},
            equal_error_rate=rate,
            equal_error_threshold=threshold,
            threshold_shift=shifts[name],
        )
    return result


def _members(same: Bools, found: Mapping[str, NDArray[np.intp]]) -> dict[str, NDArray[np.intp]]:
    """Rows of each group that can be told of: pairs of two groups are as a rule of two persons all."""
    told = {
        name: rows
        for name, rows in found.items()
        if len(rows) >= FOLDS and same[rows].any() and not same[rows].all()
    }
    if not told:
        name, rows = max(found.items(), key=lambda item: len(item[1]))
        raise InputError(
            f"groups: expected at least {FOLDS} pairs of one, same and different ones, got {len(rows)} with "
            f"{int(same[rows].sum())} same of the largest, {name!r}"
        )
    return told


def _own_accuracy(distances: Array, same: Bools, folds: NDArray[np.int64] | None) -> float:
    """Accuracy of a group at thresholds of its own; NaN where all of it is in one fold."""
    told = (
        folds_of(same, np.zeros(len(same), np.str_))
        if folds is None
        else np.unique(folds, return_inverse=True)[1]
    )
    return float(folded(distances, same, told)[0].mean()) if told.max() else float("nan")


def _shifts(
    distances: Array,
    same: Bools,
    groups: Mapping[str, NDArray[np.intp]],
    told: Sequence[str],
    rng: np.random.Generator,
    resamples: int,
    level: float,
) -> dict[str, Estimate]:
    """Equal-error thresholds of the groups told of, less that of all pairs, of those left out too."""

    def thresholds(chosen: Mapping[str, NDArray[np.intp]]) -> dict[str, float]:
        rows = np.concatenate(list(chosen.values()))
        together = roc_curve(distances[rows], same[rows]).equal_error()[0]
        return {
            name: roc_curve(distances[chosen[name]], same[chosen[name]]).equal_error()[0] - together
            for name in told
        }

    value = thresholds(groups)
    # same and different pairs apart, so that every resample has both
    strata = {name: (rows[same[rows]], rows[~same[rows]]) for name, rows in groups.items()}
    draws = [
        thresholds(
            {name: np.concatenate([rng.choice(p, len(p)) for p in parts]) for name, parts in strata.items()}
        )
        for _ in range(resamples)
    ]
    return {name: percentile_interval(value[name], [draw[name] for draw in draws], level) for name in told}


def _worst(
    groups: Mapping[str, GroupVerification], rng: np.random.Generator, resamples: int, level: float
) -> Estimate:
    if not groups:
        return Estimate(float("nan"))
    together = 1 - (1 - level) / len(groups)
    each = [_interval(group.accuracy.value, group.n, rng, resamples, together) for group in groups.values()]
    return Estimate(
        *(min(ends) for ends in zip(*((one.value, one.low, one.high) for one in each), strict=True))
    )


def _interval(accuracy: float, n: int, rng: np.random.Generator, resamples: int, level: float) -> Estimate:
    """Bootstrap interval of a share of n pairs; Wilson's of none or all, whose resamples are all the same."""
    if accuracy in (0, 1):
        low, high = wilson_interval(accuracy * n, n, level)
        return Estimate(accuracy, float(low), float(high))
    return percentile_interval(accuracy, _resampled(accuracy, n, rng, resamples), level)


def _resampled(accuracy: float, n: int, rng: np.random.Generator, resamples: int) -> Array:
    """Accuracies of resamples with replacement: of n pairs each is right with the observed share."""
    draws: Array = rng.binomial(n, accuracy, resamples) / n
    return draws
