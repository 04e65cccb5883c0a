"""Matched pairs: images that differ in one attribute alone, and what that does to the model's answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student_t
from torch import Tensor

from qdgs.fairness.intervals import LEVEL, Array, Estimate, proportion
from qdgs.probe.answers import Answers
from qdgs.probe.effects import SATURATED, SMALLEST

Codes = NDArray[np.int64]
KEPT, REJECTED, UNCHANGED, OTHERS = "kept", "rejected", "unchanged", "others changed"
OUTCOMES = (KEPT, REJECTED, UNCHANGED, OTHERS)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images that differ in one attribute.

    Attributes:
        attribute: Which.
        low: Latents of the images with the lower value of the two `(n, latent_dim)`.
        high: Latents of their partners, with the higher one.
        outcomes: What became of every image that a partner was sought for: `KEPT`, or why not → how many.
        method: How partners were found, in words.
    """

    attribute: str
    low: Tensor
    high: Tensor
    outcomes: Counter[str]
    method: str

    def __len__(self) -> int:
        return len(self.low)


@dataclass(frozen=True)
class PairEffect:
    """What changing one attribute alone does to the model.

    Attributes:
        attribute: Which.
        sought: Images that a partner was sought for.
        kept: Pairs that the judges confirm and the model answered.
        dropped: Why the others fell away → how many.
        flips: Share of pairs of which the model's answers differ.
        answer: The answer that moves most in the mean.
        change: Mean change of its probability from the lower to the higher value.
        p: Of a change of 0, from Student's t over pairs; 1 below two pairs. It and the interval allow for the
            choice of one of several answers (Bonferroni).
        method: How partners were found.
    """

    attribute: str
    sought: int
    kept: int
    dropped: dict[str, int]
    flips: Estimate
    answer: str
    change: Estimate
    p: float
    method: str


@dataclass(frozen=True, eq=False)
class Confirmation:
    """When two images are a pair: as the judges read them, one attribute differs and nothing else does.

    Attributes:
        values: Attribute → its values.
        allowed: Score → how far it may move where its attribute stays.
        needed: Score → how far it must move where its attribute changes: half of the way from one value's
            mean to the next: a partner is of the other value and not just beyond the boundary.
    """

    values: dict[str, tuple[str, ...]]
    allowed: dict[str, float]
    needed: dict[str, float]

    @classmethod
    def of_samples(
        cls, values: dict[str, tuple[str, ...]], read: pd.DataFrame, tolerance: float
    ) -> Confirmation:
        """Tolerances from random samples that the judges agree on.

        Args:
            values: Attribute → its values.
            read: One row a sample.
            tolerance: In standard deviations of a score within one value of its attribute, the mean over
                values: a score that tells two values apart spreads far more over both.
        """
        allowed, needed = {}, {}
        for name, known in values.items():
            score = f"{name}_score"
            of_value = read[score].astype(float).groupby(read[name])
            means = of_value.mean().reindex(known).dropna().to_numpy()
            allowed[score] = tolerance * float(of_value.std(ddof=0).mean())
            needed[score] = 0.5 * float(np.abs(np.diff(means)).min()) if len(means) > 1 else 0.0
        return cls(values, allowed, needed)

    def outcomes(self, attribute: str, before: pd.DataFrame, after: pd.DataFrame) -> NDArray[np.object_]:
        """`KEPT`, or why it is no pair, for each of n rows before and after."""
        known = after[attribute].isin(self.values[attribute]).to_numpy()
        far = _shift(before, after, attribute) >= self.needed[f"{attribute}_score"]
        changed = known & far & _differ(before, after, attribute)
        same = np.logical_and.reduce(
            [self._holds(name, before, after) for name in self.values if name != attribute]
            or [np.ones(len(after), dtype=bool)]
        )
        accepted = after["accepted"].to_numpy(bool)
        told = np.where(~accepted, REJECTED, np.where(~changed, UNCHANGED, np.where(same, KEPT, OTHERS)))
        return told.astype(object)

    def _holds(self, name: str, before: pd.DataFrame, after: pd.DataFrame) -> NDArray[np.bool_]:
        shift = np.nan_to_num(_shift(before, after, name), nan=np.inf)
        near: NDArray[np.bool_] = shift <= self.allowed[f"{name}_score"]
        return near & ~_differ(before, after, name)


def is_lower(values: Sequence[str], first: pd.Series, second: pd.Series) -> NDArray[np.bool_]:
    """Whether the second has the lower value of an attribute, `(n,)`."""
    index = pd.Index(values)
    places = [index.get_indexer(pd.Index(told, dtype=object)) for told in (first, second)]
    lower: NDArray[np.bool_] = places[1] < places[0]
    return lower


def pair_effect(pairs: Pairs, first: Answers, second: Answers, *, level: float = LEVEL) -> PairEffect:
    """What the model makes of pairs.

    Pairs of which the model failed on either image do not count.

    Args:
        pairs: Kept pairs.
        first: Answers of the images with the lower value.
        second: Answers of those with the higher one.
        level: Coverage of the intervals.
    """
    both = ~(first.failed | second.failed)
    flips = first.given[both] != second.given[both]
    changes = second.probabilities[both] - first.probabilities[both]
    dropped = {name: count for name, count in pairs.outcomes.items() if name != KEPT and count}
    if len(flips) < len(pairs):
        dropped["the model failed"] = len(pairs) - len(flips)
    means = changes.mean(axis=0) if len(changes) else np.full(len(first.values), math.nan)
    # of two answers, which mirror each other, the second
    answer = len(means) - 1 if len(means) == 2 or not len(changes) else int(np.abs(means).argmax())
    choices = 1 if len(means) == 2 else len(means)
    change, p = _mean(changes[:, answer], 1 - (1 - level) / choices)
    return PairEffect(
        attribute=pairs.attribute,
        sought=sum(pairs.outcomes.values()),
        kept=len(flips),
        dropped=dropped,
        flips=proportion(int(flips.sum()), len(flips), level),
        answer=first.values[answer],
        change=change,
        p=min(1.0, choices * p),
        method=pairs.method,
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
            "method": effect.method,
        }
        for effect in effects
    ]
    return pd.DataFrame(rows)


def _shift(before: pd.DataFrame, after: pd.DataFrame, name: str) -> Array:
    shift: Array = np.abs(after[f"{name}_score"].to_numpy(float) - before[f"{name}_score"].to_numpy(float))
    return shift


def _differ(before: pd.DataFrame, after: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    different: NDArray[np.bool_] = (
        after[name].astype(object).to_numpy() != before[name].astype(object).to_numpy()
    )
    return different


def _mean(numbers: Array, level: float) -> tuple[Estimate, float]:
    """Mean of changes in [−1, 1] `(n,)` with its interval, and p of a change of 0."""
    n = len(numbers)
    if n == 0:
        return Estimate(math.nan), 1.0
    mean = float(numbers.mean())
    if n < 2:
        return Estimate(mean), 1.0
    error = math.sqrt(_variance(numbers))
    half = float(student_t.ppf(0.5 + level / 2, n - 1)) * error
    told = Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half))
    return told, max(SMALLEST, float(2 * student_t.sf(abs(mean) / error, n - 1)))


def _variance(numbers: Array) -> float:
    """Variance of the mean of changes `(n,)`.

    Changes that are all (nearly) −1, 0 or 1, or all the same, have at least that with two pairs more: one
    that stays, and half a one that changes either way.

    References:
        Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions.
    """
    n, sample = len(numbers), float(numbers.var(ddof=1)) / len(numbers)
    if np.abs(numbers - np.round(numbers)).max() > SATURATED and np.ptp(numbers) > 0:
        return sample
    mean, square = numbers.sum() / (n + 2), (np.square(numbers).sum() + 1) / (n + 2)
    return max(sample, float(square - mean**2) / (n + 2))
