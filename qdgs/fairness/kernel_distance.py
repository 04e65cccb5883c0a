"""How far a set of images is from real ones: the kernel distance between their embeddings."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm

from qdgs.fairness.intervals import LEVEL, Array, Estimate

SUBSETS = 100
SUBSET_SIZE = 500
DEGREE = 3


def kernel_distance(
    embeddings: Array,
    real: Array,
    rng: np.random.Generator,
    *,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    level: float = LEVEL,
) -> Estimate:
    """The squared maximum mean discrepancy with the kernel (x·y/d + 1)³, mean over random subsets.

    As the kernel inception distance, but on embeddings of our own (pixels, where no other network is at
    hand): compare it within one table and with nothing else. Embeddings are scaled by one factor, so that the
    real ones have mean square 1 a dimension. The estimator is unbiased, so a value may be below 0. The
    interval is normal: subsets of s among n images, drawn without putting back, spread by (1 − s/n)·n/s times
    the variance of the set's own distance, so that error² = spread²·s/(n − s), with the smaller n of the two.

    Args:
        embeddings: `(n, embedding_dim)`.
        real: `(m, embedding_dim)`.
        rng: Chooses subsets.
        subsets: How many.
        size: Images of either side in one; at most half of what there is, so that subsets differ.
        level: Coverage of the interval.

    References:
        Bińkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs, section 4.
    """
    images = min(len(embeddings), len(real))
    size = min(size, images // 2)
    if size < 2:
        return Estimate(math.nan)
    scale = math.sqrt(np.square(real).mean()) or 1.0
    values = []
    for _ in range(subsets):
        x = embeddings[rng.choice(len(embeddings), size, replace=False)] / scale
        y = real[rng.choice(len(real), size, replace=False)] / scale
        values.append(squared_discrepancy(x, y))
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) * math.sqrt(size / (images - size))
    half = float(norm.ppf(0.5 + level / 2)) * error
    return Estimate(mean, mean - half, mean + half)


def squared_discrepancy(x: Array, y: Array) -> float:
    """Unbiased MMD² of `(m, d)` and `(n, d)`: mean k(x, x') + mean k(y, y') − 2 mean k(x, y), x ≠ x'."""
    dimension = x.shape[1]

    def kernel(a: Array, b: Array) -> Array:
        values: Array = (a @ b.T / dimension + 1) ** DEGREE
        return values

    within = 0.0
    for rows in (x, y):
        gram = kernel(rows, rows)
        within += (gram.sum() - np.trace(gram)) / (len(rows) * (len(rows) - 1))
    return float(within - 2 * kernel(x, y).mean())
