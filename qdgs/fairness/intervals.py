"""An estimate with its interval, and the intervals that need no more than counts or resamples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Array = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A number and the interval around it; NaN where there is nothing to tell it from."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def excludes(self, value: float) -> bool:
        """Whether the interval leaves `value` out; False where there is no interval."""
        return value < self.low or value > self.high


def wilson_interval(counts: ArrayLike, n: int, level: float = LEVEL) -> tuple[Array, Array]:
    """Interval of a binomial proportion that holds its level at 0 and n as well.

    (p̂ + z²/2n ± z·√(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n)

    Args:
        counts: Successes, of any shape.
        n: Trials; with 0 trials the interval is [0, 1].
        level: Coverage.

    Returns:
        Lower and upper ends, in the shape of `counts`.

    References:
        Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    successes = np.asarray(counts, dtype=np.float64)
    if n == 0:
        return np.zeros_like(successes), np.ones_like(successes)
    z = float(norm.ppf(0.5 + level / 2))
    p = successes / n
    middle = p + z * z / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    scale = 1 + z * z / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return np.where(successes == 0, 0.0, low), np.where(successes == n, 1.0, high)


def proportion(count: int, n: int, level: float = LEVEL) -> Estimate:
    """A share with its Wilson interval; NaN where n is 0."""
    if n == 0:
        return Estimate(math.nan)
    low, high = wilson_interval(count, n, level)
    return Estimate(count / n, float(low), float(high))


def percentile_interval(value: float, resampled: ArrayLike, level: float = LEVEL) -> Estimate:
    """Percentile interval of resampled estimates, widened where it leaves the estimate out.

    A distance from a target cannot be negative, so near the target resampling only adds to it and the
    bare percentiles lie above the estimate; the interval is then one-sided: from the estimate upwards.
    Resamples in which the number is undefined (NaN) do not count.
    """
    draws = np.asarray(resampled, dtype=np.float64)
    draws = draws[~np.isnan(draws)]
    if math.isnan(value) or not len(draws):
        return Estimate(value)
    # order statistics rather than interpolation: an infinite resample must not turn the ends into NaN
    tails = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(value, min(value, float(tails[0])), max(value, float(tails[1])))


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    n: int,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """The statistic of all n rows, with the percentile interval of resamples with replacement.

    Args:
        statistic: Row numbers `(n,)` → the number.
        n: Rows.
        rng: Source of the resamples.
        resamples: How many.
        level: Coverage.

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    value = float(statistic(np.arange(n)))
    draws = [statistic(rng.integers(0, n, size=n)) for _ in range(resamples)] if n else []
    return percentile_interval(value, draws, level)


def finite(value: Any) -> Any:
    """The same structure of dicts and lists with numbers that JSON lacks (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
