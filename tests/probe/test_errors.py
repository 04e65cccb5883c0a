import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.fairness.intervals import wilson_interval
from qdgs.probe.errors import group_errors, known_confusion, worst_group

ATTRIBUTES = {"color": ("red", "blue"), "shape": ("tall", "wide")}
GROUPS = ("red/tall", "red/wide", "blue/tall", "blue/wide")
RIGHT = np.array([0, 1, 0, 1])


def confusion_frame(rows):
    return pd.DataFrame(rows, columns=["color", "color_read", "count"])


def test_without_a_confusion_errors_are_counted_with_wilson_s_interval():
    codes = np.repeat([0, 1, 2, 3], 50)
    given = np.concatenate([np.repeat([0, 1], [50 - wrong, wrong]) for wrong in (0, 45, 10, 50)])
    errors = group_errors(GROUPS, codes, given, RIGHT, 2, np.random.default_rng(0))
    assert [told.error.value for told in errors] == [0, 0.1, 0.2, 0]
    low, high = wilson_interval(10, 50)
    assert (errors[2].error.low, errors[2].error.high) == (pytest.approx(low), pytest.approx(high))


def test_a_judge_that_mixes_groups_up_is_corrected_for_exactly():
    # of what is red a fifth is read as blue; the model errs on everything that is blue and tall
    frame = confusion_frame([("red", "red", 800), ("red", "blue", 200), ("blue", "blue", 1000)])
    confusion = known_confusion(frame, ATTRIBUTES)
    assert (confusion.known, confusion.attributes) == (2000, ("color",))
    # 5,000 true images of each group, as they are read: 4,000 red and 6,000 blue of either shape
    codes = np.repeat([0, 1, 2, 3], [4000, 4000, 6000, 6000])
    given = np.concatenate(
        [np.zeros(4000), np.ones(4000), np.repeat([1, 0], [5000, 1000]), np.ones(6000)]
    ).astype(int)
    errors = group_errors(
        GROUPS,
        codes,
        given,
        RIGHT,
        2,
        np.random.default_rng(0),
        confusion=confusion,
        prior=np.bincount(codes),
    )
    assert errors[2].observed.value == pytest.approx(5 / 6)
    np.testing.assert_allclose([told.error.value for told in errors], [0, 0, 1, 0], atol=1e-3)
    for told, truth in zip(errors, [0, 0, 1, 0], strict=True):
        assert told.error.low <= truth <= told.error.high + 1e-9


def test_a_rare_group_is_contaminated_the_more():
    frame = confusion_frame([("red", "red", 90), ("red", "blue", 10), ("blue", "blue", 100)])
    confusion = known_confusion(frame, ATTRIBUTES)
    codes = np.repeat([0, 1, 2, 3], 100)
    given = np.concatenate([np.zeros(100), np.ones(100), np.repeat([1, 0], [50, 50]), np.ones(100)]).astype(
        int
    )
    common = group_errors(GROUPS, codes, given, RIGHT, 2, np.random.default_rng(0), confusion=confusion)
    rare = group_errors(
        GROUPS,
        codes,
        given,
        RIGHT,
        2,
        np.random.default_rng(0),
        confusion=confusion,
        prior=np.array([800, 800, 200, 200]),
    )
    assert rare[2].error.value > common[2].error.value > 0.5


def test_too_few_answers_give_no_number_and_failures_are_counted():
    codes = np.repeat([0, 1, 2, 3], [30, 10, 30, 30])
    given = np.where(np.arange(100) < 15, -1, RIGHT[codes])
    errors = group_errors(GROUPS, codes, given, RIGHT, 2, np.random.default_rng(0), smallest=20)
    assert [np.isnan(told.error.value) for told in errors] == [True, True, False, False]
    assert (errors[0].images, errors[0].failed, errors[0].answered) == (30, 15, 15)


def test_what_the_judge_brings_of_other_attributes_is_no_confusion():
    frame = pd.DataFrame({"size": ["s"], "size_read": ["s"], "count": [3]})
    assert known_confusion(frame, ATTRIBUTES) is None
    assert known_confusion(None, ATTRIBUTES) is None


def test_the_worst_group_is_told_of_the_half_that_it_was_not_chosen_on():
    codes = np.repeat([0, 1, 2, 3], 40)
    halves = np.tile([0, 1], 80)
    wrong = np.zeros(160, dtype=bool)
    wrong[(codes == 1) & (halves == 0)] = True  # bad luck of one half
    wrong[(codes == 2)] = np.arange(40) % 4 < 2
    told = worst_group(GROUPS, codes, halves, wrong, np.ones(160, dtype=bool))
    assert (told.group, told.chosen, told.error.value) == ("red/wide", 1.0, 0.0)
    assert told.others.value == pytest.approx(0.5 / 3)
    assert not told.stands_out


def test_the_worst_of_equal_groups_is_not_worse_on_the_other_half():
    rng = np.random.default_rng(0)
    codes, halves = np.repeat(np.arange(4), 50), np.tile([0, 1], 100)
    chosen, told = [], []
    for _ in range(200):
        worst = worst_group(GROUPS, codes, halves, rng.random(200) < 0.3, np.ones(200, dtype=bool))
        chosen.append(worst.chosen)
        told.append(worst.error.value)
    assert np.mean(chosen) > 0.38
    assert np.mean(told) == pytest.approx(0.3, abs=0.02)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=8, max_size=8), st.integers(0, 10))
def test_corrected_errors_are_shares_within_their_intervals(counts, mistakes):
    frame = confusion_frame([("red", "red", 20), ("red", "blue", mistakes), ("blue", "blue", 20)])
    codes = np.repeat(np.repeat(np.arange(4), 2), counts)
    given_answers = np.repeat(np.tile([0, 1], 4), counts)
    confusion = known_confusion(frame, ATTRIBUTES)
    errors = group_errors(
        GROUPS, codes, given_answers, RIGHT, 2, np.random.default_rng(0), confusion=confusion, smallest=1
    )
    for told in errors:
        if told.answered:
            assert 0 <= told.error.low <= told.error.value <= told.error.high <= 1


def test_a_group_stands_out_where_its_interval_is_above_that_of_the_others():
    codes, halves = np.repeat(np.arange(4), 80), np.tile([0, 1], 160)
    for share, apart in ((0.35, False), (0.9, True)):
        wrong = np.tile(np.arange(40) // 2 % 20 < 6, 8)
        wrong[codes == 2] = np.arange(80) // 2 % 20 < 20 * share
        told = worst_group(GROUPS, codes, halves, wrong, np.ones(320, dtype=bool))
        assert told.group == "blue/tall"
        assert told.others.low < 0.3 < told.others.high
        assert told.stands_out == apart
