import pytest

from qdgs.report.numbers import SECTIONS, entries, warnings_of

GOOD = {
    "images": 2000,
    "label_agreement": 0.97,
    "max_share_error": 0.05,
    "group_diversity_ratio": 0.9,
    "near_duplicates": 0.01,
    "clipped_fraction": 0.02,
    "gate_acceptance": 0.8,
    "smallest_group_share": 0.24,
    "unreadable_share": 0.01,
}


def test_every_number_says_what_it_means_and_what_not() -> None:
    for number in (number for numbers in SECTIONS.values() for number in numbers):
        assert number.means.endswith(".")
        assert number.limits.endswith(".")


def test_no_number_is_told_twice() -> None:
    keys = [number.key for numbers in SECTIONS.values() for number in numbers]
    assert len(keys) == len(set(keys))


def test_numbers_stand_beside_those_of_random_samples() -> None:
    rows = entries(
        {"label_agreement": 0.97, "random_label_agreement": 0.55, "evaluations": 20096, "qd_score": None}
    )
    (agreement,) = rows["The dataset, as the auditor sees it"]
    assert (agreement.value, agreement.random) == ("97 %", "55 %")
    (evaluations,) = rows["The search"]
    assert (evaluations.value, evaluations.random) == ("20,096", None)


def test_a_good_run_raises_no_warning() -> None:
    assert warnings_of(GOOD) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gate_acceptance", 0.31, "The gate let only 31 %"),
        ("label_agreement", 0.8, "confirms only 80 %"),
        ("max_share_error", 0.5, "misses its share by 50 %"),
        ("smallest_group_share", 0.0, "no image at all"),
        ("unreadable_share", 0.3, "cannot read 30 %"),
        ("group_diversity_ratio", 0.4, "Balanced but narrow: within a group the images are only 0.4 times"),
        ("near_duplicates", 0.034, "3.4 %"),
        ("clipped_fraction", 0.2, "20 %"),
    ],
)
def test_each_worrying_number_is_one_warning(key: str, value: float, said: str) -> None:
    (sentence,) = warnings_of(GOOD | {key: value})
    assert said in sentence


def test_a_shared_judge_and_a_missing_one_are_said() -> None:
    assert "another role" in warnings_of(GOOD, shared_judge=True)[0]
    assert "No auditor" in warnings_of({"images": 10})[0]
    assert "No auditor" in warnings_of({"images": 10, "label_agreement": None, "max_share_error": None})[0]


def test_labels_that_nobody_confirms_are_said() -> None:
    (sentence,) = warnings_of(GOOD | {"label_agreement": None})
    assert "grades the groups and not the labels" in sentence


def test_groups_whose_diversity_is_unknown_are_named() -> None:
    (sentence,) = warnings_of(GOOD, left_out={"red/square": "too few"})
    assert "diversity of red/square" in sentence
