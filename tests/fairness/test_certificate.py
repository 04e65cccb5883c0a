import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.errors import InputError
from qdgs.fairness.certificate import (
    Labels,
    certificate_sentences,
    certify,
    more_to_halve,
    read_labels,
)

TARGETS = {"a": 0.5, "b": 0.25, "c": 0.25}


def population(rng: np.random.Generator, n: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What images were made as, what they are, and what a judge reads: right in 85 %, blind in 5 %."""
    made = rng.choice(3, n, p=[0.5, 0.25, 0.25])
    truth = np.where(rng.random(n) < 0.1, rng.integers(-1, 3, n), made)
    read = np.where(rng.random(n) < 0.1, rng.integers(0, 3, n), truth)
    return made, truth, np.where(rng.random(n) < 0.05, -1, read)


def true_shares(truth: np.ndarray) -> np.ndarray:
    return np.bincount(truth[truth >= 0], minlength=3) / (truth >= 0).sum()


def drawn(rng: np.random.Generator, strata: np.ndarray, n: int) -> np.ndarray:
    """A proportionally stratified sample."""
    parts = []
    for stratum in range(3):
        members = np.flatnonzero(strata == stratum)
        parts.append(rng.choice(members, round(n * len(members) / len(strata)), replace=False))
    return np.concatenate(parts)


def test_labelling_everything_gives_the_exact_shares_without_width() -> None:
    rng = np.random.default_rng(0)
    made, truth, read = population(rng, 300)
    rows = rng.permutation(300)
    certificate = certify(Labels(rows, truth[rows]), made, read, TARGETS, rng)
    for share, expected in zip(certificate.shares, true_shares(truth), strict=True):
        assert (share.value, share.low, share.high) == pytest.approx([expected] * 3)
    assert certificate.unreadable_share.value == pytest.approx((truth < 0).mean())
    assert certificate.more_to_halve == 0


def test_the_estimate_is_the_post_stratified_one_by_hand() -> None:
    # ten images: the judge reads six as a and four as b; of the a's one of three labelled is a b
    read = np.array([0] * 6 + [1] * 4)
    labels = Labels(np.array([0, 1, 2, 6, 7]), np.array([0, 0, 1, 1, 1]))
    certificate = certify(
        labels, np.zeros(10, dtype=np.int64), read, {"a": 0.5, "b": 0.5}, np.random.default_rng(0)
    )
    assert [share.value for share in certificate.shares] == pytest.approx([0.6 * 2 / 3, 0.6 / 3 + 0.4])
    assert certificate.judge_agreement.value == pytest.approx(4 / 5)
    assert certificate.read == pytest.approx((0.6, 0.4))
    assert certificate.worst_group in ("a", "b")


def test_weights_undo_a_sample_that_is_not_in_proportion() -> None:
    # without a judge the estimate is the stratified one: Σ_h N_h/N · share within h
    strata = np.array([0] * 80 + [1] * 20)
    labels = Labels(np.array([0, 1, 2, 3, 80, 81, 82, 83]), np.array([0, 0, 0, 1, 1, 1, 1, 0]))
    certificate = certify(labels, strata, None, {"a": 0.5, "b": 0.5}, np.random.default_rng(0))
    assert certificate.shares[0].value == pytest.approx(0.8 * 0.75 + 0.2 * 0.25)
    assert certificate.read is None
    assert math.isnan(certificate.judge_agreement.value)


def test_intervals_hold_the_true_share_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = []
    for _ in range(120):
        made, truth, read = population(rng)
        rows = drawn(rng, made, 150)
        certificate = certify(Labels(rows, truth[rows]), made, read, TARGETS, rng, resamples=400)
        pairs = zip(certificate.shares, true_shares(truth), strict=True)
        held += [share.low <= expected <= share.high for share, expected in pairs]
    assert 0.90 <= np.mean(held) <= 0.995


def test_a_judge_that_is_often_right_makes_the_intervals_narrower() -> None:
    rng = np.random.default_rng(2)
    made, truth, read = population(rng)
    rows = drawn(rng, made, 150)
    labels = Labels(rows, truth[rows])

    def width(judge: np.ndarray | None) -> float:
        certificate = certify(labels, made, judge, TARGETS, np.random.default_rng(0))
        return sum(share.high - share.low for share in certificate.shares)

    assert width(read) < 0.75 * width(None)
    assert width(rng.integers(0, 3, len(made))) > 0.9 * width(None)


@settings(max_examples=50, deadline=None)
@given(labelled=st.integers(1, 500), images=st.integers(1, 2000))
def test_a_quarter_of_the_variance_is_reached_with_the_labels_named_and_not_with_fewer(
    labelled: int, images: int
) -> None:
    labelled = min(labelled, images)
    more = more_to_halve(labelled, images)

    def variance(n: int) -> float:
        return 1 / n - 1 / images

    assert variance(labelled + more) <= variance(labelled) / 4 + 1e-12
    if more:
        assert variance(labelled + more - 1) > variance(labelled) / 4 - 1e-9


def test_the_named_labels_do_halve_the_intervals() -> None:
    rng = np.random.default_rng(3)
    made, truth, read = population(rng, 2000)
    order = rng.permutation(2000)

    def width(n: int) -> float:
        labels = Labels(order[:n], truth[order[:n]])
        shares = certify(labels, made, read, TARGETS, np.random.default_rng(0)).shares
        return sum(share.high - share.low for share in shares)

    assert width(150 + more_to_halve(150, 2000)) / width(150) == pytest.approx(0.5, abs=0.12)


def test_what_a_certificate_says_names_the_worst_group_and_its_interval() -> None:
    read = np.array([0] * 50 + [1] * 50)
    rows = np.arange(0, 100, 2)
    labels = Labels(rows, read[rows])
    targets = {"a": 0.8, "b": 0.2}
    told = certify(labels, read, read, targets, np.random.default_rng(0)).to_dict()
    text = " ".join(certificate_sentences(told))
    assert "The worst group, b, has 50.0%" in text
    assert "20.0% were asked for" in text
    assert f"{told['more_to_halve']:,} further labels" in text


def test_labels_that_tell_no_group_certify_nothing() -> None:
    nothing = Labels(np.array([0, 1]), np.array([-1, -1]))
    with pytest.raises(InputError, match="at least one image whose group a person can tell"):
        certify(nothing, np.zeros(5, dtype=np.int64), None, TARGETS, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "expected a file of labels saved by the report's page"),
        ({"kind": "other"}, "expected a file of labels"),
        ({"kind": "qdgs-labels", "dataset": "y", "labels": [{}]}, "got those of another"),
        ({"kind": "qdgs-labels", "dataset": "x", "labels": []}, "expected at least one label, got none"),
        ({"kind": "qdgs-labels", "dataset": "x"}, "expected at least one label, got none"),
        (
            {"kind": "qdgs-labels", "dataset": "x", "labels": [{"id": "2", "values": {}}]},
            "labels.0: expected image 1, as the report offers them, got '2'",
        ),
        (
            {"kind": "qdgs-labels", "dataset": "x", "labels": [{"id": n, "values": {}} for n in "123"]},
            "labels.2: expected image no more",
        ),
        ({"kind": "qdgs-labels", "dataset": "x", "labels": [{"id": "1"}]}, "labels.0: expected image 1"),
        ({"kind": "qdgs-labels", "dataset": "x", "labels": ["1"]}, "labels.0: expected image 1"),
    ],
)
def test_files_that_prove_nothing_are_refused(content: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_labels(content, dataset="x", offered=["1", "2"])
