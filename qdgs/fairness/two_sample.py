"""Whether a classifier can tell two sets of images apart, or groups by what ought to say nothing of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from qdgs.errors import InputError
from qdgs.fairness.intervals import RESAMPLES, Array, Estimate, percentile_interval, proportion

FOLDS = 5
FEWEST = 2 * FOLDS


@dataclass(frozen=True)
class TwoSampleTest:
    """A classifier two-sample test.

    Attributes:
        accuracy: Share of held-out images put into the right set; 0.5 is chance.
        p: Of an accuracy so high or higher, were the sets of one distribution.
        n: Images of both sets together.
    """

    accuracy: Estimate
    p: float
    n: int


def two_sample_test(first: Array, second: Array, rng: np.random.Generator) -> TwoSampleTest:
    """Train a classifier to tell two sets apart, and count how often it can on images it did not see.

    The larger set is thinned at random to the size of the smaller. Every image is told by the one of five
    boosted-tree classifiers that was not trained on it; under one distribution the accuracy is about normal
    with mean 1/2 and variance 1/(4n), which is close rather than exact, as folds share training images.

    Args:
        first: Features `(n, d)`.
        second: Features `(m, d)`.
        rng: Thins, folds and trains.

    Raises:
        InputError: A set has fewer than ten images.

    References:
        Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, section 3.
    """
    size = min(len(first), len(second))
    if size < FEWEST:
        raise InputError(f"two-sample test: expected at least {FEWEST} images in each set, got {size}")
    kept = [rows[rng.permutation(len(rows))[:size]] for rows in (first, second)]
    labels = np.repeat([0, 1], size)
    scores = _held_out_scores(np.concatenate(kept), labels, rng)[:, 1]
    right = int(((scores > 0.5) == labels).sum())
    n = 2 * size
    p = float(norm.sf((right / n - 0.5) * 2 * math.sqrt(n)))
    return TwoSampleTest(proportion(right, n), p, n)


def leakage(values: ArrayLike, groups: ArrayLike, rng: np.random.Generator) -> Estimate:
    """How well groups can be told from numbers that ought to say nothing of them: 0.5 is not at all.

    Area under the ROC curve of held-out scores, one group against the rest, mean over groups. The interval
    resamples the images with the scores as they are.

    Args:
        values: `(n,)` or `(n, d)`, for instance the luminance of the background; NaN is a value of its own.
        groups: Group of each image `(n,)`.
        rng: Folds, trains and resamples.

    Returns:
        NaN where fewer than two groups have ten images; smaller groups are left out.

    Raises:
        InputError: Two lengths.
    """
    features, names = np.asarray(values, dtype=np.float64), np.asarray(groups).astype(str)
    features = features.reshape(len(features), -1)
    if len(features) != len(names):
        raise InputError(
            f"leakage: expected a group for each of {len(features)} rows of values, got {len(names)}"
        )
    found, counts = np.unique(names, return_counts=True)
    kept = np.isin(names, found[counts >= FEWEST])
    if len(np.unique(names[kept])) < 2:
        return Estimate(math.nan)
    features, codes = features[kept], np.unique(names[kept], return_inverse=True)[1]
    scores = _held_out_scores(features, codes, rng)
    resampled = [
        _mean_auc(codes[rows], scores[rows])
        for rows in (rng.integers(0, len(codes), len(codes)) for _ in range(RESAMPLES // 10))
    ]
    return percentile_interval(_mean_auc(codes, scores), resampled)


def _held_out_scores(features: Array, labels: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Probability of each label `(n, labels)`, by a classifier that has not seen the row."""
    scores = np.zeros((len(features), int(labels.max()) + 1))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
    for train, test in folds.split(features, labels):
        model = HistGradientBoostingClassifier(max_iter=60, random_state=int(rng.integers(2**31)))
        scores[test] = model.fit(features[train], labels[train]).predict_proba(features[test])
    return scores


def _mean_auc(codes: NDArray[np.int64], scores: Array) -> float:
    aucs = [
        roc_auc_score(codes == code, scores[:, code])
        for code in range(scores.shape[1])
        if 0 < (codes == code).sum() < len(codes)
    ]
    return float(np.mean(aucs)) if aucs else math.nan
