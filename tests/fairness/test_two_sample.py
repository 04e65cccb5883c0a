import numpy as np
import pytest

from qdgs.errors import InputError
from qdgs.fairness.two_sample import leakage, two_sample_test


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_sets_of_one_distribution_are_told_apart_no_better_than_by_chance(rng):
    rows = rng.standard_normal((600, 5))
    test = two_sample_test(rows[:300], rows[300:], rng)
    assert test.accuracy.low < 0.5 < test.accuracy.high
    assert test.p > 0.01
    assert test.n == 600


def test_the_accuracy_is_near_that_of_the_best_classifier(rng):
    first, second = rng.standard_normal((2000, 1)), 2 + rng.standard_normal((2000, 1))
    test = two_sample_test(first, second, rng)
    assert test.accuracy.value == pytest.approx(0.841, abs=0.02)  # Φ(1): half way between the means
    assert test.p < 1e-6


def test_the_larger_set_is_thinned(rng):
    test = two_sample_test(rng.standard_normal((40, 2)), rng.standard_normal((900, 2)), rng)
    assert test.n == 80


def test_too_few_images_are_told(rng):
    with pytest.raises(InputError, match="at least 10 images in each set, got 3"):
        two_sample_test(np.zeros((3, 2)), np.zeros((50, 2)), rng)


def test_what_says_nothing_of_groups_does_not_leak(rng):
    told = leakage(rng.standard_normal(900), rng.choice(["a", "b", "c"], 900), rng)
    assert told.low < 0.53
    assert abs(told.value - 0.5) < 0.06


def test_leakage_is_the_area_under_the_best_classifiers_curve(rng):
    groups = np.repeat(["a", "b"], 2000)
    values = rng.standard_normal(4000) + (groups == "b")
    told = leakage(values, groups, rng)
    assert told.value == pytest.approx(0.760, abs=0.02)  # Φ(1/√2)
    assert told.low < told.value < told.high


def test_missing_values_may_tell_a_group(rng):
    groups = np.repeat(["a", "b"], 200)
    assert leakage(np.where(groups == "a", np.nan, 0.5), groups, rng).value > 0.99


def test_groups_of_a_few_images_are_left_out(rng):
    groups = np.array(["a"] * 200 + ["b"] * 200 + ["c"] * 3)
    values = rng.standard_normal(403)
    assert np.isfinite(leakage(values, groups, rng).value)
    assert np.isnan(leakage(values[:203], np.array(["a"] * 200 + ["c"] * 3), rng).value)


def test_lengths_must_agree(rng):
    with pytest.raises(InputError, match="a group for each of 4 rows"):
        leakage(np.zeros(4), ["a", "b"], rng)
