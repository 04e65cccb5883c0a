"""How fair a classifier is: accuracies by group, equal opportunity, bias amplification, score divergence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import rel_entr
from scipy.stats import t as student_t
from sklearn.metrics import average_precision_score

from qdgs.errors import InputError
from qdgs.fairness.intervals import (
    LEVEL,
    RESAMPLES,
    Array,
    Estimate,
    bootstrap,
    percentile_interval,
    proportion,
)

BINS = 50
SMOOTHING = 1e-6


@dataclass(frozen=True)
class GroupAccuracy:
    """Accuracy of a classifier by group.

    Attributes:
        by_group: Group → accuracy with its Wilson interval.
        counts: Group → images.
        mean: Mean of the groups' accuracies, each group counting the same.
        worst: The lowest of them.
        worst_group: Whose that is.
        overall: Share of all images that are right.
    """

    by_group: dict[str, Estimate]
    counts: dict[str, int]
    mean: float
    worst: float
    worst_group: str
    overall: float


def group_accuracy(correct: ArrayLike, groups: ArrayLike) -> GroupAccuracy:
    """Accuracy by group, and the mean and the worst of the groups.

    Args:
        correct: Whether each image is classified right, `(n,)`.
        groups: The group of each image, `(n,)`.

    Raises:
        InputError: No image, or two lengths.
    """
    right, names = np.asarray(correct, dtype=bool), np.asarray(groups).astype(str)
    _check_lengths(correct=right, groups=names)
    found, codes = np.unique(names, return_inverse=True)
    counts = np.bincount(codes)
    hits = np.bincount(codes, weights=right)
    accuracies = hits / counts
    return GroupAccuracy(
        by_group={str(g): proportion(int(h), int(n)) for g, h, n in zip(found, hits, counts, strict=True)},
        counts={str(g): int(n) for g, n in zip(found, counts, strict=True)},
        mean=float(accuracies.mean()),
        worst=float(accuracies.min()),
        worst_group=str(found[accuracies.argmin()]),
        overall=float(right.mean()),
    )


def matching_threshold(targets: ArrayLike, scores: ArrayLike) -> float:
    """The threshold at which as many images are predicted positive as are.

    With k positives it is the k-th largest score, and a score at the threshold is positive; tied scores
    there make more positives than k. Infinite where no target is positive.
    """
    positives = int(np.asarray(targets, dtype=bool).sum())
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    return float(ordered[-positives]) if positives else math.inf


def average_precision(targets: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a step function; NaN where no target is positive."""
    positive = np.asarray(targets, dtype=bool)
    return float(average_precision_score(positive, scores)) if positive.any() else math.nan


def equal_opportunity_difference(targets: ArrayLike, predictions: ArrayLike, sensitive: ArrayLike) -> float:
    """DEO = |FNR(a = 0) − FNR(a = 1)|; of more groups the largest difference of two.

    Groups without a positive target have no false-negative rate and do not count; NaN where fewer than two
    groups have one.

    References:
        Hardt, Price and Srebro (2016), Equality of opportunity in supervised learning, definition 2.2.
    """
    y, prediction, a = _binary(targets, predictions, sensitive)
    rates = [1 - prediction[y & (a == value)].mean() for value in np.unique(a[y])]
    return float(max(rates) - min(rates)) if len(rates) > 1 else math.nan


def bias_amplification(targets: ArrayLike, predictions: ArrayLike, sensitive: ArrayLike) -> float:
    """Directional bias amplification, attribute to task: how much predictions exaggerate a correlation.

    For each target value t and group a, Δ = P(pred = t | a) − P(true = t | a), its sign flipped where
    P(true = t | a) < P(true = t), and 0 where the two are equal; the mean over t ∈ {0, 1} and both groups.
    Of more than two groups the pair with the value farthest from 0, computed on that pair's images alone.

    References:
        Wang and Russakovsky (2021), Directional bias amplification (A → T); the sign and the 0 as
        in the code of Ramaswamy, Kim and Russakovsky (2021).
    """
    y, prediction, a = _binary(targets, predictions, sensitive)
    values = [_pair_amplification(y[rows], prediction[rows], a[rows]) for rows in _pairs(a)]
    return max(values, key=abs, default=math.nan)


def _pair_amplification(y: NDArray[np.bool_], prediction: NDArray[np.bool_], a: NDArray[np.int64]) -> float:
    deltas = []
    for value in np.unique(a):
        true, predicted = y[a == value].mean(), prediction[a == value].mean()
        # for t = 0 both the difference and the sign turn round: the term is the same
        deltas.append((predicted - true) * np.sign(true - y.mean()))
    return float(np.mean(deltas))


@dataclass(frozen=True)
class ScoreDivergence:
    """KL divergences in nats between the score distributions of two groups, forward and backward.

    Attributes:
        positives: KL(0‖1) and KL(1‖0) of scores of images whose target is positive.
        negatives: The same of images whose target is negative.
    """

    positives: tuple[float, float]
    negatives: tuple[float, float]

    @property
    def mean(self) -> float:
        """Mean of the four; NaN where a group has no image of one target."""
        return float(np.mean([*self.positives, *self.negatives]))


def score_divergence(targets: ArrayLike, scores: ArrayLike, sensitive: ArrayLike) -> ScoreDivergence:
    """KL between two groups' scores, separately for positive and negative targets, both directions.

    Histograms of 50 bins on one range shared by all four sets of scores, smoothed with a Gaussian of 1 bin on
    float counts, normalised, plus 1e-6. Of more than two groups the pair with the largest mean.

    The code released with Ramaswamy et al. bins each set on its own range and smooths integer counts, which
    hides a shift between groups and truncates; numbers are not comparable with theirs in that respect.

    References:
        Ramaswamy, Kim and Russakovsky (2021), Fair attribute classification through latent space de-biasing.
    """
    y, a = np.asarray(targets, dtype=bool), _codes(sensitive)
    s = np.asarray(scores, dtype=np.float64)
    _check_lengths(targets=y, scores=s, sensitive=a)
    nothing = ScoreDivergence((math.nan, math.nan), (math.nan, math.nan))
    pairs = [_pair_divergence(y[rows], s[rows], a[rows]) for rows in _pairs(a)]
    return max(
        (pair for pair in pairs if not math.isnan(pair.mean)), key=lambda pair: pair.mean, default=nothing
    )


def _pair_divergence(y: NDArray[np.bool_], s: Array, a: NDArray[np.int64]) -> ScoreDivergence:
    first = a == a.min()
    span = (float(s.min()), float(s.max()))
    return ScoreDivergence(
        positives=_divergences(s[y & first], s[y & ~first], span),
        negatives=_divergences(s[~y & first], s[~y & ~first], span),
    )


def _divergences(a: Array, b: Array, span: tuple[float, float]) -> tuple[float, float]:
    if not len(a) or not len(b):
        return math.nan, math.nan
    p, q = _smoothed_histogram(a, span), _smoothed_histogram(b, span)
    return float(rel_entr(p, q).sum()), float(rel_entr(q, p).sum())


def _smoothed_histogram(scores: Array, span: tuple[float, float]) -> Array:
    counts = np.histogram(scores, bins=BINS, range=span)[0].astype(np.float64)
    smooth: Array = gaussian_filter1d(counts, sigma=1.0)
    histogram: Array = smooth / smooth.sum() + SMOOTHING
    return histogram


def classification_numbers(targets: ArrayLike, scores: ArrayLike, sensitive: ArrayLike) -> dict[str, float]:
    """AP, DEO, BA and mean KL, predictions taken at `matching_threshold`."""
    predictions = np.asarray(scores) >= matching_threshold(targets, scores)
    return {
        "average_precision": average_precision(targets, scores),
        "equal_opportunity_difference": equal_opportunity_difference(targets, predictions, sensitive),
        "bias_amplification": bias_amplification(targets, predictions, sensitive),
        "score_divergence": score_divergence(targets, scores, sensitive).mean,
    }


def classification_metrics(
    targets: ArrayLike,
    scores: ArrayLike,
    sensitive: ArrayLike,
    rng: np.random.Generator,
    *,
    resamples: int = 500,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """The numbers of `classification_numbers` with bootstrap intervals over images.

    The threshold is found again in every resample.

    Args:
        targets: Whether each image is positive, `(n,)`.
        scores: The classifier's score, `(n,)`, larger is more positive.
        sensitive: The group of each image, `(n,)`.
        rng: Source of the resamples.
        resamples: How many.
        level: Coverage.

    Raises:
        InputError: No image, or sequences of different lengths.
    """
    y, s, a = np.asarray(targets, dtype=bool), np.asarray(scores, dtype=np.float64), _codes(sensitive)
    _check_lengths(targets=y, scores=s, sensitive=a)
    values = classification_numbers(y, s, a)
    resampled = [
        classification_numbers(y[rows], s[rows], a[rows])
        for rows in (rng.integers(0, len(y), size=len(y)) for _ in range(resamples))
    ]
    return {
        name: percentile_interval(value, [numbers[name] for numbers in resampled], level)
        for name, value in values.items()
    }


def by_group_frame(
    targets: ArrayLike, predictions: ArrayLike, sensitive: ArrayLike, level: float = LEVEL
) -> pd.DataFrame:
    """One row a group: count, positives, accuracy, false_negative_rate, false_positive_rate."""
    y, prediction = np.asarray(targets, dtype=bool), np.asarray(predictions, dtype=bool)
    frame = pd.DataFrame({"group": np.asarray(sensitive), "y": y, "right": y == prediction})
    frame["missed"] = np.where(y, ~prediction, np.nan)
    frame["false_alarm"] = np.where(y, np.nan, prediction)
    return frame.groupby("group").agg(
        count=("y", "size"),
        positives=("y", "sum"),
        accuracy=("right", "mean"),
        false_negative_rate=("missed", "mean"),
        false_positive_rate=("false_alarm", "mean"),
    )


def paired_interval(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator | None = None,
    *,
    level: float = LEVEL,
    method: Literal["t", "bootstrap"] = "t",
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean of a − b over paired runs (the same seed on both sides), with its interval.

    "t" is Student's interval of the differences, right for the handful of seeds that an experiment has if
    they are roughly normal; "bootstrap" resamples the pairs, and is too narrow below some twenty of them.
    One pair has no interval.

    Args:
        a: One number a run, `(n,)`.
        b: The number of the run paired with it, `(n,)`.
        rng: Source of the resamples, for "bootstrap" alone.
        level: Coverage.
        method: Which interval.
        resamples: How many, for "bootstrap" alone.

    Raises:
        InputError: No pair, two lengths, or a bootstrap without a generator.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check_lengths(a=x, b=y)
    difference = x - y
    if method == "bootstrap":
        if rng is None:
            raise InputError("paired_interval: expected a random generator for the bootstrap, got none")
        return bootstrap(
            lambda rows: float(difference[rows].mean()), len(x), rng, resamples=resamples, level=level
        )
    mean = float(difference.mean())
    if len(x) < 2:
        return Estimate(mean)
    half = float(student_t.ppf(0.5 + level / 2, len(x) - 1) * difference.std(ddof=1) / math.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half)


def _pairs(a: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    for first, second in itertools.combinations(np.unique(a), 2):
        yield (a == first) | (a == second)


def _codes(sensitive: ArrayLike) -> NDArray[np.int64]:
    return np.unique(np.asarray(sensitive), return_inverse=True)[1].astype(np.int64)


def _binary(
    targets: ArrayLike, predictions: ArrayLike, sensitive: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    y, prediction = np.asarray(targets, dtype=bool), np.asarray(predictions, dtype=bool)
    a = _codes(sensitive)
    _check_lengths(targets=y, predictions=prediction, sensitive=a)
    return y, prediction, a


def _check_lengths(**arrays: NDArray[np.generic]) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        got = ", ".join(f"{name} of {length}" for name, length in lengths.items())
        raise InputError(f"expected sequences of one length of at least 1, got {got}")
