"""Whether images of an identity look alike, to an embedding that is not the guide's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qdgs.errors import InputError
from qdgs.fairness.intervals import Array, Estimate, finite, proportion
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.roc import roc_curve
from qdgs.recognition.verification import squared_distances

THUMB = 16
CHUNK = 1024
MOST_PAIRS = 200_000


@dataclass(frozen=True)
class Purity:
    """How pure identities are.

    Attributes:
        images: Images looked at.
        identities: Their identities.
        nearest: Share of images whose nearest other image is of their identity, with its interval.
        equal_error_rate: Of telling pairs of one identity from pairs of two by their distance; 0 where they
            are told apart without a mistake, a half where an identity means nothing to the embedding.
    """

    images: int
    identities: int
    nearest: Estimate
    equal_error_rate: float

    def to_json(self) -> dict[str, Any]:
        """Plain types; NaN becomes null."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


def identity_purity(
    embeddings: Array,
    identities: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    sources: NDArray[np.int64] | None = None,
) -> Purity:
    """How pure identities are to an embedding.

    Args:
        embeddings: Unit vectors `(n, embedding_dim)`.
        identities: Number of each image's identity, `(n,)`.
        rng: Chooses pairs, at most `MOST_PAIRS` of each kind.
        sources: Number of the latent that each image is of, `(n,)`. Images of one latent are then not
            compared with each other, and identities of a single latent left out: how much alike are an
            identity's latents?

    Raises:
        InputError: There are fewer than two identities, or one has a single image.
    """
    if sources is not None:
        several = _with_several(identities, sources)
        embeddings, identities, sources = embeddings[several], identities[several], sources[several]
    names, counts = np.unique(identities, return_counts=True)
    fewest = int(counts.min()) if len(counts) else 0
    if len(names) < 2 or fewest < 2:
        raise InputError(
            f"identities: expected at least two with two images or more, got {len(names)}, the smallest with "
            f"{fewest}"
        )
    right = int((identities[_nearest(embeddings, sources)] == identities).sum())
    first, second = _pairs(identities, rng, sources)
    distances = squared_distances(embeddings[first], embeddings[second])
    rate = roc_curve(distances, identities[first] == identities[second]).equal_error()[1]
    return Purity(len(identities), len(names), proportion(right, len(identities)), rate)


def thumbnails(pixels: Pixels) -> Array:
    """Unit vectors `(n, 768)` of images: pixels at 16×16 less their mean; no network."""
    small = [cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA) for image in pixels]
    values = np.stack(small).reshape(len(pixels), -1).astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    unit: Array = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return unit


def _with_several(identities: NDArray[np.int64], sources: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images are of an identity with several sources."""
    pairs = np.unique(np.column_stack([identities, sources]), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(identities, names[counts > 1])


def _nearest(embeddings: Array, sources: NDArray[np.int64] | None) -> NDArray[np.intp]:
    """Place of the nearest other vector of each, `(n,)`, of another source where these are known."""
    found = []
    for start in range(0, len(embeddings), CHUNK):
        likeness = embeddings[start : start + CHUNK] @ embeddings.T
        rows = np.arange(len(likeness))
        if sources is None:
            likeness[rows, start + rows] = -np.inf
        else:
            likeness[sources[start + rows][:, None] == sources] = -np.inf
        found.append(likeness.argmax(axis=1))
    return np.concatenate(found)


def _pairs(
    identities: NDArray[np.int64], rng: np.random.Generator, sources: NDArray[np.int64] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of one identity, and by chance as many of two."""
    order = np.argsort(identities, kind="stable")
    starts = np.flatnonzero(np.diff(identities[order], prepend=identities[order][0] - 1))
    members = np.split(order, starts[1:])
    places = [np.column_stack(np.triu_indices(len(some), 1)) for some in members]
    same = np.concatenate([pairs + start for pairs, start in zip(places, starts, strict=True)])
    if sources is not None:
        same = same[sources[order[same[:, 0]]] != sources[order[same[:, 1]]]]
    if len(same) > MOST_PAIRS:
        same = same[rng.choice(len(same), MOST_PAIRS, replace=False)]
    first = order[same[:, 0]]
    different = _different(identities, len(same), rng)
    return np.concatenate([first, different[0]]), np.concatenate([order[same[:, 1]], different[1]])


def _different(identities: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Pairs of two identities, `(2, n)`, at least one: few images may at first be drawn with their own."""
    while True:
        drawn = rng.integers(0, len(identities), (2, 2 * most))
        found: NDArray[np.intp] = drawn[:, identities[drawn[0]] != identities[drawn[1]]][:, :most]
        if found.size:
            return found
