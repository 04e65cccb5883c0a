"""Near-duplicates: how close is too close, and dropping what is."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

from qdgs.errors import InputError

Floats = NDArray[np.float64]
CHUNK = 1024
BLOCK = 8192


def nearest_distances(embeddings: ArrayLike) -> Floats:
    """Euclidean distance of each of `(n, e)` embeddings to its nearest neighbour among the others, `(n,)`."""
    points = _points(embeddings)
    if len(points) < 2:
        raise InputError(f"near-duplicates: expected at least 2 embeddings to compare, got {len(points)}")
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(points)
    distances: Floats = search.kneighbors()[0][:, 0]
    return distances


def duplicate_distance(random_embeddings: ArrayLike, quantile: float) -> float:
    """The distance below which two images count as near-duplicates.

    The quantile of nearest-neighbour distances among random samples of the same generator, as many as the
    dataset has images: random samples themselves then hold about that share of near-duplicates.

    Args:
        random_embeddings: `(n, e)`, n the number of images of the dataset.
        quantile: In [0, 1); 0 keeps everything.
    """
    if quantile == 0:
        return 0.0
    return float(np.quantile(nearest_distances(random_embeddings), quantile))


class DuplicateFilter:
    """Keeps, in the order that they come, what is no nearer than `min_distance` to anything kept before.

    Attributes:
        min_distance: Pairs strictly nearer than this are near-duplicates.
    """

    def __init__(self, min_distance: float) -> None:
        self.min_distance = min_distance
        self._kept: list[Floats] = []

    def keep(self, embeddings: ArrayLike) -> NDArray[np.bool_]:
        """Which of `(n, e)` further embeddings are kept, `(n,)`; the kept ones count from now on."""
        points = _points(embeddings)
        if self.min_distance <= 0 or not len(points):
            return np.ones(len(points), dtype=bool)
        masks = [self._keep_chunk(points[start : start + CHUNK]) for start in range(0, len(points), CHUNK)]
        return np.concatenate(masks)

    def _keep_chunk(self, points: Floats) -> NDArray[np.bool_]:
        kept = np.ones(len(points), dtype=bool)
        for earlier in self._kept:
            kept &= ~self._near(points, earlier).any(axis=1)
        near = self._near(points, points)
        for row in np.flatnonzero(kept):
            kept[row] = not (near[row, :row] & kept[:row]).any()
        self._remember(points[kept])
        return kept

    def _remember(self, points: Floats) -> None:
        if self._kept and len(self._kept[-1]) < BLOCK:
            points = np.concatenate([self._kept.pop(), points])
        self._kept.append(points)

    def _near(self, left: Floats, right: Floats) -> NDArray[np.bool_]:
        """Which pairs are near-duplicates, `(n, m)`."""
        lengths = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
        squares = lengths - 2 * left @ right.T
        # The product rounds where it subtracts near-equal numbers: it only shortlists.
        rows, columns = np.nonzero(squares < self.min_distance**2 + 1e-9 * lengths)
        distances = np.linalg.norm(left[rows] - right[columns], axis=1)
        near = np.zeros(squares.shape, dtype=bool)
        near[rows, columns] = distances < self.min_distance
        return near


def _points(embeddings: ArrayLike) -> Floats:
    points = np.asarray(embeddings, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise InputError(f"near-duplicates: expected finite embeddings (n, e), got shape {points.shape}")
    return points
