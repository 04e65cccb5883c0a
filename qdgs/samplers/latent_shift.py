"""Latent shift: random latents moved into every group, and a mixture of Gaussians fitted to each."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from qdgs.datasets.groups import exact_counts
from qdgs.errors import InputError
from qdgs.samplers.base import BaseSampler, Problem, judged_samples, sample_rows
from qdgs.samplers.hyperplanes import Array, Hyperplane, cosines, fit_hyperplane, moved


class LatentShiftSampler(BaseSampler):
    """Groups as Gaussian mixtures in the latents of a generator, none of whose weights change.

    Of each attribute, a direction n: the unit normal of a linear support vector machine on the samples that
    the judge scores highest and lowest. Every latent is moved to every group, to n·w' = ±s along each
    attribute's direction by the shortest way; for one attribute that is w' = w + (s − n·w)·n. A mixture is
    fitted to the latents of each group, and a set is drawn from the mixtures by the target's shares.

    Ours where the paper does not say: several attributes are moved along conditional directions, all at once,
    so that none undoes another; values between the first and the last of an attribute lie evenly between −s
    and s; samples that the judge cannot read teach nothing; ten components; as many latents a mixture as are
    readable. The bias of the machine is not kept, as published: s counts from the origin.

    Args:
        samples: Judged samples to learn from.
        extreme: Share of them at either end of an attribute's score that the direction is learned from.
        training: Share of those that are learned from; the rest test.
        distance: s.
        components: Gaussians a group, each with a full covariance; fewer where a group has few latents.

    References:
        Tan, Shen and Zhou (2020), Improving the fairness of deep generative models without retraining,
        arXiv 2012.04842; Shen, Yang, Tang and Zhou (2020), InterFaceGAN (conditional directions).
    """

    paper = "Tan et al. 2020"
    quick: ClassVar[Mapping[str, Any]] = {"samples": 1200, "components": 2}

    def __init__(
        self,
        *,
        samples: int = 10_000,
        extreme: float = 0.02,
        training: float = 0.7,
        distance: float = 3.0,
        components: int = 10,
    ) -> None:
        super().__init__()
        if not 0 < extreme <= 0.5:
            raise InputError(f"extreme: expected a share above 0 and of at most 0.5, got {extreme:g}")
        self.samples, self.extreme, self.training = samples, extreme, training
        self.distance, self.components = distance, components
        self.directions: dict[str, Hyperplane] = {}
        self.mixtures: dict[str, GaussianMixture] = {}
        self.shares: dict[str, float] = {}

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Learn a direction for every attribute and a mixture for every group that is wanted.

        Raises:
            InputError: The judge labels all samples alike, or there are too few for a mixture.
        """
        self._begin(problem)
        with self._meter.timed():
            latents = problem.generator.sample_latents(self.samples, rng)
            read = judged_samples(problem, problem.generator, latents, self._meter)
            z, seed = latents.double().numpy(), int(rng.integers(2**31))
            self.directions = self._directions(z, read, seed)
            wanted = [group for group, share in problem.shares.items() if share > 0]
            self.mixtures = {
                group: self._mixture(self._latents_for(group, z, read), group, seed) for group in wanted
            }
            self.shares = self._settled(rng)
        self.notes = self._told()

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draw n latents from the mixtures, of each as many as its share says."""
        problem = self.problem
        with self._meter.timed():
            counts = exact_counts(self.shares, n)
            drawn = [drawn_from(self.mixtures[group], counts[group], rng) for group in self.mixtures]
            values = [_values(problem, group, counts[group]) for group in self.mixtures]
            order = rng.permutation(sum(map(len, drawn)))
            latents = torch.from_numpy(np.concatenate(drawn)[order].astype(np.float32))
            self._meter.count(generator_calls=len(latents), forwards=len(latents))  # nobody has seen them yet
            return sample_rows(problem, latents, pd.concat(values, ignore_index=True).iloc[order])

    def shifted(self, latents: Array, group: str) -> Array:
        """Latents `(n, latent_dim)` moved to a group: n·w' = the signed distance of its value, exactly."""
        wanted = _signed(self.problem, group, self.distance)
        normals = [plane.normal for plane in self.directions.values()]
        changes = wanted[None] - latents @ np.stack(normals).T
        return moved(latents, normals, changes)

    def _latents_for(self, group: str, z: Array, read: pd.DataFrame) -> Array:
        """What the mixture of a group is fitted to."""
        return self.shifted(z[self.problem.codes_of(read) >= 0], group)

    def _settled(self, rng: np.random.Generator) -> dict[str, float]:
        """The share of a set that is drawn from each mixture."""
        return {group: self.problem.shares[group] for group in self.mixtures}

    def _directions(self, z: Array, read: pd.DataFrame, seed: int) -> dict[str, Hyperplane]:
        attributes = self.problem.attributes
        return {name: self._direction(z, read, name, values, seed) for name, values in attributes.items()}

    def _direction(
        self, z: Array, read: pd.DataFrame, name: str, values: tuple[str, ...], seed: int
    ) -> Hyperplane:
        told = read[name].isin(values).to_numpy() & np.isfinite(read[f"{name}_score"].to_numpy(float))
        found = sorted(set(read.loc[told, name]))
        scores = read[f"{name}_score"].to_numpy(float)[told]
        if len(found) < 2 or scores.min() == scores.max():
            raise InputError(
                f"{name}: expected samples of several values to find a direction between, got "
                f"{', '.join(found) or 'none'} alone among {int(told.sum())} of {len(z)} that the judge can "
                "read; the judge labels all alike, or draw more samples"
            )
        chosen, positive = _extremes(scores, max(2, round(self.extreme * len(scores))))
        order = np.random.default_rng(seed).permutation(len(chosen))
        chosen, positive = np.flatnonzero(told)[chosen[order]], positive[order]
        training = round(self.training * len(order))
        self._meter.count(trained_on=training)
        return fit_hyperplane(z[chosen], positive, training=training, seed=seed, name=name)

    def _mixture(self, latents: Array, group: str, seed: int) -> GaussianMixture:
        dimension = latents.shape[1]
        if len(latents) <= dimension:
            raise InputError(
                f"{group}: expected more readable samples than a latent has dimensions ({dimension}) to fit "
                f"a mixture to, got {len(latents)}; draw more samples"
            )
        components = min(self.components, len(latents) // (dimension + 1))
        self._meter.count(trained_on=len(latents))
        mixture = GaussianMixture(components, covariance_type="full", random_state=seed)
        with warnings.catch_warnings():
            # an unfinished last digit of the likelihood changes no sample that anyone would notice
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(latents)
        return mixture

    def _told(self) -> tuple[str, ...]:
        accuracies = (f"{name} {plane.accuracy:.1%}" for name, plane in self.directions.items())
        return (
            f"held-out accuracy of the directions: {', '.join(accuracies)}",
            *cosines(self.directions, "directions"),
        )


def _extremes(scores: Array, count: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Positions of the lowest and highest scores, and which of them are high."""
    order = np.argsort(scores, kind="stable")
    count = min(count, len(scores) // 2)
    chosen = np.concatenate([order[:count], order[len(order) - count :]])
    return chosen, np.arange(2 * count) >= count


def _signed(problem: Problem, group: str, distance: float) -> Array:
    """The signed distance of each attribute's value: −s for the first, s for the last."""
    places = _places(problem)[group]
    ends = [len(values) - 1 for values in problem.attributes.values()]
    return np.array(
        [distance * (2 * place / end - 1 if end else 1.0) for place, end in zip(places, ends, strict=True)]
    )


def _places(problem: Problem) -> dict[str, tuple[int, ...]]:
    ranges = [range(len(values)) for values in problem.attributes.values()]
    return dict(zip(problem.groups, itertools.product(*ranges), strict=True))


def _values(problem: Problem, group: str, n: int) -> pd.DataFrame:
    places = _places(problem)[group]
    pairs = zip(problem.attributes.items(), places, strict=True)
    return pd.DataFrame({name: [values[place]] * n for (name, values), place in pairs})


def drawn_from(mixture: GaussianMixture, n: int, rng: np.random.Generator) -> Array:
    """Draw n latents `(n, latent_dim)` from a mixture by a generator of ours."""
    which = rng.choice(len(mixture.weights_), size=n, p=mixture.weights_)
    noise = rng.standard_normal((n, mixture.means_.shape[1]))
    drawn: Array = mixture.means_[which]
    for component, root in enumerate(np.linalg.cholesky(mixture.covariances_)):
        rows = which == component
        drawn[rows] += noise[rows] @ root.T
    return drawn
