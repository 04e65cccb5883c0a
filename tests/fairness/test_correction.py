import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from qdgs.errors import InputError
from qdgs.fairness.correction import confusion_counts, correct_shares, corrected_shares
from qdgs.fairness.shares import group_shares

NAMES = ["a", "b", "c"]
TARGETS = dict.fromkeys(NAMES, 1 / 3)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def frame(counts: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(counts, index=NAMES, columns=NAMES)


def test_a_faultless_judge_changes_nothing() -> None:
    np.testing.assert_allclose(correct_shares([50, 30, 20], np.eye(3) * 100), [0.5, 0.3, 0.2], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.floats(0.6, 1.0), st.integers(0, 2**32 - 1))
def test_a_known_confusion_is_inverted(groups: int, accuracy: float, seed: int) -> None:
    source = np.random.default_rng(seed)
    p = source.dirichlet(np.full(groups, 3.0))
    errors = source.dirichlet(np.ones(groups), size=groups)
    rates = accuracy * np.eye(groups) + (1 - accuracy) * errors
    np.testing.assert_allclose(correct_shares(p @ rates, rates), p, atol=1e-5)


def test_two_groups_have_the_closed_form() -> None:
    # Rogan and Gladen (1978): p = (q + specificity − 1) / (sensitivity + specificity − 1)
    q, sensitivity, specificity = 0.3, 0.9, 0.8
    p = (q + specificity - 1) / (sensitivity + specificity - 1)
    confusion = [[sensitivity, 1 - sensitivity], [1 - specificity, specificity]]
    assert correct_shares([q, 1 - q], confusion)[0] == pytest.approx(p, abs=1e-8)


def test_outside_of_the_simplex_the_most_likely_shares_are_at_its_edge() -> None:
    read = np.array([0.02, 0.38, 0.6])  # fewer in the first group than errors alone would put there
    rates = np.full((3, 3), 0.1) + 0.7 * np.eye(3)

    def loss(logits: np.ndarray) -> float:
        p = np.exp(logits - logits.max())
        return float(-(read * np.log((p / p.sum()) @ rates)).sum())

    best = minimize(
        loss, np.zeros(3), method="Nelder-Mead", options={"maxiter": 5000, "xatol": 1e-10, "fatol": 1e-14}
    )
    expected = np.exp(best.x) / np.exp(best.x).sum()
    corrected = correct_shares(read, rates)
    np.testing.assert_allclose(corrected, expected, atol=1e-4)
    assert corrected.sum() == pytest.approx(1)
    assert corrected.min() >= 0


def test_many_corrections_at_once_equal_one_by_one() -> None:
    source = rng()
    read = source.dirichlet(np.ones(3), size=5)
    rates = source.dirichlet(np.ones(3), size=(5, 3)) * 0.3 + 0.7 * np.eye(3)
    one_by_one = [correct_shares(q, b) for q, b in zip(read, rates, strict=True)]
    np.testing.assert_allclose(correct_shares(read, rates), one_by_one, atol=1e-5)


def test_a_judge_that_tells_nothing_and_a_set_without_images_do_no_harm() -> None:
    assert correct_shares([3, 7], np.full((2, 2), 0.5)).sum() == pytest.approx(1)
    assert np.isnan(correct_shares([0, 0], np.eye(2))).all()
    assert correct_shares([3, 7], [[9, 1], [0, 0]]).sum() == pytest.approx(1)


def test_confusion_counts_images_that_both_sides_can_read() -> None:
    counts = confusion_counts(["a", "a", "b", None, "c"], ["a", "b", "b", "a", None], NAMES)
    assert counts.loc["a", "b"] == 1
    assert counts.to_numpy().sum() == 3
    with pytest.raises(InputError, match="expected as many known as read groups, got 1 and 2"):
        confusion_counts(["a"], ["a", "b"], NAMES)


def test_the_interval_covers_the_truth_and_the_uncorrected_one_does_not() -> None:
    truth = np.array([0.6, 0.3, 0.1])
    rates = np.array([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]])
    expected = float((np.abs(truth - 1 / 3) * 3).max())
    trials = 120
    covered = uncorrected = smallest = 0
    for seed in range(trials):
        source = np.random.default_rng(seed)
        known = np.stack([source.multinomial(150, row) for row in rates])
        read = source.multinomial(2000, truth @ rates)
        shares = group_shares(np.repeat(NAMES, read).tolist(), TARGETS, source, resamples=200)
        corrected = corrected_shares(shares, frame(known), source, resamples=300)
        covered += corrected.max_share_error.low <= expected <= corrected.max_share_error.high
        smallest += corrected.shares[2].low <= truth[2] <= corrected.shares[2].high
        uncorrected += shares.max_share_error.low <= expected <= shares.max_share_error.high
    assert covered >= 0.9 * trials
    assert smallest >= 0.9 * trials
    assert uncorrected <= 0.2 * trials


def test_a_judge_without_a_mistake_on_few_images_still_leaves_doubt() -> None:
    shares = group_shares(["a"] * 500 + ["b"] * 400 + ["c"] * 100, TARGETS, rng())
    few = corrected_shares(shares, frame(np.eye(3) * 10), rng())
    many = corrected_shares(shares, frame(np.eye(3) * 10_000), rng())
    assert few.shares[2].value == many.shares[2].value == pytest.approx(0.1)
    assert few.shares[2].high - few.shares[2].low > 1.5 * (many.shares[2].high - many.shares[2].low)
    assert few.known == 30


def test_the_order_of_the_confusions_groups_does_not_matter() -> None:
    shares = group_shares(["a"] * 5 + ["b"] * 4 + ["c"] * 1, TARGETS, rng())
    confusion = frame(np.array([[8, 1, 1], [0, 9, 1], [2, 0, 8]]))
    turned = confusion.loc[["c", "a", "b"], ["b", "c", "a"]]
    assert corrected_shares(shares, confusion, rng()) == corrected_shares(shares, turned, rng())


def test_an_unreadable_set_stays_unknown() -> None:
    shares = group_shares([None, None], TARGETS, rng())
    assert math.isnan(corrected_shares(shares, frame(np.eye(3)), rng()).max_share_error.value)


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (frame(np.eye(3)).drop(index="b"), "expected a group 'b' among its rows"),
        (frame(np.eye(3)).drop(columns="c"), "expected a group 'c' among its columns"),
        (frame(-np.eye(3)), "expected counts of at least 0"),
        (frame(np.zeros((3, 3))), "expected counts of images of known group, got none"),
    ],
)
def test_a_confusion_that_is_none_is_refused(confusion: pd.DataFrame, message: str) -> None:
    shares = group_shares(["a", "b", "c"], TARGETS, rng())
    with pytest.raises(InputError, match=message):
        corrected_shares(shares, confusion, rng())
