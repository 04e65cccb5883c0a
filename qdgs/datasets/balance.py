"""Balance within groups over something that makes no groups: lighting, say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qdgs.datasets.queues import UNREAD
from qdgs.errors import InputError

Integers = NDArray[np.int64]
Read = Callable[[pd.DataFrame], pd.DataFrame]
"""Candidates → one column a nuisance, by its name, missing where the judge cannot tell."""


@dataclass(frozen=True)
class Nuisance:
    """Something to balance over, in bins that hold equally many random samples.

    Attributes:
        name: The judge's column.
        judge: The judge that reads it.
        edges: Between the bins, ascending.
    """

    name: str
    judge: str
    edges: tuple[float, ...]

    @classmethod
    def of_samples(cls, name: str, judge: str, values: ArrayLike, bins: int) -> "Nuisance":
        """A nuisance with quantiles of random samples `(n,)` as edges; missing values do not count.

        Raises:
            InputError: Too few samples have a value, or too many have the same.
        """
        finite = np.asarray(values, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        if len(finite) < 10 * bins:
            raise InputError(
                f"dataset.balance.{name}: expected at least {10 * bins} random samples that {judge!r} can "
                f"read, got {len(finite)}; raise audit.samples, or balance over something else"
            )
        edges = np.quantile(finite, np.arange(1, bins) / bins)
        if len(np.unique([finite.min(), *edges])) < bins:
            raise InputError(
                f"dataset.balance.{name}: expected random samples that differ, got too many equal ones for "
                f"{bins} bins; ask for fewer"
            )
        return cls(name, judge, tuple(edges.tolist()))

    @property
    def bins(self) -> int:
        """How many."""
        return len(self.edges) + 1

    def bins_of(self, values: ArrayLike) -> Integers:
        """Bin of each of `(n,)` values from 0 on, `UNREAD` where it is missing; an edge is of the upper."""
        numbers = np.asarray(values, dtype=np.float64)
        codes = np.searchsorted(self.edges, numbers, side="right").astype(np.int64)
        return np.where(np.isfinite(numbers), codes, UNREAD)


@dataclass(frozen=True)
class Nuisances:
    """What is to be balanced over, and who reads it.

    Attributes:
        each: One or several; several are balanced jointly, every combination of bins being a stratum.
        read: Reads them off candidates.
        candidates: At most so many are read for each that is wanted.
    """

    each: tuple[Nuisance, ...]
    read: Read
    candidates: int

    def bins_of(
        self, rows: pd.DataFrame, order: Sequence[Integers], wanted: Sequence[int], chunk: int
    ) -> Integers:
        """Bin of each row on each nuisance, `(n, nuisances)`, `UNREAD` where it is not known.

        Args:
            rows: Every candidate.
            order: For each group its rows, in the order in which they are to be tried.
            wanted: Rows wanted of each group.
            chunk: Rows read at once.
        """
        bins = np.full((len(rows), len(self.each)), UNREAD)
        asked = np.concatenate(self.asked(order, wanted))
        for start in range(0, len(asked), chunk):
            part = asked[start : start + chunk]
            told = self.read(rows.iloc[part])
            for column, nuisance in enumerate(self.each):
                bins[part, column] = nuisance.bins_of(told[nuisance.name])
        return bins

    def asked(self, order: Sequence[Integers], wanted: Sequence[int]) -> list[Integers]:
        """For each group the rows that are read, as for `bins_of`."""
        return [rows[: self.candidates * number] for rows, number in zip(order, wanted, strict=True)]

    def strata(self, bins: Integers) -> Integers:
        """Stratum of each row `(n,)`, from its bins `(n, nuisances)`; `UNREAD` where one is not known."""
        strata = np.zeros(len(bins), dtype=np.int64)
        for column, nuisance in enumerate(self.each):
            strata = strata * nuisance.bins + bins[:, column]
        return np.where((bins == UNREAD).any(axis=1), UNREAD, strata)

    def report(
        self, bins: Integers, taken: Mapping[str, Integers], asked: Mapping[str, Integers]
    ) -> dict[str, Any]:
        """What was reached, in plain types.

        Args:
            bins: What `bins_of` gave.
            taken: Group → the row that each of its images comes from.
            asked: Group → its candidates that were read.

        Returns:
            Nuisance → its judge, its edges, and for each group how many images and how many candidates each
            bin has, and how many of both are of no known bin.
        """
        return {
            nuisance.name: {
                "judge": nuisance.judge,
                "edges": list(nuisance.edges),
                "groups": {
                    group: {
                        "images": _counts(bins[rows, column], nuisance.bins),
                        "unread": int((bins[rows, column] == UNREAD).sum()),
                        "candidates": _counts(bins[asked[group], column], nuisance.bins),
                        "candidates_unread": int((bins[asked[group], column] == UNREAD).sum()),
                    }
                    for group, rows in taken.items()
                },
            }
            for column, nuisance in enumerate(self.each)
        }


def balance_sentences(report: Mapping[str, Any] | None) -> list[str]:
    """What a reader has to know of the balance that was reached, a sentence for each nuisance."""
    return [_sentence(name, told) for name, told in (report or {}).items()]


def _sentence(name: str, told: Mapping[str, Any]) -> str:
    even = 1 / (len(told["edges"]) + 1)
    text = f"Every group is balanced over `{name}`, as {told['judge']} reads it, in {len(told['edges']) + 1} "
    text += "bins that hold equally many random samples"
    shares = {
        group: (min(counts["images"]) / total, int(np.argmin(counts["images"])))
        for group, counts in told["groups"].items()
        if (total := sum(counts["images"]) + counts["unread"])
    }
    if not shares:
        return f"{text}."
    worst = min(shares, key=lambda group: shares[group])
    share, place = shares[worst]
    unread = sum(counts["unread"] for counts in told["groups"].values())
    missed = f" Of {unread:,} images it is not known." if unread else ""
    blank = sum(counts.get("candidates_unread", 0) for counts in told["groups"].values())
    read = blank + sum(sum(counts["candidates"]) for counts in told["groups"].values())
    if blank:
        missed += (
            f" Of {blank:,} of {read:,} candidates it could not be read; these come last, so that a gate "
            "sees few of them."
        )
    return (
        f"{text}, as far as candidates allow: the emptiest is bin {place + 1} of {worst} with {share:.1%} of "
        f"that group's images, where {even:.1%} would be even.{missed}"
    )


def _counts(bins: Integers, number: int) -> list[int]:
    counts: list[int] = np.bincount(bins[bins != UNREAD], minlength=number).tolist()
    return counts
