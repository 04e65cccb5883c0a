"""How often a model errs in each group: corrected for the judge's own errors, and the worst group, fairly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from qdgs.fairness.correction import confusion_counts, correct_shares
from qdgs.fairness.intervals import LEVEL, Array, Estimate, percentile_interval, proportion
from qdgs.fairness.shares import normalize
from qdgs.probe.samples import group_names

Codes = NDArray[np.int64]
RESAMPLES = 1000
ITERATIONS = 300


@dataclass(frozen=True)
class GroupError:
    """What is known of a model's errors in one group.

    Attributes:
        group: Its name.
        images: Images read as that group, answered or not.
        failed: Images that the model did not answer.
        error: Share of wrong answers, corrected where the judge's errors are known; no number without an
            interval that says something.
        observed: The same as counted.
    """

    group: str
    images: int
    failed: int
    error: Estimate
    observed: Estimate

    @property
    def answered(self) -> int:
        """Images that the model answered."""
        return self.images - self.failed


@dataclass(frozen=True)
class WorstGroup:
    """The group of the most errors on one half of the images, and its errors on the other.

    Attributes:
        group: Its name; None where no group has enough images.
        chosen: Its share of wrong answers on the half that it was chosen on: too high, as the largest of
            several always is.
        error: The share on the other half.
        others: The share over all other groups on that half, every group counting the same.
    """

    group: str | None
    chosen: float
    error: Estimate
    others: Estimate

    @property
    def stands_out(self) -> bool:
        """Whether it is worse than the mean of the others: the two intervals are apart."""
        return self.error.low > self.others.high


@dataclass(frozen=True, eq=False)
class Confusion:
    """How a judge reads images of known group.

    Attributes:
        counts: `(K, K)`: known group by group as read; of attributes that were not looked at a group is read
            as itself.
        attributes: Those that were looked at.
        known: Images.
        blocks: Group → block of groups that differ in the other attributes alone `(K,)`, and the counts of
            the blocks `(B, B)`.
    """

    blocks: Codes
    counts: Array
    attributes: tuple[str, ...]
    known: int

    def rates(self, rng: np.random.Generator | None = None, resamples: int = 1) -> Array:
        """Rates `(resamples, K, K)` at which a group is read as another; the bare ones without a generator.

        Drawn ones are from the Dirichlet posterior under a prior that weighs one image a row.
        """
        size = len(self.counts)
        rates = normalize(self.counts)[None]
        if rng is not None:
            gammas = rng.standard_gamma(self.counts + 1 / size, size=(resamples, size, size))
            rates = normalize(gammas)
        rates = np.where(self.counts.sum(axis=1)[:, None] > 0, rates, np.eye(size))
        whole: Array = rates[:, self.blocks[:, None], self.blocks[None, :]] * self._same_otherwise
        return whole

    @property
    def _same_otherwise(self) -> Array:
        """Whether two groups agree in every attribute that was not looked at, `(K, K)`."""
        n = len(self.blocks)
        ranks = np.zeros(n, dtype=np.int64)
        for block in np.unique(self.blocks):
            rows = np.flatnonzero(self.blocks == block)
            ranks[rows] = np.arange(len(rows))
        same: Array = (ranks[:, None] == ranks[None, :]).astype(np.float64)
        return same


def known_confusion(
    confusion: pd.DataFrame | None, attributes: Mapping[str, Sequence[str]]
) -> Confusion | None:
    """The counts that a judge brings, over the groups of some attributes.

    Args:
        confusion: In long form: for each attribute its true value, the value read under `<attribute>_read`,
            and `count`; None where nothing is known.
        attributes: Attribute → its values.

    Returns:
        None where the counts are of none of the attributes.
    """
    if confusion is None:
        return None
    looked = tuple(name for name in attributes if {name, f"{name}_read"} <= set(confusion.columns))
    if not looked:
        return None
    rows = confusion.loc[np.repeat(np.arange(len(confusion)), confusion["count"].to_numpy())]
    blocks = group_names({name: attributes[name] for name in looked})
    sides = [_joined(rows, [name + suffix for name in looked], blocks) for suffix in ("", "_read")]
    counts = confusion_counts(sides[0], sides[1], blocks).to_numpy(np.float64)
    places = [list(attributes).index(name) for name in looked]
    of_groups = ["/".join(np.array(name.split("/"))[places]) for name in group_names(attributes)]
    return Confusion(pd.Index(blocks).get_indexer(pd.Index(of_groups)), counts, looked, int(counts.sum()))


def group_errors(
    groups: Sequence[str],
    codes: Codes,
    given: Codes,
    right: Codes,
    answers: int,
    rng: np.random.Generator,
    *,
    confusion: Confusion | None = None,
    prior: Codes | None = None,
    smallest: int = 20,
    level: float = LEVEL,
) -> list[GroupError]:
    """Errors by group.

    Images read as group h are of group g with probability P(g|h), which the judge's confusion and the shares
    of groups tell; the model's answers there are the mixture Σ_g P(g|h) P(answer|g). The answers of each
    group that make the observed ones most likely are found by expectation maximisation; a group's error is
    the share of answers other than its own right one. Intervals hold the posterior draws of both the
    confusion and the answers. Without a confusion they are Wilson's.

    Args:
        groups: Names of the K groups.
        codes: Group of each image `(n,)`.
        given: The model's answer `(n,)`, −1 where it failed.
        right: The right answer of each group `(K,)`.
        answers: How many answers there are.
        rng: Source of the draws.
        confusion: The judge's own errors, where they are known.
        prior: How often groups are read in random samples of the generator `(K,)`: where a group is rare,
            more of what is read as it is something else. Without it those of the images at hand.
        smallest: A group of fewer answers has no estimate.
        level: Coverage.
    """
    counts = _answer_counts(codes, given, len(groups), answers)
    answered = counts.sum(axis=1)
    images = np.bincount(codes, minlength=len(groups))
    wrong = answered - counts[np.arange(len(groups)), right]
    observed = [proportion(int(w), int(n), level) for w, n in zip(wrong, answered, strict=True)]
    errors = observed
    if confusion is not None:
        read = images if prior is None or not prior.any() else prior
        errors = _corrected(counts, right, confusion, read.astype(np.float64), rng, level)
    nothing = Estimate(math.nan)
    return [
        GroupError(
            group=name,
            images=int(images[at]),
            failed=int(images[at] - answered[at]),
            error=errors[at] if answered[at] >= smallest else nothing,
            observed=observed[at] if answered[at] >= smallest else nothing,
        )
        for at, name in enumerate(groups)
    ]


def worst_group(
    groups: Sequence[str],
    codes: Codes,
    halves: Codes,
    wrong: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    *,
    smallest: int = 20,
    level: float = LEVEL,
) -> WorstGroup:
    """The worst group, chosen on one half of the images and told of the other.

    Args:
        groups: Names.
        codes: Group of each image `(n,)`.
        halves: 0 or 1 `(n,)`.
        wrong: Whether the answer is wrong `(n,)`.
        answered: Whether there is one `(n,)`.
        smallest: A group of fewer answers does not count.
        level: Coverage of the interval.
    """
    first = _shares(codes, wrong, answered & (halves == 0), len(groups), smallest // 2)
    second = _shares(codes, wrong, answered & (halves == 1), len(groups), smallest // 2)
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return WorstGroup(None, math.nan, Estimate(math.nan), Estimate(math.nan))
    worst = int(np.argmax(np.where(both, first, -1.0)))
    rows = answered & (halves == 1) & (codes == worst)
    others = [answered & (halves == 1) & (codes == group) for group in np.flatnonzero(both) if group != worst]
    return WorstGroup(
        group=groups[worst],
        chosen=float(first[worst]),
        error=proportion(int(wrong[rows].sum()), int(rows.sum()), level),
        others=_mean_share([wrong[of] for of in others], level),
    )


def _mean_share(parts: Sequence[NDArray[np.bool_]], level: float) -> Estimate:
    """Mean of shares, each part counting the same, with its interval.

    The variance of a share is that with one image more of either kind (Agresti and Caffo, 2000).
    """
    if not parts:
        return Estimate(math.nan)
    mean = float(np.mean([part.mean() for part in parts]))
    shrunk = np.array([(part.sum() + 1) / (len(part) + 2) for part in parts])
    variances = shrunk * (1 - shrunk) / np.array([len(part) + 2 for part in parts])
    half = float(norm.ppf(0.5 + level / 2)) * math.sqrt(float(variances.sum())) / len(parts)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half))


def _corrected(
    counts: Codes, right: Codes, confusion: Confusion, read: Array, rng: np.random.Generator, level: float
) -> list[Estimate]:
    places = np.arange(len(counts))
    value = 1 - _unmixed(counts[None].astype(np.float64), _members(read, confusion.rates()))[0, places, right]
    drawn_counts = rng.standard_gamma(counts + 0.5, size=(RESAMPLES, *counts.shape))
    drawn_read = rng.standard_gamma(read + 0.5, size=(RESAMPLES, len(read)))
    members = _members(drawn_read, confusion.rates(rng, RESAMPLES))
    draws = 1 - _unmixed(normalize(drawn_counts) * counts.sum(axis=1)[:, None], members)[:, places, right]
    return [percentile_interval(float(value[k]), draws[:, k], level) for k in places]


def _members(read: Array, rates: Array) -> Array:
    """P(g|h) `(R, K, K)`, read groups as rows: Bayes from the rates P(h|g) and the shares of true groups."""
    shares = correct_shares(read, rates)
    joint = shares[:, :, None] * rates
    members: Array = np.swapaxes(joint, 1, 2)
    totals = members.sum(axis=2, keepdims=True)
    eye = np.broadcast_to(np.eye(members.shape[-1]), members.shape)
    return np.where(totals > 0, members / np.where(totals > 0, totals, 1), eye)


def _unmixed(counts: Array, members: Array) -> Array:
    """P(answer|g) `(R, K, A)` that make the counts of answers by read group `(R, K, A)` most likely."""
    resamples, groups, answers = np.broadcast_shapes(counts.shape, (*members.shape[:2], counts.shape[-1]))
    rates = np.full((resamples, groups, answers), 1 / answers)
    for _ in range(ITERATIONS):
        mixed = members @ rates
        ratio = np.divide(counts, mixed, out=np.zeros_like(mixed), where=mixed > 0)
        new = normalize(rates * (np.swapaxes(members, 1, 2) @ ratio))
        new = np.where(np.isnan(new), 1 / answers, new)
        if np.abs(new - rates).max() < 1e-8:
            break
        rates = new
    return rates


def _answer_counts(codes: Codes, given: Codes, groups: int, answers: int) -> Codes:
    counts = np.zeros((groups, answers), dtype=np.int64)
    there = (given >= 0) & (codes >= 0)
    np.add.at(counts, (codes[there], given[there]), 1)
    return counts


def _shares(
    codes: Codes, wrong: NDArray[np.bool_], rows: NDArray[np.bool_], groups: int, smallest: int
) -> Array:
    n = np.bincount(codes[rows], minlength=groups)
    errors = np.bincount(codes[rows], weights=wrong[rows], minlength=groups)
    return np.where(n >= max(smallest, 1), errors / np.maximum(n, 1), np.nan)


def _joined(rows: pd.DataFrame, columns: list[str], names: Sequence[str]) -> pd.Series:
    groups = rows[columns].astype(str).agg("/".join, axis=1).astype(object)
    return groups.where(groups.isin(list(names)), None)
