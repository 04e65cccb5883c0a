import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, entropy

from qdgs.errors import InputError
from qdgs.fairness.shares import count_groups, group_shares, resample_counts, share_numbers

UNIFORM = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_set_on_target_has_no_error_and_full_entropy() -> None:
    shares = group_shares(["a", "b", "c", "d"] * 50, UNIFORM, rng())
    assert shares.counts == (50, 50, 50, 50)
    assert shares.fairness_discrepancy.value == 0
    assert shares.kl.value == 0
    assert shares.max_share_error.value == 0
    assert shares.normalized_entropy.value == pytest.approx(1)
    assert shares.smallest_group_share.value == 0.25
    assert shares.unreadable_share.value == 0


def test_absent_groups_are_filled_with_zero() -> None:
    shares = group_shares(["a"] * 10, UNIFORM, rng())
    assert shares.counts == (10, 0, 0, 0)
    assert shares.normalized_entropy.value == 0
    assert shares.smallest_group_share.value == 0
    assert shares.fairness_discrepancy.value == pytest.approx(math.sqrt(0.75**2 + 3 * 0.25**2))
    assert shares.max_share_error.value == pytest.approx(3)


def test_one_empty_group_of_twelve_hides_in_the_entropy_but_not_in_the_share_error() -> None:
    names = [str(k) for k in range(12)]
    shares = group_shares(names[:11] * 100, dict.fromkeys(names, 1 / 12), rng())
    assert shares.normalized_entropy.value == pytest.approx(math.log(11) / math.log(12))
    assert shares.normalized_entropy.value == pytest.approx(0.965, abs=1e-3)
    assert shares.max_share_error.value == pytest.approx(1)


def test_shares_are_over_the_readable_images() -> None:
    shares = group_shares(["a", None, "b", float("nan"), "a"], {"a": 0.5, "b": 0.5}, rng())
    assert shares.shares == pytest.approx((2 / 3, 1 / 3))
    assert shares.unreadable == 2
    assert shares.unreadable_share.value == pytest.approx(0.4)
    assert shares.images == 5


def test_an_unreadable_set_tells_nothing() -> None:
    shares = group_shares([None, None], UNIFORM, rng())
    assert shares.unreadable_share.value == 1
    assert all(math.isnan(share) for share in shares.shares)
    assert math.isnan(shares.normalized_entropy.value)
    assert math.isnan(shares.max_share_error.value)


def test_a_group_of_target_zero_makes_the_kl_infinite_and_shows_in_the_others() -> None:
    shares = group_shares(["a"] * 45 + ["b"] * 45 + ["c"] * 10, {"a": 0.5, "b": 0.5, "c": 0.0}, rng())
    assert shares.kl.value == math.inf
    assert shares.max_share_error.value == pytest.approx(0.1)
    assert shares.smallest_group_share.value == pytest.approx(0.45)
    assert group_shares(["a", "b"], {"a": 0.5, "b": 0.5, "c": 0.0}, rng()).kl.value == 0


def test_a_single_group_is_balanced() -> None:
    assert group_shares(["a"], {"a": 1.0}, rng()).normalized_entropy.value == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 500), min_size=2, max_size=8).filter(lambda counts: sum(counts) > 0),
    st.integers(0, 2**32 - 1),
)
def test_the_numbers_equal_scipys_and_stay_in_their_bounds(counts: list[int], seed: int) -> None:
    p_hat = np.array(counts) / sum(counts)
    p = np.random.default_rng(seed).dirichlet(np.ones(len(counts)))
    numbers = share_numbers(p_hat, p)
    assert numbers["kl"] == pytest.approx(entropy(p_hat, p), abs=1e-9)
    assert numbers["normalized_entropy"] == pytest.approx(entropy(p_hat) / np.log(len(p)), abs=1e-9)
    assert numbers["fairness_discrepancy"] == pytest.approx(math.dist(p_hat, p))
    assert numbers["max_share_error"] == pytest.approx(
        max(abs(a - b) / b for a, b in zip(p_hat, p, strict=True))
    )
    assert 0 <= numbers["normalized_entropy"] <= 1
    # Pinsker: KL ≥ ‖p̂ − p‖₁²/2 ≥ ‖p̂ − p‖₂²/2
    assert numbers["kl"] >= numbers["fairness_discrepancy"] ** 2 / 2 - 1e-9


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=60))
def test_every_image_is_counted_once(groups: list[str | None]) -> None:
    counts = count_groups(groups, list(UNIFORM))
    assert counts.sum() == len(groups)
    assert counts.tolist() == [groups.count(name) for name in [*UNIFORM, None]]


def test_each_share_has_wilsons_interval() -> None:
    shares = group_shares(["a"] * 30 + ["b"] * 10, {"a": 0.5, "b": 0.5}, rng())
    expected = binomtest(30, 40).proportion_ci(method="wilson")
    assert (shares.low[0], shares.high[0]) == pytest.approx((expected.low, expected.high))


def test_the_multinomial_resample_is_the_bootstrap_of_images() -> None:
    groups = np.array(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    p = np.full(3, 1 / 3)
    source = rng()
    brute = []
    for _ in range(3000):
        drawn = groups[source.integers(0, 100, 100)]
        share = np.array([(drawn == name).mean() for name in "abc"])
        brute.append(np.linalg.norm(share - p))
    counts = resample_counts(np.array([60, 30, 10]), rng(), 3000)
    ours = share_numbers(counts / 100, p)["fairness_discrepancy"]
    np.testing.assert_allclose(
        np.quantile(ours, [0.05, 0.5, 0.95]), np.quantile(brute, [0.05, 0.5, 0.95]), atol=0.01
    )


def test_intervals_are_repeatable_and_cover_the_truth() -> None:
    truth = np.array([0.7, 0.2, 0.1])
    targets = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    expected = float(np.linalg.norm(truth - 1 / 3))
    covered = 0
    for seed in range(120):
        draws = np.random.default_rng(seed).choice(list("abc"), 300, p=truth)
        estimate = group_shares(draws.tolist(), targets, np.random.default_rng(seed), resamples=300)
        covered += estimate.fairness_discrepancy.low <= expected <= estimate.fairness_discrepancy.high
    assert covered >= 106  # 95 % of 120 is 114, its standard deviation 2.4
    same = [group_shares(["a", "b", "c", "a"], targets, np.random.default_rng(5)) for _ in range(2)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({}, "target: expected the share of at least one group, got none"),
        ({"a": 1.5, "b": -0.5}, r"target.b: expected a share of at least 0, got -0.5"),
        ({"a": 0.5}, "target: expected shares that sum to 1, got 0.5"),
        ({"a": math.nan}, "target.a: expected a share of at least 0, got nan"),
    ],
)
def test_targets_that_are_no_shares_are_refused(targets: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        group_shares(["a"], targets, rng())


def test_an_unknown_group_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(InputError, match="unknown 'blue/squar'; did you mean 'blue/square'"):
        group_shares(["blue/squar"], {"blue/square": 1.0}, rng())
