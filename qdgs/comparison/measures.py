"""What the auditor says of a set: shares, agreement, quality, diversity, distance to real images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from qdgs.datasets.duplicates import duplicate_distance, nearest_distances
from qdgs.fairness.correction import corrected_shares
from qdgs.fairness.diversity import (
    DUPLICATE_QUANTILE,
    PixelEmbedding,
    group_diversity_ratio,
    kernel_bandwidth,
)
from qdgs.fairness.intervals import Array, Estimate, bootstrap, percentile_interval, proportion
from qdgs.fairness.kernel_distance import kernel_distance
from qdgs.fairness.shares import GroupShares, group_codes, group_shares
from qdgs.judges.base import Judge
from qdgs.samplers.base import Problem

DRAWS = 20
_SHARES = ("fairness_discrepancy", "kl", "normalized_entropy", "max_share_error", "smallest_group_share")
_CORRECTED = ("fairness_discrepancy", "max_share_error")


@dataclass(frozen=True)
class Number:
    """One row of a comparison: an estimate and how many images or tries it rests on."""

    estimate: Estimate
    n: int

    def row(self) -> dict[str, float]:
        """Columns value, low, high, n; a number without an interval is its own."""
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        return {
            "value": value,
            "low": value if np.isnan(low) else low,
            "high": value if np.isnan(high) else high,
            "n": self.n,
        }


Numbers = dict[str, Number]


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Random samples of a generator as the auditor reads them, and real images: what sets stand beside.

    Attributes:
        embedding: Of pixels.
        random: Embeddings `(n, embedding_dim)` of random samples.
        groups: Their groups, missing where the auditor cannot tell.
        real: Embeddings of the test images; None where there are none.
    """

    embedding: PixelEmbedding
    random: Array
    groups: pd.Series
    real: Array | None = None


@dataclass(frozen=True, eq=False)
class Grader:
    """Grades sets of images.

    Args:
        problem: Groups and target.
        auditor: Who reads.
        confusion: Counts of groups as read by known group, where the auditor has them.
        resamples: Of the bootstraps.
    """

    problem: Problem
    auditor: Judge
    confusion: pd.DataFrame | None
    resamples: int

    def read(self, batches: Iterable[Tensor]) -> pd.DataFrame:
        """The auditor's rows for batches of images in [0, 1]."""
        return pd.concat([self.auditor.judge(images) for images in batches], ignore_index=True)

    def groups_of(self, read: pd.DataFrame) -> pd.Series:
        """The group of each row, missing where the auditor does not accept the image."""
        return self.problem.group_of(read).where(read["accepted"].to_numpy(bool), None)

    def numbers(
        self,
        read: pd.DataFrame,
        embeddings: Array,
        labels: Sequence[str | None] | pd.Series,
        yardstick: Yardstick,
        rng: np.random.Generator,
    ) -> Numbers:
        """Everything that is told of a set without training anything on it.

        Args:
            read: The auditor's rows of the set.
            embeddings: Of its images, `(n, embedding_dim)`.
            labels: What the method says; missing counts against.
            yardstick: Random samples of the set's generator, and real images.
            rng: Source of resamples and draws.
        """
        groups, n = self.groups_of(read), len(read)
        shares = self._shares(groups, rng)
        numbers = self.share_numbers(shares, rng)
        numbers |= self._ratio(shares, yardstick, rng)
        confirmed = (pd.Series(labels, dtype=object) == read[self.problem.label]).to_numpy(bool)
        accepted = read["accepted"].to_numpy(bool)
        numbers["label_agreement"] = Number(proportion(int((confirmed & accepted).sum()), n), n)
        quality = read["quality"].to_numpy(float)
        quality = quality[np.isfinite(quality)]
        if len(quality):
            numbers["judged_quality"] = Number(self._mean(quality, rng), len(quality))
        numbers |= self._diversity(embeddings, groups, yardstick, rng)
        if yardstick.real is not None:
            numbers["kernel_distance"] = Number(kernel_distance(embeddings, yardstick.real, rng), n)
        return numbers

    def share_numbers(self, shares: GroupShares, rng: np.random.Generator) -> Numbers:
        """Distances from the target, raw and corrected for the auditor's errors, and every group's share."""
        readable = sum(shares.counts)
        numbers = {name: Number(getattr(shares, name), readable) for name in _SHARES}
        numbers["unreadable_share"] = Number(shares.unreadable_share, shares.images)
        if self.confusion is not None and readable:
            corrected = corrected_shares(shares, self.confusion, rng, resamples=self.resamples)
            numbers |= {
                f"corrected_{name}": Number(getattr(corrected, name), readable) for name in _CORRECTED
            }
        ends = zip(shares.groups, shares.shares, shares.low, shares.high, shares.counts, strict=True)
        numbers |= {
            f"share of {group}": Number(Estimate(share, low, high), count)
            for group, share, low, high, count in ends
        }
        return numbers

    def _shares(self, groups: pd.Series, rng: np.random.Generator) -> GroupShares:
        return group_shares(groups, self.problem.shares, rng, resamples=self.resamples)

    def _ratio(self, shares: GroupShares, yardstick: Yardstick, rng: np.random.Generator) -> Numbers:
        """FD relative to that of random samples of the same generator; ends by the ends of both."""
        mine, random = shares.fairness_discrepancy, self._shares(yardstick.groups, rng).fairness_discrepancy
        if not random.value > 0:
            return {}
        low, high = mine.low / max(random.high, 1e-12), mine.high / max(random.low, 1e-12)
        ratio = Estimate(mine.value / random.value, low, high)
        return {"fairness_discrepancy_ratio": Number(ratio, sum(shares.counts))}

    def _mean(self, values: Array, rng: np.random.Generator) -> Estimate:
        return bootstrap(lambda rows: float(values[rows].mean()), len(values), rng, resamples=self.resamples)

    def _diversity(
        self, embeddings: Array, groups: pd.Series, yardstick: Yardstick, rng: np.random.Generator
    ) -> Numbers:
        numbers: Numbers = {}
        count = min(len(embeddings), len(yardstick.random))
        if count > 1:
            limit = duplicate_distance(yardstick.random[:count], DUPLICATE_QUANTILE)
            near = int((nearest_distances(embeddings[:count]) < limit).sum())
            numbers["near_duplicates"] = Number(proportion(near, count), count)
        mine, theirs = self._by_group(embeddings, groups), self._by_group(yardstick.random, yardstick.groups)
        bandwidth = kernel_bandwidth(yardstick.random)
        drawn = [group_diversity_ratio(mine, theirs, bandwidth, rng, draws=1).ratio for _ in range(DRAWS)]
        if not np.isnan(drawn).any():
            estimate = percentile_interval(float(np.mean(drawn)), drawn)
            numbers["group_diversity_ratio"] = Number(estimate, len(embeddings))
        return numbers

    def _by_group(self, embeddings: Array, groups: pd.Series) -> dict[str, Array]:
        names = self.problem.groups
        codes = group_codes(groups, names)
        return {name: embeddings[codes == code] for code, name in enumerate(names)}
