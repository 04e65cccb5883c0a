"""Whether the images of a set differ: an embedding of pixels, Vendi scores by group, near-duplicates."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from qdgs.datasets.duplicates import duplicate_distance, nearest_distances
from qdgs.errors import CorruptFileError, InputError
from qdgs.fairness.intervals import Array

COMPONENTS = 50
THUMBNAIL = 32
GROUP_LIMIT = 60
GROUP_MINIMUM = 10
DRAWS = 10
BANDWIDTH_SAMPLES = 2000
DUPLICATE_QUANTILE = 0.01


def thumbnails(images: Tensor, size: int = THUMBNAIL) -> NDArray[np.float32]:
    """Images `(batch_size, 3, height, width)` as means over areas, flattened: `(batch_size, 3·size²)`.

    Every pixel counts, so there is no aliasing.
    """
    small: NDArray[np.float32] = adaptive_avg_pool2d(images.detach().float(), size).flatten(1).cpu().numpy()
    return small


@dataclass(frozen=True, eq=False)
class PixelEmbedding:
    """The first principal components of small images; distances in it compare what images look like.

    Fitted on random samples of a generator, and then the same for whatever is compared.

    Attributes:
        mean: `(3·size²,)`.
        components: `(embedding_dim, 3·size²)`, orthonormal rows.
        size: Height and width of the small images.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    size: int = THUMBNAIL

    @classmethod
    def fit(
        cls, batches: Iterable[Tensor], *, components: int = COMPONENTS, size: int = THUMBNAIL, seed: int = 0
    ) -> Self:
        """Find the principal components of random samples.

        Args:
            batches: Batches of images `(batch_size, 3, height, width)` in [0, 1].
            components: How many; fewer where there are not enough images.
            size: Height and width of the small images.
            seed: Of the randomised singular value decomposition.

        Raises:
            InputError: Fewer than two images.
        """
        rows = [thumbnails(images, size) for images in batches]
        pixels = np.concatenate(rows) if rows else np.zeros((0, 3 * size * size), dtype=np.float32)
        if len(pixels) < 2:
            raise InputError(f"embedding: expected at least 2 images to fit on, got {len(pixels)}")
        pca = PCA(min(components, *pixels.shape), svd_solver="randomized", random_state=seed)
        pca.fit(pixels)
        return cls(pca.mean_.astype(np.float32), pca.components_.astype(np.float32), size)

    def transform(self, images: Tensor | Iterable[Tensor]) -> Array:
        """Embeddings `(n, embedding_dim)` of images `(n, 3, height, width)`, or of batches of them."""
        batches = [images] if isinstance(images, Tensor) else images
        rows = [(thumbnails(batch, self.size) - self.mean) @ self.components.T for batch in batches]
        return np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, len(self.components)))

    def save(self, path: Path) -> None:
        """Write the embedding as .npz (arrays only)."""
        with path.open("wb") as file:
            np.savez_compressed(file, mean=self.mean, components=self.components, size=np.array(self.size))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CorruptFileError: The file is missing, truncated or holds something else.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                embedding = cls(arrays["mean"], arrays["components"], int(arrays["size"]))
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise CorruptFileError(f"{path}: cannot be read as an embedding: {error}") from None
        pixels = 3 * embedding.size**2
        if embedding.mean.shape != (pixels,) or embedding.components.shape[1:] != (pixels,):
            raise CorruptFileError(
                f"{path}: expected components (embedding_dim, {pixels}), got {embedding.components.shape}"
            )
        return embedding


def kernel_bandwidth(random_embeddings: Array) -> float:
    """Bandwidth for `vendi_score`: the median nearest-neighbour distance of random samples.

    Of the first 2,000 of them, since nearest neighbours close in as samples grow in number and the kernel
    must not depend on how many were at hand. NaN for fewer than two samples, and 0 where most of them are
    copies of one another: no kernel then.
    """
    if len(random_embeddings) < 2:
        return math.nan
    return float(np.median(nearest_distances(random_embeddings[:BANDWIDTH_SAMPLES])))


def vendi_score(embeddings: Array, bandwidth: float) -> float:
    """The effective number of different rows: 1 for copies of one, n for rows far from one another.

    exp(−Σ λ_i log λ_i), λ the eigenvalues of K/n, K_ij = exp(−‖x_i − x_j‖²/(2h²)).

    Args:
        embeddings: `(n, embedding_dim)`.
        bandwidth: h.

    Returns:
        Between 1 and n; NaN for no rows.

    References:
        Friedman and Dieng (2023), The Vendi score, definition 3.1.
    """
    n = len(embeddings)
    if n == 0:
        return math.nan
    squares = np.square(embeddings).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * embeddings @ embeddings.T, 0)
    np.fill_diagonal(distances, 0)
    eigenvalues = np.linalg.eigvalsh(np.exp(-distances / (2 * bandwidth**2)) / n)
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


@dataclass(frozen=True)
class GroupVendi:
    """Diversity of one group.

    Attributes:
        samples: Images compared on each side.
        vendi: Mean Vendi score of that many images of the set.
        random_vendi: Mean Vendi score of that many random samples of the same group.
        ratio: The first divided by the second.
    """

    samples: int
    vendi: float
    random_vendi: float
    ratio: float


@dataclass(frozen=True)
class GroupDiversity:
    """Diversity of a set by group, relative to random samples of the same group.

    Attributes:
        ratio: Mean over the groups compared; NaN where none could be. Below 0.8 a set is narrow.
        bandwidth: Of the kernel.
        by_group: The groups compared.
        left_out: Group → why it could not be compared.
    """

    ratio: float
    bandwidth: float
    by_group: dict[str, GroupVendi] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def group_diversity_ratio(
    embeddings: Mapping[str, Array],
    random_embeddings: Mapping[str, Array],
    bandwidth: float,
    rng: np.random.Generator,
    *,
    limit: int = GROUP_LIMIT,
    minimum: int = GROUP_MINIMUM,
    draws: int = DRAWS,
) -> GroupDiversity:
    """Mean over groups of the set's Vendi score over that of as many random samples of the same group.

    Both sides are cut to one number of images, the smallest of both and `limit`, since the score grows with
    it; the scores are means over several such draws. A group with fewer than `minimum` images on either side
    says nothing and is left out of the mean, by name: an empty group does not count as a narrow one (it shows
    in the smallest share instead).

    Args:
        embeddings: Group → `(n, embedding_dim)` of the set.
        random_embeddings: Group → `(n, embedding_dim)` of random samples that the same judge put there.
        bandwidth: Of the Gaussian kernel (see `kernel_bandwidth`).
        rng: Source of the draws.
        limit: At most as many images a group.
        minimum: At least as many.
        draws: Random choices of images to average over.
    """
    by_group: dict[str, GroupVendi] = {}
    left_out: dict[str, str] = {}
    for name, rows in embeddings.items():
        random_rows = random_embeddings.get(name, rows[:0])
        samples = min(len(rows), len(random_rows), limit)
        reason = _left_out(len(rows), len(random_rows), minimum, bandwidth)
        if reason:
            left_out[name] = reason
            continue
        vendi = _mean_vendi(rows, samples, bandwidth, rng, draws)
        random_vendi = _mean_vendi(random_rows, samples, bandwidth, rng, draws)
        by_group[name] = GroupVendi(samples, vendi, random_vendi, vendi / random_vendi)
    ratio = float(np.mean([group.ratio for group in by_group.values()])) if by_group else math.nan
    return GroupDiversity(ratio, bandwidth, by_group, left_out)


def _left_out(images: int, random_samples: int, minimum: int, bandwidth: float) -> str | None:
    if not bandwidth > 0:
        return "expected random samples that differ, to set the kernel's bandwidth by"
    if min(images, random_samples) < minimum:
        return (
            f"expected at least {minimum} images on either side, "
            f"got {images} of the set and {random_samples} random samples"
        )
    return None


def _mean_vendi(rows: Array, samples: int, bandwidth: float, rng: np.random.Generator, draws: int) -> float:
    if len(rows) == samples:
        return vendi_score(rows, bandwidth)
    chosen = (rng.choice(len(rows), samples, replace=False) for _ in range(draws))
    return float(np.mean([vendi_score(rows[index], bandwidth) for index in chosen]))


def near_duplicates(
    embeddings: Array, random_embeddings: Array, quantile: float = DUPLICATE_QUANTILE
) -> float:
    """Share of images whose nearest neighbour in the set is closer than random samples' hardly ever are.

    Closer than the given quantile of nearest-neighbour distances among as many random samples: of random
    samples themselves, about that share is.

    Args:
        embeddings: `(n, embedding_dim)`.
        random_embeddings: At least n rows; the first n count, since distances shrink with their number.
        quantile: Which.

    Raises:
        InputError: Fewer random samples than images.
    """
    n = len(embeddings)
    if len(random_embeddings) < n:
        raise InputError(
            f"random samples: expected at least as many as images ({n}), got {len(random_embeddings)}"
        )
    if n < 2:
        return math.nan
    threshold = duplicate_distance(random_embeddings[:n], quantile)
    return float((nearest_distances(embeddings) < threshold).mean())
