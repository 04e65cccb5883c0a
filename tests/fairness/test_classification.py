import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.stats import ttest_rel
from sklearn.metrics import average_precision_score, confusion_matrix, recall_score

from qdgs.errors import InputError
from qdgs.fairness.classification import (
    average_precision,
    bias_amplification,
    by_group_frame,
    classification_metrics,
    classification_numbers,
    equal_opportunity_difference,
    group_accuracy,
    matching_threshold,
    paired_interval,
    score_divergence,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def sample(n: int, seed: int, groups: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    a = source.integers(0, groups, n)
    y = source.random(n) < 0.3 + 0.3 * (a == 1)
    return y, source.normal(size=n) + y + 0.3 * a, a


def test_accuracy_is_told_by_group() -> None:
    correct = [True] * 9 + [False] + [True] * 2 + [False] * 2
    result = group_accuracy(correct, ["a"] * 10 + ["b"] * 4)
    assert {name: estimate.value for name, estimate in result.by_group.items()} == {"a": 0.9, "b": 0.5}
    assert result.counts == {"a": 10, "b": 4}
    assert (result.mean, result.worst, result.worst_group) == (0.7, 0.5, "b")
    assert result.overall == pytest.approx(11 / 14)
    assert result.by_group["b"].low < 0.5 < result.by_group["b"].high


def test_no_images_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="expected sequences of one length of at least 1, got correct of 0"):
        group_accuracy([], [])
    with pytest.raises(InputError, match="correct of 2, groups of 1"):
        group_accuracy([True, False], ["a"])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_the_threshold_predicts_as_many_positives_as_there_are(n: int, seed: int) -> None:
    y, s, _ = sample(n, seed)
    assert (s >= matching_threshold(y, s)).sum() == y.sum()


def test_the_average_precision_is_sklearns_and_unknown_without_positives() -> None:
    y, s, _ = sample(200, 0)
    assert average_precision(y, s) == pytest.approx(average_precision_score(y, s))
    assert math.isnan(average_precision([0, 0], [0.1, 0.2]))


def test_the_equal_opportunity_difference_is_that_of_sklearns_recalls() -> None:
    y, s, a = sample(400, 1)
    prediction = s > 0.5
    recalls = [recall_score(y[a == value], prediction[a == value]) for value in (0, 1)]
    expected = abs((1 - recalls[0]) - (1 - recalls[1]))
    assert equal_opportunity_difference(y, prediction, a) == pytest.approx(expected)
    names = np.where(a == 1, "f", "m")
    assert equal_opportunity_difference(y, prediction, names) == pytest.approx(expected)


def test_of_more_groups_the_worst_pair_counts() -> None:
    y, s, a = sample(600, 2, groups=4)
    prediction = s > 0.5
    pairs = [(i, j) for i in range(4) for j in range(i)]
    subsets = [np.isin(a, pair) for pair in pairs]
    for metric in (equal_opportunity_difference, bias_amplification):
        worst = max((metric(y[rows], prediction[rows], a[rows]) for rows in subsets), key=abs)
        assert metric(y, prediction, a) == pytest.approx(worst)
    assert score_divergence(y, s, a).mean == pytest.approx(
        max(score_divergence(y[rows], s[rows], a[rows]).mean for rows in subsets)
    )


def brute_force_amplification(y: np.ndarray, prediction: np.ndarray, a: np.ndarray) -> float:
    deltas = []
    for t in (0, 1):
        for value in (0, 1):
            given_group = [int(target) == t for target, group in zip(y, a, strict=True) if group == value]
            predicted = [
                int(target) == t for target, group in zip(prediction, a, strict=True) if group == value
            ]
            true_rate, predicted_rate = np.mean(given_group), np.mean(predicted)
            overall = np.mean(y == t)
            sign = 0 if np.isclose(true_rate, overall) else (1 if true_rate > overall else -1)
            deltas.append(sign * (predicted_rate - true_rate))
    return float(np.mean(deltas))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bias_amplification_is_the_mean_of_four_signed_differences(seed: int) -> None:
    y, s, a = sample(120, seed)
    prediction = s > 0.6
    assert bias_amplification(y, prediction, a) == pytest.approx(
        brute_force_amplification(y, prediction, a), abs=1e-12
    )


def test_a_classifier_that_sees_only_the_group_amplifies_and_a_perfect_one_does_not() -> None:
    a = np.repeat([0, 1], 50)
    y = np.concatenate([np.arange(50) < 10, np.arange(50) < 40])
    assert bias_amplification(y, a == 1, a) == pytest.approx(0.2)
    assert bias_amplification(y, y, a) == 0
    balanced = np.tile(np.arange(50) < 25, 2)
    assert bias_amplification(balanced, a == 1, a) == 0


def test_numbers_that_need_two_groups_are_unknown_for_one() -> None:
    y, s, _ = sample(50, 0)
    a = np.zeros(50)
    assert math.isnan(equal_opportunity_difference(y, s > 0.5, a))
    assert math.isnan(bias_amplification(y, s > 0.5, a))
    assert math.isnan(score_divergence(y, s, a).mean)


def test_score_divergences_follow_their_definition() -> None:
    y, s, a = sample(500, 3)
    edges = np.linspace(s.min(), s.max(), 51)

    def histogram(rows: np.ndarray) -> np.ndarray:
        bins = np.clip(np.digitize(s[rows], edges) - 1, 0, 49)
        smooth = gaussian_filter1d(np.bincount(bins, minlength=50).astype(float), 1)
        return smooth / smooth.sum() + 1e-6

    result = score_divergence(y, s, a)
    for target, (forward, backward) in ((True, result.positives), (False, result.negatives)):
        p, q = histogram((y == target) & (a == 0)), histogram((y == target) & (a == 1))
        assert forward == pytest.approx(sum(p * np.log(p / q)), rel=1e-9)
        assert backward == pytest.approx(sum(q * np.log(q / p)), rel=1e-9)
    assert result.mean == pytest.approx(np.mean([*result.positives, *result.negatives]))


def test_equal_distributions_do_not_diverge_and_shifted_ones_do() -> None:
    s = np.tile(np.linspace(0, 1, 100), 4)
    y, a = np.repeat([0, 1, 0, 1], 100), np.repeat([0, 0, 1, 1], 100)
    assert score_divergence(y, s, a).mean == pytest.approx(0, abs=1e-12)
    # each group on a range of its own would not see this shift
    assert score_divergence(y, s + 2 * a, a).mean > 5


def test_divergence_is_unknown_where_a_group_lacks_one_target() -> None:
    result = score_divergence([1, 1, 0], [0.1, 0.5, 0.9], [0, 1, 0])
    assert math.isnan(result.mean)


def test_metrics_come_with_repeatable_intervals_around_them() -> None:
    y, s, a = sample(300, 4)
    one, two = (classification_metrics(y, s, a, np.random.default_rng(7), resamples=60) for _ in range(2))
    assert one == two
    assert {name: estimate.value for name, estimate in one.items()} == classification_numbers(y, s, a)
    for estimate in one.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < estimate.high


def test_rates_by_group_are_those_of_the_confusion_matrix() -> None:
    y, s, a = sample(300, 5, groups=3)
    frame = by_group_frame(y, s > 0.5, a)
    for group in range(3):
        rows = a == group
        tn, fp, fn, tp = confusion_matrix(y[rows], s[rows] > 0.5).ravel()
        expected = [rows.sum(), tp + fn, (tn + tp) / rows.sum(), fn / (fn + tp), fp / (fp + tn)]
        np.testing.assert_allclose(frame.loc[group].to_numpy(dtype=float), expected)
    assert isinstance(frame, pd.DataFrame)


def test_the_paired_interval_is_that_of_the_paired_t_test() -> None:
    a, b = rng().normal(1, 1, 5), rng().normal(0, 1, 5) + np.array([0.1, -0.2, 0.3, 0.0, 0.1])
    expected = ttest_rel(a, b).confidence_interval(0.95)
    estimate = paired_interval(a, b)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert estimate.value == pytest.approx((a - b).mean())


def test_the_bootstrap_of_pairs_nears_the_t_interval_for_many_of_them() -> None:
    a, b = rng().normal(1, 1, 200), np.random.default_rng(1).normal(0, 1, 200)
    by_t = paired_interval(a, b)
    by_bootstrap = paired_interval(a, b, rng(), method="bootstrap")
    assert by_bootstrap.low == pytest.approx(by_t.low, abs=0.03)
    assert by_bootstrap.high == pytest.approx(by_t.high, abs=0.03)
    with pytest.raises(InputError, match="expected a random generator for the bootstrap, got none"):
        paired_interval(a, b, method="bootstrap")


def test_one_pair_has_no_interval_and_excludes_nothing() -> None:
    estimate = paired_interval([1.0], [0.0])
    assert estimate.value == 1
    assert not estimate.excludes(0)
    with pytest.raises(InputError, match="a of 2, b of 1"):
        paired_interval([1.0, 2.0], [0.0])
