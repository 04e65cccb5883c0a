"""Which attribute moves a model, all others equal in the mean: effects on a balanced set, and findings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from qdgs.fairness.intervals import LEVEL, Array, Estimate

Codes = NDArray[np.int64]
RIGHT = "right answer"
SMALLEST = float(np.finfo(np.float64).tiny)
SATURATED = 0.01
"""Probabilities nearer than this to 0 or 1 are as good as counts of answers."""


@dataclass(frozen=True)
class Effect:
    """How far one attribute moves the probability of one answer.

    Attributes:
        attribute: Which.
        answer: The answer whose probability moves, or `RIGHT`: whatever is right of an image.
        low: The value of the attribute that it moves from.
        high: The value that it moves to.
        change: Mean over strata of the mean probability at `high` less that at `low`, with its interval.
        error: Standard error of the change.
        freedom: Degrees of freedom of that error.
        strata: Combinations of the other attributes with enough images on both sides.
        missing: Those without.
    """

    attribute: str
    answer: str
    low: str
    high: str
    change: Estimate
    error: float
    freedom: float
    strata: int
    missing: int

    def p_value(self, margin: float) -> float:
        """Of |change| ≤ margin, from Student's t; 1 where nothing can be told.

        T(−(|Δ| − margin)/σ) + T(−(|Δ| + margin)/σ): the least favourable case at the margin, and Welch's
        two-sided test at a margin of 0. What is below the smallest number of floating point (2.2e-308) is
        told as that: a p-value is never 0.
        """
        size = abs(self.change.value)
        if math.isnan(size):
            return 1.0
        ends = np.array([size - margin, size + margin]) / self.error
        return float(np.clip(student_t.sf(ends, self.freedom).sum(), SMALLEST, 1.0))


@dataclass(frozen=True)
class Finding:
    """An attribute that moves the model by more than the margin, or does not.

    Attributes:
        effect: The largest effect of the attribute on one half of the images, told of the other half.
        p: Of its being at most the margin, Holm's correction over attributes included.
        significant: Whether p is below the level.
    """

    effect: Effect
    p: float
    significant: bool


def effect_of(
    attribute: str,
    places: Codes,
    values: Sequence[str],
    pair: tuple[int, int],
    strata: Codes,
    numbers: Array,
    *,
    answer: str,
    smallest: int = 4,
    level: float = LEVEL,
) -> Effect:
    """The change of a number between two values of an attribute, all strata counting the same.

        Δ = 1/S Σ_s (mean over s at `high` − mean over s at `low`)

    The error is Welch's, its degrees of freedom Satterthwaite's over all sides of all strata. Numbers that
    are all (nearly) 0 or 1, or all the same, have at least the variance of a proportion with one image more
    of either kind: that twenty images are answered alike does not show that every one would be.

    Args:
        attribute: Its name.
        places: Position of each image's value `(n,)`.
        values: The attribute's values.
        pair: Positions of the two values, low and high.
        strata: Combination of everything else that is held equal `(n,)`.
        numbers: What is to change, in [0, 1] `(n,)`; NaN where the model failed.
        answer: What the number is the probability of.
        smallest: Images that either side of a stratum must have.
        level: Coverage.

    References:
        Welch (1947), The generalization of "Student's" problem; Agresti and Caffo (2000), Simple and
        effective confidence intervals for proportions and differences of proportions.
    """
    there = np.isfinite(numbers)
    differences, sides_of, missing = [], [], 0
    for stratum in np.unique(strata):
        sides = [numbers[there & (strata == stratum) & (places == side)] for side in pair]
        if min(len(side) for side in sides) < max(smallest, 2):
            missing += 1
            continue
        differences.append(sides[1].mean() - sides[0].mean())
        sides_of += sides
    low, high = (values[side] for side in pair)
    if not differences:
        return Effect(attribute, answer, low, high, Estimate(math.nan), math.nan, math.nan, 0, missing)
    change, (error, freedom) = float(np.mean(differences)), _error(sides_of)
    half = float(student_t.ppf(0.5 + level / 2, freedom)) * error
    told = Estimate(change, max(-1.0, change - half), min(1.0, change + half))
    return Effect(attribute, answer, low, high, told, error, freedom, len(differences), missing)


def _error(sides: Sequence[Array]) -> tuple[float, float]:
    """Standard error of the mean over strata of differences, two sides each, and its degrees of freedom."""
    variances = np.array([_variance(side) for side in sides])
    shares = variances / variances.sum()
    freedom = 1 / float(np.sum(shares**2 / np.array([len(side) - 1 for side in sides])))
    return math.sqrt(float(variances.sum())) / (len(sides) // 2), freedom


def _variance(side: Array) -> float:
    """Variance of the mean of numbers in [0, 1] `(n,)`."""
    n, sample = len(side), float(side.var(ddof=1)) / len(side)
    if np.minimum(side, 1 - side).max() > SATURATED and np.ptp(side) > 0:
        return sample
    share = (float(side.sum()) + 1) / (n + 2)
    return max(sample, share * (1 - share) / (n + 2))


def effects(
    probabilities: Array,
    answers: Sequence[str],
    truth: Codes | None,
    places: Mapping[str, Codes],
    values: Mapping[str, Sequence[str]],
    causes: Iterable[str],
    rows: NDArray[np.bool_] | None = None,
    *,
    told_of: Sequence[str] | None = None,
    level: float = LEVEL,
) -> list[Effect]:
    """Every effect of every attribute that should not matter, of any two values on any answer.

    Of two answers one is told, as the other mirrors it. The probability of the right answer is told too: an
    attribute may make the model worse without moving it towards any one answer.

    Args:
        probabilities: `(n, answers)`; NaN where the model failed.
        answers: Their names.
        truth: Position of the right answer `(n,)`; None where there is none.
        places: Attribute → position of each image's value `(n,)`; all of them are held equal but one.
        values: Attribute → its values.
        causes: Attributes that should not matter.
        rows: Images that count `(n,)`; all without it.
        told_of: Answers whose probability is told; all without it.
        level: Coverage of the intervals.
    """
    chosen = np.ones(len(probabilities), dtype=bool) if rows is None else rows
    numbers = {name: probabilities[:, at] for at, name in enumerate(answers)}
    if len(answers) == 2:
        del numbers[answers[0]]
    if told_of is not None:
        numbers = {name: number for name, number in numbers.items() if name in told_of}
    if truth is not None:
        numbers[RIGHT] = probabilities[np.arange(len(truth)), truth]
    found = []
    for attribute in causes:
        strata = strata_of({name: at for name, at in places.items() if name != attribute}, len(chosen))
        for pair in itertools.combinations(range(len(values[attribute])), 2):
            found += [
                effect_of(
                    attribute,
                    places[attribute][chosen],
                    values[attribute],
                    pair,
                    strata[chosen],
                    number[chosen],
                    answer=answer,
                    level=level,
                )
                for answer, number in numbers.items()
            ]
    return found


def strata_of(places: Mapping[str, Codes], n: int) -> Codes:
    """A number for each combination of places `(n,)`."""
    strata = np.zeros(n, dtype=np.int64)
    for at in places.values():
        strata = strata * (int(at.max(initial=0)) + 1) + at
    return strata


def findings(
    first: Sequence[Effect], second: Sequence[Effect], *, margin: float, level: float
) -> list[Finding]:
    """For each attribute its largest effect on the first half, told and tested on the second.

    Tested is whether the effect is larger than the margin, and Holm's step-down procedure keeps the chance of
    any false finding at the level over all attributes.

    Args:
        first: Effects on one half of the images.
        second: The same effects on the other.
        margin: What does not matter.
        level: Of the tests.

    Returns:
        The largest effect first.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    best: dict[str, tuple[float, Effect]] = {}
    for one, other in zip(first, second, strict=True):
        size = float(np.nan_to_num(abs(one.change.value), nan=-1.0))
        if one.attribute not in best or size > best[one.attribute][0]:
            best[one.attribute] = size, other
    chosen = [effect for _, effect in best.values()]
    corrected = holm([effect.p_value(margin) for effect in chosen])
    told = [Finding(effect, p, p < level) for effect, p in zip(chosen, corrected, strict=True)]
    return sorted(told, key=lambda finding: -np.nan_to_num(abs(finding.effect.change.value), nan=-1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return [float(p) for p in adjusted]
