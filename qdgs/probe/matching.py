"""Finding partners: along directions of the latents, or among neighbours moved towards each other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from qdgs.errors import InputError
from qdgs.fairness.intervals import Array
from qdgs.probe.pairs import KEPT, OTHERS, UNCHANGED, Confirmation, Pairs, is_lower
from qdgs.probe.samples import Parts, Pool, ProbeSet
from qdgs.samplers.hyperplanes import Hyperplane, fit_hyperplane, moved

Codes = NDArray[np.int64]
Read = Callable[[Tensor], pd.DataFrame]
STEPS = (1.0, 2.0, 3.0)
"""How far beyond the boundary a partner is tried, relative to the image's own distance (1 reflects)."""

SHORTENED = (0.25, 0.5, 0.75)
"""Where between two neighbours a nearer partner is tried, as a share of the way from the one to the other."""

TRIED = 36
ENOUGH = 1 / 3
FAR = 1e6


class Directions:
    """Partners along directions of the latents that move one attribute and hold the others.

    Directions are linear and attributes are not: a partner is tried at the mirrored distance from the
    boundary, then further, and counts where the judges confirm it.

    Args:
        pool: Random samples that the directions are learned from.
        read: Latents → what the judges read of their images.
        confirmation: When two images are a pair.
        seed: Of the support vector machines.

    Raises:
        InputError: Random samples do not show two values of an attribute.

    References:
        Ramaswamy, Kim and Russakovsky (2021), Fair attribute classification through latent space de-biasing,
        section 3 (partners); Shen, Yang, Tang and Zhou (2020), InterFaceGAN (conditional directions).
    """

    def __init__(self, pool: Pool, read: Read, confirmation: Confirmation, *, seed: int) -> None:
        self._read = read
        self._confirmation = confirmation
        values = confirmation.values
        known = pool.codes(values) >= 0
        latents = pool.latents[torch.from_numpy(known)].double().numpy()
        told = pool.read[known]
        self.planes = {name: _plane(latents, told[f"{name}_score"], name, seed) for name in values}

    def match(self, attribute: str, latents: Tensor, read: pd.DataFrame) -> Pairs:
        """Seek a partner for each of some images.

        Args:
            attribute: What is to change.
            latents: `(n, latent_dim)`.
            read: What the judges read of them.
        """
        z = latents.double().numpy()
        outcome = np.array([UNCHANGED] * len(z), dtype=object)
        partners, lower = latents.clone(), np.zeros(len(z), dtype=bool)
        for step in STEPS:
            left = np.flatnonzero(outcome != KEPT)
            if not len(left):
                break
            tried = torch.from_numpy(self.moved(attribute, z[left], step).astype(np.float32))
            before, after = read.iloc[left].reset_index(drop=True), self._read(tried)
            result = self._confirmation.outcomes(attribute, before, after)
            outcome[left] = np.where(result == UNCHANGED, outcome[left], result)
            kept = result == KEPT
            partners[torch.from_numpy(left[kept])] = tried[torch.from_numpy(kept)]
            values = self._confirmation.values[attribute]
            lower[left] = is_lower(values, before[attribute], after[attribute])
        found = np.flatnonzero(outcome == KEPT)
        swap = torch.from_numpy(lower[found])[:, None]
        first, second = latents[torch.from_numpy(found)], partners[torch.from_numpy(found)]
        low, high = torch.where(swap, second, first), torch.where(swap, first, second)
        return Pairs(attribute, low, high, Counter(outcome.tolist()), "directions of the latents")

    def moved(self, attribute: str, z: Array, step: float) -> Array:
        """Latents `(n, latent_dim)` at `step` times their distance on the other side of the boundary."""
        names = [attribute, *(name for name in self.planes if name != attribute)]
        changes = np.zeros((len(z), len(names)))
        changes[:, 0] = -(1 + step) * self.planes[attribute].distance(z)
        return moved(z, [self.planes[name].normal for name in names], changes)


class Neighbours:
    """Pairs of judged images with different values of one attribute, everything else alike, each image once.

    Of all images at hand with the two values those are matched that are nearest to each other in the latents
    in the mean (the assignment problem), among images that are a pair already. Then the second is moved
    towards the first as far as the judges still confirm the pair, so that what no judge reads differs less.

    Args:
        latents: Of all judged images `(n, latent_dim)`.
        read: What the judges read of them.
        reader: Latents → what the judges read of their images.
        confirmation: When two images are a pair.
    """

    def __init__(self, latents: Tensor, read: pd.DataFrame, reader: Read, confirmation: Confirmation) -> None:
        self._latents = latents
        self._told = read.reset_index(drop=True)
        self._read = reader
        self._confirmation = confirmation

    def match(self, attribute: str, most: int) -> Pairs:
        """At most so many pairs, every combination of the other attributes in turn."""
        first, second, unmatched = self._matched(attribute, most)
        low, high = self._latents[torch.from_numpy(first)], self._latents[torch.from_numpy(second)]
        read = self._told.iloc[first].reset_index(drop=True)
        high = self._nearer(attribute, low, high, read)
        outcomes = Counter({KEPT: len(first), OTHERS: unmatched})
        return Pairs(attribute, low, high, outcomes, "neighbours")

    def _matched(self, attribute: str, most: int) -> tuple[Codes, Codes, int]:
        """Rows with the lower and the higher value, and how many of the rarer value found no partner."""
        parts, unmatched = [], 0
        for rows in self._strata(attribute):
            found, lost = self._assigned(attribute, *rows)
            parts.append(found)
            unmatched += lost
        order = np.concatenate([np.arange(len(part)) for part in parts] or [np.zeros(0, int)])
        pairs = np.concatenate(parts or [np.zeros((0, 2), np.int64)])[np.argsort(order, kind="stable")]
        return pairs[:most, 0], pairs[:most, 1], unmatched

    def _strata(self, attribute: str) -> Iterator[tuple[Codes, Codes]]:
        """Rows of two neighbouring values of the attribute that agree in all others."""
        values = self._confirmation.values
        others = [name for name in values if name != attribute]
        keys = pd.Series([""] * len(self._told)) if not others else self._told[others].agg("/".join, axis=1)
        names = values[attribute]
        for _, rows in keys.groupby(keys).groups.items():
            of = self._told.loc[rows, attribute]
            for low, high in itertools.pairwise(names):
                sides = (of.index[of == value].to_numpy(np.int64, copy=True) for value in (low, high))
                yield next(sides), next(sides)

    def _assigned(self, attribute: str, low: Codes, high: Codes) -> tuple[Codes, int]:
        if not len(low) or not len(high):
            return np.zeros((0, 2), np.int64), 0
        cost = torch.cdist(self._latents[torch.from_numpy(low)], self._latents[torch.from_numpy(high)])
        allowed = self._allowed(attribute, low, high)
        weights = np.where(allowed, cost.double().numpy(), FAR)
        at = np.stack(linear_sum_assignment(weights), axis=1)
        kept = at[allowed[at[:, 0], at[:, 1]]]
        nearest = kept[np.argsort(weights[kept[:, 0], kept[:, 1]], kind="stable")]
        return np.stack([low[nearest[:, 0]], high[nearest[:, 1]]], axis=1), len(at) - len(kept)

    def _allowed(self, attribute: str, low: Codes, high: Codes) -> NDArray[np.bool_]:
        """Which hold already `(low, high)`: this score differs by enough, no other by more than it may."""
        allowed = np.ones((len(low), len(high)), dtype=bool)
        for name in self._confirmation.values:
            scores = self._told[f"{name}_score"].to_numpy(float)
            shift = np.abs(scores[low][:, None] - scores[high][None, :])
            if name == attribute:
                allowed &= shift >= self._confirmation.needed[f"{name}_score"]
            else:
                allowed &= shift <= self._confirmation.allowed[f"{name}_score"]
        return allowed

    def _nearer(self, attribute: str, low: Tensor, high: Tensor, read: pd.DataFrame) -> Tensor:
        """The second images as near to the first ones as the judges confirm."""
        nearer, left = high.clone(), np.arange(len(low))
        for share in SHORTENED:
            if not len(left):
                break
            rows = torch.from_numpy(left)
            tried = between(low[rows], high[rows], share)
            before = read.iloc[left].reset_index(drop=True)
            kept = self._confirmation.outcomes(attribute, before, self._read(tried)) == KEPT
            nearer[torch.from_numpy(left[kept])] = tried[torch.from_numpy(kept)]
            left = left[~kept]
        return nearer


def match_pairs(parts: Parts, pool: Pool, probe_set: ProbeSet, *, seed: int) -> list[Pairs]:
    """Matched pairs along every attribute.

    Args:
        parts: Generator and judges.
        pool: Random samples.
        probe_set: Balanced images; partners are sought for these, every group in turn.
        seed: Of the support vector machines.

    Raises:
        InputError: The judges agree on no random sample.
    """
    settings, values = parts.config.pairs, dict(parts.attributes)
    assert settings is not None
    known = pool.codes(values) >= 0
    if not known.any():
        raise InputError("pairs: expected random samples that the judges agree on, got none")
    confirmation = Confirmation.of_samples(values, pool.read[known], settings.tolerance)
    rows = in_turn(probe_set.codes)
    latents = probe_set.latents[torch.from_numpy(rows)]
    read = probe_set.read.iloc[rows].reset_index(drop=True)
    method = settings.method
    directions = Directions(pool, parts.read, confirmation, seed=seed) if method != "neighbours" else None
    if directions is not None and (method == "directions" or _good(directions, values, latents, read)):
        n = settings.images
        return [directions.match(name, latents[:n], read.iloc[:n]) for name in values]
    every = torch.cat([latents, pool.latents[torch.from_numpy(known)]])
    told = pd.concat([read, pool.read[known]], ignore_index=True)
    every, told = _distinct(every, told)
    neighbours = Neighbours(every, told, parts.read, confirmation)
    return [neighbours.match(name, settings.images) for name in values]


def between(low: Tensor, high: Tensor, share: float) -> Tensor:
    """Latents a share of the way from the one to the other, with norms between theirs.

    On the straight line Gaussian latents would leave the shell where the prior has them.
    """
    straight = torch.lerp(low, high, share)
    norms = torch.lerp(low.norm(dim=1), high.norm(dim=1), share)
    scaled: Tensor = straight * (norms / straight.norm(dim=1).clamp_min(1e-9))[:, None]
    return scaled


def in_turn(codes: Codes) -> Codes:
    """Rows `(n,)` in an order in which every group comes in turn, so that the first ones are balanced."""
    ranks = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    order: Codes = np.lexsort((codes, ranks)).astype(np.int64)
    return order


def _good(
    directions: Directions, values: dict[str, tuple[str, ...]], latents: Tensor, read: pd.DataFrame
) -> bool:
    """Whether enough of the first few images get a partner along every attribute."""
    tried = [directions.match(name, latents[:TRIED], read.iloc[:TRIED]) for name in values]
    return all(len(pairs) >= ENOUGH * min(TRIED, len(latents)) for pairs in tried)


def _distinct(latents: Tensor, read: pd.DataFrame) -> tuple[Tensor, pd.DataFrame]:
    """Every image once: those of the probe set may come from the pool."""
    _, first = np.unique(latents.numpy(), axis=0, return_index=True)
    rows = np.sort(first)
    return latents[torch.from_numpy(rows)], read.iloc[rows].reset_index(drop=True)


def _plane(latents: Array, scores: pd.Series, name: str, seed: int) -> Hyperplane:
    """Between the lower and the upper half of an attribute's scores."""
    numbers = scores.to_numpy(float, na_value=np.nan)
    there = np.isfinite(numbers)
    above = numbers[there] > np.median(numbers[there]) if there.any() else np.zeros(0, dtype=bool)
    return fit_hyperplane(latents[there], above, training=int(there.sum()), seed=seed, name=name)
