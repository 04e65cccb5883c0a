"""Matched pairs: partners that differ in one attribute alone, and what that does to the model's answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t
from torch import Tensor

from qdgs.errors import InputError
from qdgs.fairness.intervals import LEVEL, Array, Estimate, proportion
from qdgs.probe.answers import Answers
from qdgs.probe.samples import Parts, Pool, ProbeSet
from qdgs.samplers.hyperplanes import Hyperplane, fit_hyperplane, moved

Codes = NDArray[np.int64]
Read = Callable[[Tensor], pd.DataFrame]
STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""How far beyond the boundary a partner is tried, relative to the image's own distance before it (1 reflects),
at least in tenths of the standard deviation of distances."""

KEPT, REJECTED, UNCHANGED, OTHERS = "kept", "rejected", "unchanged", "others changed"
OUTCOMES = (KEPT, REJECTED, UNCHANGED, OTHERS)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Partners along one attribute.

    Attributes:
        attribute: Which.
        base: Position of each kept pair's first image in the probe set `(n,)`.
        latents: Of their partners `(n, latent_dim)`.
        low: Whether the partner has the lower value of the two `(n,)`.
        outcomes: What became of every image that a partner was sought for, `KEPT` and why not else, with counts.
    """

    attribute: str
    base: Codes
    latents: Tensor
    low: NDArray[np.bool_]
    outcomes: dict[str, int]

    def __len__(self) -> int:
        return len(self.base)


@dataclass(frozen=True)
class PairEffect:
    """What changing one attribute alone does to the model.

    Attributes:
        attribute: Which.
        sought: Images that a partner was sought for.
        kept: Pairs that the judge confirms.
        dropped: Why the others fell away → how many.
        flips: Share of pairs of which the model's answers differ.
        answer: The answer that moves most in the mean.
        change: Mean change of its probability from the lower to the higher value.
        p: Of a change of 0, from Student's t over pairs; 1 below two pairs.
    """

    attribute: str
    sought: int
    kept: int
    dropped: dict[str, int]
    flips: Estimate
    answer: str
    change: Estimate
    p: float


class Matcher:
    """Finds partners along directions of the latents that move one attribute and hold the others.

    Directions are linear and attributes are not: a partner is tried a little beyond the boundary, then further,
    and counts where the judges confirm it. They read another value of the attribute, the same of all others,
    and no other score that moved by more than the tolerance.

    Args:
        pool: Random samples that the directions are learned from.
        values: Attribute → its values.
        read: Latents → what the judges read of their images.
        tolerance: In standard deviations of a score among random samples.
        seed: Of the support vector machines.

    Raises:
        InputError: Random samples do not show two values of an attribute.

    References:
        Ramaswamy, Kim and Russakovsky (2021), Fair attribute classification through latent space de-biasing,
        section 3 (partners); Shen, Yang, Tang and Zhou (2020), InterFaceGAN (conditional directions).
    """

    def __init__(
        self, pool: Pool, values: dict[str, tuple[str, ...]], read: Read, *, tolerance: float, seed: int
    ) -> None:
        self.values = values
        self._read = read
        codes = pool.codes(values)
        if not (codes >= 0).any():
            raise InputError("pairs: expected random samples that the judges agree on, got none")
        known = pool.read[codes >= 0]
        latents = pool.latents[torch.from_numpy(codes >= 0)].double().numpy()
        self.planes = {name: _plane(latents, known[f"{name}_score"], name, seed) for name in values}
        self._spread = {name: float(plane.distance(latents).std()) for name, plane in self.planes.items()}
        scores = known[[f"{name}_score" for name in values]].astype(float)
        self._allowed = tolerance * scores.std(ddof=0)

    def match(self, attribute: str, latents: Tensor, read: pd.DataFrame) -> Pairs:
        """Seek a partner for each of some images.

        Args:
            attribute: What is to change.
            latents: `(n, latent_dim)`.
            read: What the judges read of them.
        """
        z = latents.double().numpy()
        outcome = np.array([UNCHANGED] * len(z), dtype=object)
        partners, low = latents.clone(), np.zeros(len(z), dtype=bool)
        for step in STEPS:
            left = np.flatnonzero(outcome != KEPT)
            if not len(left):
                break
            tried = torch.from_numpy(self._moved(attribute, z[left], step).astype(np.float32))
            told = self._read(tried)
            result = self._outcomes(attribute, read.iloc[left].reset_index(drop=True), told)
            outcome[left] = np.where(result == UNCHANGED, outcome[left], result)
            kept = result == KEPT
            partners[torch.from_numpy(left[kept])] = tried[torch.from_numpy(kept)]
            low[left[kept]] = self._is_lower(attribute, read.iloc[left[kept]], told[kept])
        found = np.flatnonzero(outcome == KEPT)
        counts = {name: int((outcome == name).sum()) for name in OUTCOMES}
        return Pairs(attribute, found, partners[torch.from_numpy(found)], low[found], counts)

    def _moved(self, attribute: str, z: Array, step: float) -> Array:
        names = [attribute, *(name for name in self.planes if name != attribute)]
        distance = self.planes[attribute].distance(z)
        least = 0.1 * self._spread[attribute]
        beyond = step * np.maximum(np.abs(distance), least)
        changes = np.zeros((len(z), len(names)))
        changes[:, 0] = -np.where(distance >= 0, 1, -1) * (np.abs(distance) + beyond)
        return moved(z, [self.planes[name].normal for name in names], changes)

    def _outcomes(self, attribute: str, before: pd.DataFrame, after: pd.DataFrame) -> NDArray[np.object_]:
        known = after[attribute].isin(self.values[attribute]).to_numpy()
        changed = known & (after[attribute].astype(object) != before[attribute].astype(object)).to_numpy()
        same = np.ones(len(after), dtype=bool)
        for name in self.values:
            if name != attribute:
                score = f"{name}_score"
                same &= (after[name].astype(object) == before[name].astype(object)).to_numpy()
                shift = (after[score] - before[score]).abs().to_numpy(float)
                same &= np.nan_to_num(shift, nan=np.inf) <= self._allowed[score]
        accepted = after["accepted"].to_numpy(bool)
        told = np.where(~accepted, REJECTED, np.where(~changed, UNCHANGED, np.where(same, KEPT, OTHERS)))
        return told.astype(object)

    def _is_lower(
        self, attribute: str, before: pd.DataFrame, after: pd.DataFrame
    ) -> NDArray[np.bool_]:
        values = pd.Index(self.values[attribute])
        places = [values.get_indexer(pd.Index(frame[attribute], dtype=object)) for frame in (before, after)]
        lower: NDArray[np.bool_] = places[1] < places[0]
        return lower


def match_pairs(parts: Parts, pool: Pool, probe_set: ProbeSet, *, seed: int) -> list[Pairs]:
    """Partners of the probe set's images along every attribute.

    Args:
        parts: Generator and judges.
        pool: Random samples.
        probe_set: Where the first images come from, every group in turn.
        seed: Of the support vector machines.
    """
    settings = parts.config.pairs
    assert settings is not None
    matcher = Matcher(
        pool, dict(parts.attributes), parts.read, tolerance=settings.tolerance, seed=seed
    )
    rows = in_turn(probe_set.codes)[: settings.images]
    latents = probe_set.latents[torch.from_numpy(rows)]
    read = parts.read(latents)
    found = []
    for attribute in parts.attributes:
        pairs = matcher.match(attribute, latents, read)
        found.append(
            Pairs(attribute, rows[pairs.base], pairs.latents, pairs.low, pairs.outcomes)
        )
    return found


def in_turn(codes: Codes) -> Codes:
    """Rows `(n,)` in an order in which every group comes in turn, so that the first ones are balanced."""
    ranks = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    order: Codes = np.lexsort((codes, ranks)).astype(np.int64)
    return order


def pair_effect(
    pairs: Pairs, first: Answers, second: Answers, *, level: float = LEVEL
) -> PairEffect:
    """What the model makes of pairs.

    Pairs of which the model failed on either image do not count.

    Args:
        pairs: Kept pairs.
        first: Answers of their first images.
        second: Answers of their partners.
        level: Coverage of the intervals.
    """
    both = ~(first.failed | second.failed)
    flips = first.given[both] != second.given[both]
    sign = np.where(pairs.low[both], -1.0, 1.0)[:, None]
    changes = sign * (second.probabilities[both] - first.probabilities[both])
    dropped = {name: count for name, count in pairs.outcomes.items() if name != KEPT and count}
    if len(flips) < len(pairs):
        dropped["the model failed"] = len(pairs) - len(flips)
    means = changes.mean(axis=0) if len(changes) else np.full(len(first.values), math.nan)
    # of two answers, which mirror each other, the second
    answer = len(means) - 1 if len(means) == 2 or not len(changes) else int(np.abs(means).argmax())
    change, p = _mean(changes[:, answer], level)
    return PairEffect(
        attribute=pairs.attribute,
        sought=sum(pairs.outcomes.values()),
        kept=len(flips),
        dropped=dropped,
        flips=proportion(int(flips.sum()), len(flips), level),
        answer=first.values[answer],
        change=change,
        p=p,
    )


def pairs_table(effects: Sequence[PairEffect]) -> pd.DataFrame:
    """The content of pairs.csv."""
    rows = [
        {
            "attribute": effect.attribute,
            "sought": effect.sought,
            "kept": effect.kept,
            **{name.replace(" ", "_"): effect.dropped.get(name, 0) for name in OUTCOMES[1:]},
            "flip_rate": effect.flips.value,
            "flip_low": effect.flips.low,
            "flip_high": effect.flips.high,
            "answer": effect.answer,
            "change": effect.change.value,
            "change_low": effect.change.low,
            "change_high": effect.change.high,
            "p": effect.p,
        }
        for effect in effects
    ]
    return pd.DataFrame(rows)


def _plane(latents: Array, scores: pd.Series, name: str, seed: int) -> Hyperplane:
    """Between the lower and the upper half of an attribute's scores."""
    numbers = scores.to_numpy(float, na_value=np.nan)
    there = np.isfinite(numbers)
    above = numbers[there] > np.median(numbers[there]) if there.any() else np.zeros(0, dtype=bool)
    return fit_hyperplane(latents[there], above, training=int(there.sum()), seed=seed, name=name)


def _mean(numbers: Array, level: float) -> tuple[Estimate, float]:
    n = len(numbers)
    if n == 0:
        return Estimate(math.nan), 1.0
    mean = float(numbers.mean())
    if n < 2:
        return Estimate(mean), 1.0
    error = float(numbers.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return Estimate(mean, mean, mean), float(mean == 0)
    half = float(student_t.ppf(0.5 + level / 2, n - 1)) * error
    return Estimate(mean, mean - half, mean + half), float(2 * student_t.sf(abs(mean) / error, n - 1))
