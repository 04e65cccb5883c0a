"""What to say when a group cannot be filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import beta

from qdgs.errors import InputError, QdgsError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PriorCounts:
    """How often random samples of the generator fell into each group.

    Attributes:
        counts: Group → how many; groups left out were not found.
        samples: Among how many accepted random samples.
    """

    counts: Mapping[str, int]
    samples: int

    def __post_init__(self) -> None:
        found = sum(self.counts.values())
        if self.samples < 1 or min(self.counts.values(), default=0) < 0 or found > self.samples:
            raise InputError(f"prior counts: expected at most {self.samples} samples in groups, got {found}")


def mass_upper_bound(found: int, samples: int) -> float:
    """Upper 95 % bound of a group's prior mass, when `found` of `samples` random samples are in it.

    3/n where none was found (the rule of three), else the one-sided Clopper–Pearson bound: the p for which
    P(X ≤ found) = 0.05, X ~ Binomial(n, p).

    References:
        Clopper, Pearson, Biometrika 26 (1934); Hanley, Lippman-Hand, JAMA 249 (1983), for 3/n.
    """
    if found == 0:
        return min(1.0, 3 / samples)
    if found >= samples:
        return 1.0
    return float(beta.ppf(CONFIDENCE, found + 1, samples - found))


@dataclass(frozen=True)
class Shortage:
    """A group that could not be filled, and how hard it was tried.

    Attributes:
        group: Its values joined with "/".
        wanted: Images asked for.
        got: Images found.
        candidates: Solutions of the group above the quality floor and outside every gap.
        cells: Cells of the archive that hold them.
        rejected: Candidates that the gate rejected.
        duplicates: Candidates dropped as near-duplicates.
        left_by_cell_limit: Candidates left because their cells had given `per_cell` images.
        evaluations: Evaluations of the search, where known.
        prior_count: Random samples in the group, where known.
        prior_samples: Among how many random samples.
        prior_upper_bound: Upper 95 % bound of the group's share of random samples.
    """

    group: str
    wanted: int
    got: int
    candidates: int
    cells: int
    rejected: int
    duplicates: int
    left_by_cell_limit: int
    evaluations: int | None = None
    prior_count: int | None = None
    prior_samples: int | None = None
    prior_upper_bound: float | None = None

    @property
    def missing(self) -> int:
        """How many images are missing."""
        return self.wanted - self.got

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {**asdict(self), "missing": self.missing}

    def describe(self) -> str:
        """The shortage in one clause: group, missing count, what was tried, what random samples say."""
        text = f"group {self.group!r} lacks {self.missing:,} of {self.wanted:,} images after {self._tried()}"
        if self.prior_samples is None or self.prior_upper_bound is None:
            return text
        return (
            f"{text}; of {self.prior_samples:,} random samples {self.prior_count or 'none'} "
            f"{'is' if self.prior_count == 1 else 'are'} in it, so it holds at most "
            f"{self.prior_upper_bound:.2%} of the generator's prior (95 %)"
        )

    def _tried(self) -> str:
        tried = f"all {self.candidates:,} solutions of it in {self.cells:,} cells"
        if self.evaluations is not None:
            tried += f" that {self.evaluations:,} evaluations found"
        reasons = {
            "rejected by the gate": self.rejected,
            "near-duplicates": self.duplicates,
            "beyond dataset.per_cell": self.left_by_cell_limit,
        }
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        return f"{tried} ({listed})" if listed else tried


class ShortageError(QdgsError):
    """A group could not be filled, and the configuration says to stop.

    Attributes:
        shortages: Every group that is short.
    """

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        self.shortages = tuple(shortages)
        worst = max(shortages, key=lambda shortage: shortage.missing / shortage.wanted)
        others = [repr(shortage.group) for shortage in shortages if shortage is not worst]
        also = f" (and so do {', '.join(others)})" if others else ""
        super().__init__(
            f"dataset: {worst.describe()}{also}; search longer, ask for fewer dataset.images, or set "
            "dataset.on_shortage to accept"
        )

    def __reduce__(self) -> tuple[type[ShortageError], tuple[tuple[Shortage, ...]]]:
        """An exception is pickled by its message otherwise, which a worker process cannot send back."""
        return ShortageError, (self.shortages,)
