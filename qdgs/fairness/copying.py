"""Whether a generator repeats its training images: distances to the nearest, against held-out ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from qdgs.errors import InputError
from qdgs.fairness.intervals import Array, Estimate, proportion

CLOSE = 0.01
FEWEST = 20
COPIES = -3.0
"""Scores below it are data-copying, as the paper reads them: three standard deviations."""


@dataclass(frozen=True)
class Copying:
    """How near generated images are to the training images, relative to how near held-out images are.

    Attributes:
        score: C_T: far below 0 the generated are nearer than unseen images ever are; far above, farther.
        cells: Regions of the training images that count.
        left_out: Regions with too few images of either kind.
        close: Share of generated images nearer to a training image than all but 1 % of the held-out ones;
            0.01 where nothing is copied.
        generated_distance: Median distance of a generated image to its nearest training image.
        held_out_distance: The same of a held-out image.
    """

    score: float
    cells: int
    left_out: int
    close: Estimate
    generated_distance: float
    held_out_distance: float

    @property
    def copies(self) -> bool:
        """Whether the score is below −3."""
        return self.score < COPIES


def nearest(points: Array, training: Array) -> Array:
    """Distance `(n,)` of each of `(n, d)` points to the nearest of the training points `(t, d)`."""
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(training)
    distances: Array = search.kneighbors(points)[0][:, 0]
    return distances


def rank_score(generated: Array, held_out: Array) -> float:
    """Z of the Mann–Whitney statistic: below 0 where generated distances are the smaller ones.

        Z = (U − mn/2) / √(mn(m + n + 1)/12),   U = R − m(m + 1)/2

    with R the sum of the m generated distances' ranks among all; tied ones share their mean rank.
    """
    m, n = len(generated), len(held_out)
    ranks = rankdata(np.concatenate([generated, held_out]))[:m]
    u = float(ranks.sum()) - m * (m + 1) / 2
    return (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


def copying_test(
    generated: Array,
    training: Array,
    held_out: Array,
    rng: np.random.Generator,
    *,
    cells: int | None = None,
    fewest: int = FEWEST,
) -> Copying:
    """The three-sample test for data-copying.

    The space is divided by k-means of the training images. Within each region the distances of generated and
    of held-out images to the nearest training image are compared; the scores are averaged, weighted by the
    held-out images of the region. Regions with fewer than `fewest` of either are left out.

    Args:
        generated: Embeddings `(m, d)`.
        training: Embeddings `(t, d)` of what the generator was trained on.
        held_out: Embeddings `(n, d)` of images of the same kind that it was not trained on.
        rng: Source of the starts of k-means.
        cells: Regions; one for each 50 held-out images, at most 25, without it.
        fewest: Images of either kind that a region must have.

    Raises:
        InputError: One of the three is nearly empty.

    References:
        Meehan, Chaudhuri and Dasgupta (2020), A non-parametric test to detect data-copying in generative
        models, section 3 (C_T).
    """
    for name, points in (("generated", generated), ("training", training), ("held-out", held_out)):
        if len(points) < fewest:
            raise InputError(f"copying: expected at least {fewest} {name} images, got {len(points)}")
    distances = nearest(generated, training), nearest(held_out, training)
    k = cells or int(np.clip(len(held_out) // 50, 1, 25))
    regions = KMeans(min(k, len(training)), n_init=3, random_state=int(rng.integers(2**31))).fit(training)
    at = regions.predict(generated), regions.predict(held_out)
    scores, weights = _by_region(distances, at, regions.n_clusters, fewest)
    limit = float(np.quantile(distances[1], CLOSE))
    return Copying(
        score=float(np.average(scores, weights=weights)) if scores else rank_score(*distances),
        cells=len(scores),
        left_out=regions.n_clusters - len(scores),
        close=proportion(int((distances[0] < limit).sum()), len(generated)),
        generated_distance=float(np.median(distances[0])),
        held_out_distance=float(np.median(distances[1])),
    )


def _by_region(
    distances: tuple[Array, Array], at: tuple[NDArray[np.int32], NDArray[np.int32]], regions: int, fewest: int
) -> tuple[list[float], list[int]]:
    scores, weights = [], []
    for region in range(regions):
        generated, held_out = (of[where == region] for of, where in zip(distances, at, strict=True))
        if min(len(generated), len(held_out)) >= fewest:
            scores.append(rank_score(generated, held_out))
            weights.append(len(held_out))
    return scores, weights
