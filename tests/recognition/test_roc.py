"""The curve against scikit-learn, and where its mistakes are equal."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve as sklearn_roc

from qdgs.recognition.roc import roc_curve


@given(seed=st.integers(0, 10_000), n=st.integers(4, 60), decimals=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_curve_is_scikit_learns(seed, n, decimals):
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, 4, n).round(decimals)  # with ties
    same = np.append([True, False], rng.random(n - 2) < 0.5)
    curve = roc_curve(distances, same)
    false, true, thresholds = sklearn_roc(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_accepts, false, atol=1e-12)
    np.testing.assert_allclose(curve.true_accepts, true, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds[1:], -thresholds[1:], atol=1e-12)


def test_equal_error_lies_where_normal_distances_cross():
    # same ~ N(1, 0.3), different ~ N(2, 0.3): both mistakes are Φ(−0.5/0.3) at 1.5
    rng = np.random.default_rng(0)
    distances = np.concatenate([rng.normal(1, 0.3, 40_000), rng.normal(2, 0.3, 40_000)])
    same = np.arange(80_000) < 40_000
    threshold, rate = roc_curve(distances, same).equal_error()
    assert threshold == pytest.approx(1.5, abs=0.01)
    assert rate == pytest.approx(0.5 * math.erfc(0.5 / 0.3 / math.sqrt(2)), abs=0.003)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_at_equal_error_both_mistakes_are_that_large_up_to_one_pair(seed):
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, 4, 50)
    same = np.arange(50) < 20
    threshold, rate = roc_curve(distances, same).equal_error()
    refused, accepted = (distances[same] > threshold).mean(), (distances[~same] <= threshold).mean()
    assert abs(refused - rate) <= 1 / 20 + 1e-9
    assert abs(accepted - rate) <= 1 / 20 + 1e-9
