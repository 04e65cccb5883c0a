"""Hyperplanes between the values of an attribute in a generator's latents, and moves relative to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from qdgs.errors import InputError

Array = NDArray[np.float64]

MAX_ITERATIONS = 20_000


@dataclass(frozen=True, eq=False)
class Hyperplane:
    """The boundary w·z + b = 0 between an attribute's two values, the second on the positive side.

    Attributes:
        normal: w `(latent_dim,)`, a unit vector.
        offset: b, scaled with w.
        accuracy: Share of held-out latents on the right side; NaN where none were held out.
    """

    normal: Array
    offset: float
    accuracy: float = float("nan")

    def distance(self, latents: Array) -> Array:
        """Signed distances w·z + b `(n,)` of latents `(n, latent_dim)`."""
        distances: Array = latents @ self.normal + self.offset
        return distances


def fit_hyperplane(
    latents: Array,
    positive: NDArray[np.bool_],
    *,
    training: int,
    seed: int,
    name: str,
    regularization: float = 1.0,
) -> Hyperplane:
    """A linear support vector machine on the first latents, tested on the rest.

    Args:
        latents: `(n, latent_dim)`.
        positive: Which of them have the second value, `(n,)`.
        training: How many to learn from.
        seed: Of the order in which they are visited.
        name: Of the attribute, for the error.
        regularization: C of the machine.

    Raises:
        InputError: The latents to learn from all have one value: no hyperplane divides them.
    """
    learned, known = latents[:training], positive[:training]
    if len(learned) == 0 or known.all() or not known.any():
        raise InputError(
            f"{name}: expected latents of both values to find a hyperplane between, got {int(known.sum())} "
            f"of the second among {len(known)}; the judge labels all alike, or draw more samples"
        )
    machine = LinearSVC(C=regularization, dual="auto", max_iter=MAX_ITERATIONS, random_state=seed)
    machine.fit(learned, known)
    normal = machine.coef_[0].astype(np.float64)
    length = float(np.linalg.norm(normal))
    plane = Hyperplane(normal / length, float(machine.intercept_[0]) / length)
    rest, truth = latents[training:], positive[training:]
    right = (plane.distance(rest) > 0) == truth
    return Hyperplane(plane.normal, plane.offset, float(right.mean()) if len(rest) else float("nan"))


def cosines(planes: Mapping[str, Hyperplane], who: str) -> tuple[str, ...]:
    """How far the normals of two attributes each are one direction, a sentence for each pair."""
    return tuple(
        f"cosine between the {who} of {one} and {other}: {plane.normal @ second.normal:.2f}"
        for (one, plane), (other, second) in itertools.combinations(planes.items(), 2)
    )


def moved(latents: Array, normals: Sequence[Array], changes: Array) -> Array:
    """The nearest latents whose coordinates along the normals differ by the changes.

    z' = z + N⁺·Δ with the normals as rows of N: Nz' = Nz + Δ, by the shortest way. Where one coordinate alone
    changes, that is a step along its normal less that normal's projection on the others: the conditional
    direction of InterFaceGAN.

    Args:
        latents: `(n, latent_dim)`.
        normals: k unit vectors `(latent_dim,)`, linearly independent.
        changes: `(n, k)`.

    Raises:
        InputError: The normals depend on one another, so that they cannot be moved along apart.

    References:
        Shen, Yang, Tang and Zhou (2020), InterFaceGAN, section 3.2 (conditional manipulation).
    """
    matrix = np.stack(list(normals))
    if np.linalg.svd(matrix, compute_uv=False)[-1] < 1e-6:
        raise InputError(
            "attributes: expected directions that can be told apart, got the same one for two of them; "
            "label one of them alone"
        )
    result: Array = latents + changes @ np.linalg.pinv(matrix).T
    return result
