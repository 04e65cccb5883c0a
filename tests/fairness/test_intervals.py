import math

import numpy as np
import pytest
from scipy.stats import binomtest

from qdgs.fairness.intervals import (
    Estimate,
    bootstrap,
    finite,
    percentile_interval,
    proportion,
    wilson_interval,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [1, 7, 400])
def test_wilson_interval_equals_scipys(n: int, level: float) -> None:
    counts = np.unique(np.linspace(0, n, 9).astype(int))
    low, high = wilson_interval(counts, n, level)
    expected = [binomtest(int(k), n).proportion_ci(level, method="wilson") for k in counts]
    np.testing.assert_allclose(low, [interval.low for interval in expected], atol=1e-12)
    np.testing.assert_allclose(high, [interval.high for interval in expected], atol=1e-12)


def test_nothing_counted_leaves_every_share_possible() -> None:
    low, high = wilson_interval([0, 0], 0)
    assert low.tolist() == [0, 0]
    assert high.tolist() == [1, 1]
    assert math.isnan(proportion(0, 0).value)


def test_a_percentile_interval_holds_the_estimate_even_where_resampling_only_adds_to_it() -> None:
    assert percentile_interval(0.0, np.linspace(1, 2, 101)).low == 0
    assert percentile_interval(0.0, np.linspace(1, 2, 101)).high == pytest.approx(1.98, abs=0.02)


def test_undefined_resamples_do_not_count_and_infinite_ones_do() -> None:
    estimate = percentile_interval(1.0, [math.nan, 0.5, 1.5, math.inf])
    assert (estimate.low, estimate.high) == (0.5, math.inf)
    assert math.isnan(percentile_interval(1.0, [math.nan]).low)
    assert math.isnan(percentile_interval(math.nan, [1.0]).low)


def test_the_bootstrap_of_a_mean_agrees_with_the_central_limit() -> None:
    values = np.random.default_rng(0).normal(size=400)
    estimate = bootstrap(lambda rows: float(values[rows].mean()), 400, np.random.default_rng(1))
    half = 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_an_estimate_without_an_interval_excludes_nothing() -> None:
    assert not Estimate(1.0).excludes(0)
    assert Estimate(1.0, 0.5, 1.5).excludes(0)
    assert not Estimate(1.0, -0.5, 1.5).excludes(0)


def test_numbers_that_json_lacks_become_none() -> None:
    assert finite({"a": [math.nan, 1.0, (math.inf,)], "b": "x"}) == {"a": [None, 1.0, [None]], "b": "x"}
