"""What random samples of the prior say before the search: ranges, scale, thresholds, learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.errors import InputError
from qdgs.search.evaluation import Evaluation, Evaluator, ObjectiveScale
from qdgs.search.workers import Floats

SamplePrior = Callable[[int, np.random.Generator], Any]
"""(n, rng) → latents `(n, latent_dim)` from the generator's prior."""

RANGE_QUANTILE = 0.005
"""Automatic ranges start from this quantile of the samples' measures and end at its mirror image: extremes of
a thousand samples, without resting on the single farthest one."""

RANGE_WIDENING = 0.05
"""Automatic ranges are widened by this share of their length on either side: the search goes where the prior
hardly does, and whatever leaves the range is clipped into an edge cell. A quarter on either side left more
than half of the cells of two measures out of everybody's reach."""

OBJECTIVE_LOW, OBJECTIVE_HIGH = 0.05, 0.90
"""Quantiles of the samples' objectives that become 0 and 100 (the first is also threshold_min by default)."""

REMAINING = 0.1
"""Share of threshold_min that is left in a cell's threshold after as many accepted visits as there are
evaluations a cell."""


@dataclass(frozen=True)
class Samples:
    """Random samples of the prior and their raw scores.

    Attributes:
        latents: `(n, latent_dim)`.
        raw: Their evaluation, without an objective scale.
    """

    latents: Floats
    raw: Evaluation


@dataclass(frozen=True)
class Calibration:
    """What was settled by random samples, recorded with the run.

    Attributes:
        samples: How many samples it rests on; 0 where the configuration left nothing open.
        ranges: (low, high) of each measure.
        objective_low: Raw objective that is scaled to 0; None leaves the objective as it is.
        objective_high: Raw objective that is scaled to 100.
        threshold_min: Threshold of an empty cell of an annealed archive.
        learning_rate: α of t ← (1 − α)·t + α·f in an annealed archive.
    """

    samples: int
    ranges: tuple[tuple[float, float], ...]
    objective_low: float | None
    objective_high: float | None
    threshold_min: float
    learning_rate: float

    @property
    def scale(self) -> ObjectiveScale | None:
        """The objective's scale, or None."""
        if self.objective_low is None or self.objective_high is None:
            return None
        return ObjectiveScale(self.objective_low, self.objective_high)

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """The inverse of `as_dict`."""
        ranges = tuple((float(low), float(high)) for low, high in data["ranges"])
        return cls(**{**data, "ranges": ranges})


def cells_of(config: SearchConfig, measures: Sequence[MeasureConfig]) -> int:
    """Number of cells of the archive."""
    return config.centroids if config.archive == "cvt" else prod(measure.cells for measure in measures)


def learning_rate(evaluations: int, cells: int) -> float:
    """α that lets a cell anneal within the budget: 1 − `REMAINING`^(cells / evaluations).

    After e accepted visits (1 − α)^e of threshold_min is left; with e the evaluations a cell, that is
    `REMAINING`. For the 112 evaluations a cell of the published shapes run it gives 0.0203, where 0.02 was
    used; at 8 evaluations a cell it gives 0.25. The rule is our choice.

    References:
        Fontaine and Nikolaidis, GECCO 2023, arXiv 2205.10752 (annealing of archive thresholds).
    """
    return float(1 - REMAINING ** (cells / evaluations))


def needs_samples(config: SearchConfig, measures: Sequence[MeasureConfig]) -> bool:
    """Whether a settled configuration leaves anything for random samples to say."""
    automatic = any(measure.range == "auto" for measure in measures)
    return automatic or bool(config.calibrate_objective) or config.threshold_min is None


def draw_samples(
    evaluator: Evaluator, sample_prior: SamplePrior, n: int, rng: np.random.Generator
) -> Samples:
    """Draw n latents from the prior and score them without a scale."""
    latents = as_latents(sample_prior(n, rng))
    return Samples(latents, evaluator.scaled(None)(latents))


def as_latents(latents: Any) -> Floats:
    """Latents of any array type as float32 `(n, latent_dim)`."""
    return np.asarray(latents, dtype=np.float32)


def calibrate(
    config: SearchConfig, measures: Sequence[MeasureConfig], samples: Samples | None
) -> Calibration:
    """Settle what the configuration left open from random samples.

    Args:
        config: A settled configuration (`settle`).
        measures: Names, cells and ranges.
        samples: Needed where `needs_samples` says so.

    Raises:
        InputError: The objective or an automatic measure is the same for all samples.
    """
    low, high = _objective_quantiles(samples) if samples is not None else (0.0, 0.0)
    scaled = bool(config.calibrate_objective)
    if scaled and not high > low:
        raise InputError(
            f"guide.objective: expected random samples to differ, got {low:g} for nearly all; "
            "change the prompts, or set search.calibrate_objective to false"
        )
    threshold_min = config.threshold_min
    if threshold_min is None:
        threshold_min = 0.0 if scaled else low
    rate = config.learning_rate
    if rate is None:
        rate = learning_rate(config.evaluations, cells_of(config, measures))
    return Calibration(
        samples=0 if samples is None else len(samples.latents),
        ranges=tuple(_range(measure, index, samples) for index, measure in enumerate(measures)),
        objective_low=low if scaled else None,
        objective_high=high if scaled else None,
        threshold_min=threshold_min,
        learning_rate=rate,
    )


def automatic_range(values: NDArray[Any]) -> tuple[float, float]:
    """A measure's range from its values `(n,)` on random samples (`RANGE_QUANTILE`, `RANGE_WIDENING`)."""
    low, high = np.quantile(values.astype(np.float64), [RANGE_QUANTILE, 1 - RANGE_QUANTILE])
    margin = RANGE_WIDENING * (high - low)
    return float(low - margin), float(high + margin)


def _range(measure: MeasureConfig, index: int, samples: Samples | None) -> tuple[float, float]:
    if measure.range != "auto":
        return measure.range
    assert samples is not None, "needs_samples() was not heeded"
    low, high = automatic_range(samples.raw.measures[:, index])
    if not low < high:
        raise InputError(
            f"guide.measures.{measure.name}: expected random samples to differ, got {low:g} for nearly all; "
            "change the prompts, or give a range"
        )
    return low, high


def _objective_quantiles(samples: Samples) -> tuple[float, float]:
    low, high = np.quantile(samples.raw.objective.astype(np.float64), [OBJECTIVE_LOW, OBJECTIVE_HIGH])
    return float(low), float(high)
