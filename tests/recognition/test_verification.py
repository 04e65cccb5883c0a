"""The verification against an independent slow version."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from qdgs.errors import InputError
from qdgs.fairness.intervals import Estimate
from qdgs.recognition.verification import (
    FALSE_ACCEPT_RATES,
    THRESHOLDS,
    _interval,
    _worst,
    folded,
    folds_of,
    squared_distances,
    verify_distances,
)


def random_pairs(n=400, dim=8, seed=0, noise=0.9):
    """Unit embeddings of pairs, half of them of one person."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, n, dim))
    same = rng.random(n) < 0.5
    second[same] = first[same] + noise * rng.normal(size=(same.sum(), dim))
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (first, second)]
    groups = rng.choice(["dark", "light", "medium"], n)
    return *unit, same, groups


def slow_distance(one, other):
    return sum((x - y) ** 2 for x, y in zip(one.tolist(), other.tolist(), strict=True))


def slow_folds(same, groups, folds=10):
    """Runs of each group's same and different pairs; what is left over goes to the folds in turn."""
    fold_of, turn = [None] * len(same), 0
    for group in sorted(set(groups)):
        for kind in (True, False):
            rows = [row for row in range(len(same)) if groups[row] == group and same[row] == kind]
            sizes = [len(rows) // folds] * folds
            for _ in range(len(rows) % folds):
                sizes[turn % folds] += 1
                turn += 1
            for fold, size in enumerate(sizes):
                for row in rows[:size]:
                    fold_of[row] = fold
                rows = rows[size:]
    return fold_of


def slow_accuracy(distances, same, fold_of, folds=10):
    """The protocol once more, pair by pair."""
    accuracies = []
    for fold in range(folds):
        best, best_right = 0.0, -1
        for step in range(400):
            threshold = step * 0.01
            right = sum(
                (d < threshold) == s for d, s, f in zip(distances, same, fold_of, strict=True) if f != fold
            )
            if right > best_right:
                best, best_right = threshold, right
        told = [(d < best) == s for d, s, f in zip(distances, same, fold_of, strict=True) if f == fold]
        accuracies.append(sum(told) / len(told))
    return sum(accuracies) / folds


def slow_tar(distances, same, far):
    best = 0.0
    for threshold in [-1.0, *distances]:
        accepted = [d <= threshold for d in distances]
        false = sum(a and not s for a, s in zip(accepted, same, strict=True)) / sum(not s for s in same)
        true = sum(a and s for a, s in zip(accepted, same, strict=True)) / sum(same)
        if false <= far:
            best = max(best, true)
    return best


def slow_equal_error(distances, same):
    """Where the two mistakes, drawn as lines between the distances, cross."""
    points = []
    for threshold in sorted(set(distances)):
        refused = sum(d > threshold for d, s in zip(distances, same, strict=True) if s) / sum(same)
        accepted = sum(d <= threshold for d, s in zip(distances, same, strict=True) if not s)
        points.append((threshold, refused, accepted / (len(same) - sum(same))))
    for (t0, r0, a0), (t1, r1, a1) in itertools.pairwise(points):
        if a0 < r0 and a1 >= r1:
            share = (r0 - a0) / ((r0 - a0) - (r1 - a1))
            return t0 + share * (t1 - t0), a0 + share * (a1 - a0)
    raise AssertionError("they do not cross")


@pytest.mark.parametrize("seed", [0, 1])
def test_everything_agrees_with_a_slow_version(seed):
    first, second, same, groups = random_pairs(n=203, seed=seed)
    distances = squared_distances(first, second)
    slow = [slow_distance(one, other) for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(distances, slow, atol=1e-12)
    told = verify_distances(distances, same, groups, rng=np.random.default_rng(0), resamples=20)
    fold_of = slow_folds(same.tolist(), groups.tolist())
    assert told.accuracy == pytest.approx(slow_accuracy(slow, same.tolist(), fold_of), abs=1e-6)
    threshold, rate = slow_equal_error(slow, same.tolist())
    assert told.equal_error_threshold == pytest.approx(threshold, abs=1e-6)
    assert told.equal_error_rate == pytest.approx(rate, abs=1e-6)
    for far in FALSE_ACCEPT_RATES:
        assert told.true_accepts[far] == pytest.approx(slow_tar(slow, same.tolist(), far), abs=1e-6)
    for name, group in told.groups.items():
        part = groups == name
        own = [d for d, inside in zip(slow, part, strict=True) if inside]
        assert group.n == part.sum()
        assert group.different == (~same[part]).sum()
        for far in FALSE_ACCEPT_RATES:
            assert group.true_accepts[far] == pytest.approx(slow_tar(own, same[part].tolist(), far), abs=1e-6)
    correct, _ = folded(distances, same, folds_of(same, groups))
    assert sum(g.accuracy.value * g.n for g in told.groups.values()) == pytest.approx(correct.sum())
    assert told.worst.value == min(group.accuracy.value for group in told.groups.values())
    assert told.groups[told.worst_group].accuracy.value == told.worst.value


def test_thresholds_come_from_the_other_folds():
    # the first fold's distances lie elsewhere; a threshold that had seen them would tell all of them right
    distances = np.tile([0.5, 1.5], 50)
    same = np.tile([True, False], 50)
    distances[:10] += 2
    correct, thresholds = folded(distances, same, folds_of(same))
    assert thresholds == pytest.approx([0.51] * 10)
    assert correct[:10].tolist() == [False, True] * 5
    assert correct[10:].all()


def test_folds_are_consecutive_runs_as_the_fields_programs_take_them():
    same = np.tile([True, False], 52)[:103]
    sizes = [11, 11, 11, *[10] * 7]
    assert folds_of(same).tolist() == np.repeat(np.arange(10), sizes).tolist()


def test_no_group_is_a_fold_however_the_list_is_sorted():
    groups = np.repeat(["a", "b", "c"], [44, 57, 62])
    same = np.concatenate([np.arange(n) < n // 2 for n in (44, 57, 62)])
    fold_of = folds_of(same, groups)
    assert sorted(np.bincount(fold_of)) == [16] * 7 + [17] * 3
    for name in "abc":
        for kind in (True, False):
            counts = np.bincount(fold_of[(groups == name) & (same == kind)], minlength=10)
            assert counts.max() - counts.min() <= 1


def test_a_shifted_group_is_found_with_its_shift():
    rng = np.random.default_rng(0)
    n = 3000
    groups = np.repeat(["near", "far"], n)
    same = np.tile([True, False], n)
    distances = rng.normal(np.where(same, 1.0, 2.0), 0.25) + np.where(groups == "far", 0.4, 0.0)
    told = verify_distances(distances, same, groups, rng=np.random.default_rng(1), resamples=200)
    shifts = {name: group.threshold_shift for name, group in told.groups.items()}
    assert shifts["far"].value - shifts["near"].value == pytest.approx(0.4, abs=0.03)
    assert shifts["far"].low > 0 > shifts["near"].high
    assert all(group.own_accuracy > group.accuracy.value for group in told.groups.values())


def test_a_shift_is_from_the_threshold_of_all_pairs_also_of_groups_left_out():
    rng = np.random.default_rng(0)
    same = np.concatenate([np.tile([True, False], 200), np.zeros(600, bool)])
    groups = np.repeat(["F", "M", "F and M"], [200, 200, 600])
    distances = rng.normal(np.where(same, 1.0, 1.6), 0.3) + np.where(groups == "F and M", 0.3, 0.0)
    told = verify_distances(distances, same, groups, rng=np.random.default_rng(1), resamples=100)
    assert told.left_out == ("F and M",)
    for group in told.groups.values():
        shift = group.threshold_shift
        assert shift.value == pytest.approx(group.equal_error_threshold - told.equal_error_threshold)
        assert shift.low < shift.value < shift.high


def test_intervals_of_accuracy_are_those_of_resampled_pairs():
    first, second, same, groups = random_pairs(n=600)
    distances = squared_distances(first, second)
    told = verify_distances(distances, same, groups, rng=np.random.default_rng(0), resamples=4000)
    correct = folded(distances, same, folds_of(same, groups))[0]
    rng = np.random.default_rng(1)
    for name, group in told.groups.items():
        own = correct[groups == name]
        draws = [own[rng.integers(0, len(own), len(own))].mean() for _ in range(4000)]
        low, high = np.quantile(draws, [0.025, 0.975])
        assert group.accuracy.low == pytest.approx(low, abs=0.01)
        assert group.accuracy.high == pytest.approx(high, abs=0.01)
    worst = np.min([g.accuracy.low for g in told.groups.values()])
    assert told.worst.low <= worst + 0.01


@pytest.mark.parametrize(
    ("same", "message"),
    [
        ([True] * 20, "none of them different"),
        ([False] * 20, "none of them same"),
        ([True, False] * 4, "at least 10"),
    ],
)
def test_pairs_that_do_not_suffice_are_refused(same, message):
    with pytest.raises(InputError, match=message):
        verify_distances(np.linspace(0, 4, len(same)), np.array(same), rng=np.random.default_rng(0))


def test_a_group_of_one_kind_of_pairs_counts_in_the_whole_and_is_left_out_of_the_groups():
    same = np.array([True, False] * 20 + [False] * 12 + [True, False])
    groups = np.array(["F"] * 40 + ["F and M"] * 12 + ["M"] * 2)
    told = verify_distances(np.linspace(0, 4, 54), same, groups, rng=np.random.default_rng(0))
    assert (told.n, list(told.groups), told.left_out) == (54, ["F"], ("F and M", "M"))
    assert told.to_json()["left_out"] == ["F and M", "M"]
    with pytest.raises(InputError, match=r"expected at least 10 pairs of one, same and .* largest, 'alike'"):
        verify_distances(
            np.linspace(0, 4, 40),
            same[:40],
            np.where(same[:40], "alike", "others"),
            rng=np.random.default_rng(0),
        )


@pytest.mark.parametrize("truth", [[0.9] * 8, [0.9] * 3, [0.8, 0.95, 0.95]])
def test_the_lowest_accuracys_interval_covers_it_also_where_groups_are_alike(truth):
    rng, n = np.random.default_rng(0), 300
    covered = 0
    for _ in range(200):
        groups = {str(i): SimpleNamespace(accuracy=Estimate(rng.binomial(n, p) / n), n=n)
                  for i, p in enumerate(truth)}  # fmt: skip
        found = _worst(groups, rng, 1000, 0.95)
        covered += found.low <= min(truth) <= found.high
    assert covered >= 186


def test_a_share_of_all_pairs_still_has_an_interval():
    found = _interval(1.0, 10, np.random.default_rng(0), 100, 0.95)
    assert (found.value, found.high) == (1.0, pytest.approx(1.0))
    assert found.low == pytest.approx(1 / (1 + 1.96**2 / 10), rel=1e-3)


def test_folds_that_are_given_are_those_whose_thresholds_are_chosen_apart():
    rng = np.random.default_rng(4)
    same = np.tile([True, False], 60)
    folds = np.repeat([0, 1, 2], 40)
    # the third fold lies elsewhere: thresholds of the others are wrong for it
    distances = np.where(same, 0.4, 1.2) + 0.1 * rng.random(120) + np.where(folds == 2, 1.0, 0.0)
    result = verify_distances(distances, same, rng=rng, folds=folds)
    assert result.folds == 3
    correct, thresholds = folded(distances, same, folds)
    for fold in range(3):
        others = folds != fold
        scores = [((distances[others] < t) == same[others]).mean() for t in THRESHOLDS]
        assert thresholds[fold] == THRESHOLDS[int(np.argmax(scores))]
        right = (distances[~others] < thresholds[fold]) == same[~others]
        assert (correct[~others] == right).all()
    assert not correct[(folds == 2) & same].any()


def test_a_group_within_one_fold_has_no_thresholds_of_its_own():
    rng = np.random.default_rng(5)
    same = np.tile([True, False], 40)
    folds, groups = np.repeat([0, 1], 40), np.repeat(["a", "b"], 40)
    result = verify_distances(np.where(same, 0.4, 1.2), same, groups, rng=rng, folds=folds)
    assert np.isnan(result.groups["a"].own_accuracy)
    assert result.groups["a"].accuracy.value == 1
    assert result.to_json()["groups"]["a"]["own_accuracy"] is None
