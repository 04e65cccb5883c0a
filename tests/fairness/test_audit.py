import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig
from qdgs.errors import InputError
from qdgs.fairness.audit import (
    AuditResult,
    JudgedImages,
    audit,
    audited_groups,
    audited_targets,
    label_agreement,
    read_groups,
)
from qdgs.fairness.correction import confusion_counts

COLOR = {"low": "red", "high": "blue", "audit": "color"}
EDGES = {"low": "triangle", "high": "square", "audit": "shape"}
DATASET = DatasetConfig(label="edges", groups={"color": COLOR, "edges": EDGES})
GROUPS = ["red/triangle", "red/square", "blue/triangle", "blue/square"]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def judged_set(n: int, bias: float, seed: int, scale: float = 1.0) -> JudgedImages:
    """Triangles are red and squares blue with probability `bias`."""
    source = np.random.default_rng(seed)
    square = np.arange(n) % 2 == 1
    blue = np.where(np.arange(n) // 2 % 100 < 100 * bias, square, ~square)
    judged = pd.DataFrame(
        {
            "color": np.where(blue, "blue", "red").astype(object),
            "shape": np.where(square, "square", "triangle").astype(object),
            "accepted": True,
            "quality": 1.0,
        }
    )
    return JudgedImages(judged, scale * source.normal(size=(n, 8)), judged["shape"].tolist())


def result(**options: Any) -> AuditResult:
    return audit(judged_set(400, 0.5, 0), judged_set(500, 0.9, 1), DATASET, rng(), resamples=200, **options)


def test_a_balanced_set_beside_biased_random_samples() -> None:
    summary = result().summary()
    assert summary["label_agreement"] == 1
    assert summary["max_share_error"] == 0
    assert summary["normalized_entropy"] == pytest.approx(1)
    assert summary["smallest_group_share"] == 0.25
    assert summary["unreadable_share"] == 0
    assert summary["random_smallest_group_share"] == pytest.approx(0.05)
    assert summary["random_max_share_error"] == pytest.approx(0.8)
    assert summary["group_diversity_ratio"] == pytest.approx(1, abs=0.1)
    assert summary["near_duplicates"] is not None
    assert summary["near_duplicates"] < 0.05


def test_the_summary_has_the_keys_that_the_auditor_owes() -> None:
    keys = [
        "normalized_entropy",
        "smallest_group_share",
        "max_share_error",
        "fairness_discrepancy",
        "label_agreement",
    ]
    further = ["group_diversity_ratio", "near_duplicates", "unreadable_share", "corrected_max_share_error"]
    assert set(result().summary()) == {*keys, *further, *(f"random_{key}" for key in keys)}


def test_as_many_random_samples_as_images_count() -> None:
    assert result().random.shares.images == 400


def test_a_narrow_set_is_seen_beside_its_balance() -> None:
    narrow = audit(judged_set(400, 0.5, 0, scale=0.05), judged_set(400, 0.9, 1), DATASET, rng(), resamples=10)
    assert narrow.summary()["max_share_error"] == 0
    assert narrow.diversity.ratio < 0.5
    assert narrow.near_duplicates > 0.9


def test_rare_groups_are_compared_with_the_bank() -> None:
    one_sided = judged_set(400, 1.0, 1)
    images = judged_set(400, 0.5, 0)
    without = audit(images, one_sided, DATASET, rng(), resamples=10)
    assert set(without.diversity.left_out) == {"red/square", "blue/triangle"}
    assert any(
        "None of 400 random samples is read as red/square: at most 0.0075" in note for note in without.notes
    )
    assert any("Diversity leaves blue/triangle out" in note for note in without.notes)
    with_bank = audit(images, one_sided, DATASET, rng(), bank=judged_set(1000, 0.9, 2), resamples=10)
    assert not with_bank.diversity.left_out


def test_an_image_that_cannot_be_read_counts_against_the_label() -> None:
    images = judged_set(100, 0.5, 0)
    images.judged.loc[:4, "shape"] = None
    images.judged.loc[5:9, "accepted"] = False
    images.judged.loc[10:14, "shape"] = ["square", "triangle"] * 2 + ["square"]  # the label says otherwise
    images.judged.loc[15:19, "color"] = None
    estimate = label_agreement(images, DATASET)
    assert estimate.value == pytest.approx(0.85)
    assert estimate.low < 0.85 < estimate.high
    groups = read_groups(images.judged, audited_groups(DATASET))
    assert groups.isna().sum() == 15
    assert groups.iloc[20] == "red/triangle"
    audited = audit(images, judged_set(100, 0.5, 1), DATASET, rng(), resamples=10)
    assert audited.dataset.shares.unreadable_share.value == pytest.approx(0.15)


def test_random_samples_without_a_label_do_not_count_for_agreement() -> None:
    images = judged_set(10, 0.5, 0)
    unlabelled = JudgedImages(images.judged, images.embeddings, [None, "triangle", *[None] * 8])
    assert label_agreement(unlabelled, DATASET).value == 0
    assert math.isnan(label_agreement(JudgedImages(images.judged, images.embeddings), DATASET).value)


def test_a_missing_value_of_any_kind_is_unreadable() -> None:
    judged = pd.DataFrame({"color": ["red", None, np.nan, pd.NA, "purple"], "accepted": True})
    dataset = DatasetConfig(label="color", groups={"color": COLOR})
    for kind in (object, "string", "category"):
        groups = read_groups(judged.astype({"color": kind}), audited_groups(dataset))
        assert groups.tolist() == ["red", None, None, None, None]


def test_a_measure_that_no_judge_audits_is_summed_out_and_said_so() -> None:
    groups = {"color": COLOR, "edges": {"low": "triangle", "high": "square"}}
    target = {"red/triangle": 0.5, "red/square": 0.1, "blue/triangle": 0.2, "blue/square": 0.2}
    dataset = DatasetConfig(label="edges", groups=groups, target=target)
    assert audited_targets(dataset) == pytest.approx({"red": 0.6, "blue": 0.4})
    audited = audit(judged_set(100, 0.5, 0), judged_set(100, 0.5, 1), dataset, rng(), resamples=10)
    assert audited.dataset.shares.groups == ("red", "blue")
    assert audited.summary()["label_agreement"] is None
    assert any("No judge audits 'edges'" in note for note in audited.notes)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    st.sampled_from([("color",), ("edges",), ("color", "edges")]),
)
def test_audited_targets_always_sum_to_one(shares: list[float], kept: tuple[str, ...]) -> None:
    groups = {
        name: {key: value for key, value in group.items() if key != "audit" or name in kept}
        for name, group in (("color", COLOR), ("edges", EDGES))
    }
    target = {name: share / sum(shares) for name, share in zip(GROUPS, shares, strict=True)}
    dataset = DatasetConfig.model_validate({"label": "edges", "groups": groups, "target": target})
    assert sum(audited_targets(dataset).values()) == pytest.approx(1)


def test_the_correction_is_told_beside_the_shares_as_read() -> None:
    known = pd.Series(np.repeat(GROUPS, 100))
    read = known.copy()
    read[200:220] = "blue/square"  # one blue triangle in five is read as a square
    confusion = confusion_counts(known, read, GROUPS)
    corrected = result(confusion=confusion).dataset.corrected
    assert corrected is not None
    # read shares q are p times the confusion: blue triangles are q/0.8
    assert corrected.shares[2].value == pytest.approx(0.25 / 0.8)
    assert corrected.max_share_error.value == pytest.approx(0.25)
    assert result(confusion=confusion).summary()["corrected_max_share_error"] == pytest.approx(0.25)
    assert result().summary()["corrected_max_share_error"] is None
    assert any("nothing is corrected" in note for note in result().notes)


def test_the_table_has_a_row_a_group_and_the_same_columns_for_random_samples() -> None:
    frame = result().to_frame()
    numbers = ["count", "share", "share_low", "share_high"]
    assert list(frame.columns) == ["group", "target", *numbers, *(f"random_{name}" for name in numbers)]
    assert frame["group"].tolist() == GROUPS
    assert frame["count"].tolist() == [100] * 4
    assert frame["random_count"].sum() == 400
    assert ((frame["share_low"] < frame["share"]) & (frame["share"] < frame["share_high"])).all()


def test_the_text_is_json_that_holds_everything() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    data = json.loads(result(notes=["Judges share a model."]).to_json(), parse_constant=refuse)
    assert data["summary"] == result().summary()
    assert data["dataset"]["shares"]["counts"] == [100] * 4
    assert data["dataset"]["shares"]["max_share_error"].keys() == {"value", "low", "high"}
    assert data["attributes"] == {"color": "color", "edges": "shape"}
    assert data["notes"][0] == "Judges share a model."
    assert data["diversity"]["by_group"]["red/square"]["samples"] > 0


def test_the_same_seed_gives_the_same_report() -> None:
    assert result().to_json() == result().to_json()


def test_mistakes_are_told_in_one_sentence() -> None:
    images = judged_set(20, 0.5, 0)
    with pytest.raises(
        InputError, match=r"expected at least as many random samples as images \(20\), got 10"
    ):
        audit(images, images.head(10), DATASET, rng())
    with pytest.raises(InputError, match="audit: expected at least one image, got none"):
        audit(images.head(0), images, DATASET, rng())
    with pytest.raises(InputError, match="got different numbers of them"):
        JudgedImages(images.judged, images.embeddings[:3])
    bare = JudgedImages(images.judged[["color", "accepted"]], images.embeddings)
    with pytest.raises(InputError, match="auditor: expected a column 'shape', got color, accepted"):
        audit(bare, bare, DATASET, rng())
    nobody = DatasetConfig(label="color", groups={"color": {"low": "red", "high": "blue"}})
    with pytest.raises(InputError, match="expected at least one group with `audit: ATTRIBUTE`, got none"):
        audit(images, images, nobody, rng())


def test_groups_named_unlike_the_auditors_values_are_refused() -> None:
    images = judged_set(20, 0.5, 0)
    renamed = DatasetConfig(label="color", groups={"color": {"low": "Red", "high": "Blue", "audit": "color"}})
    with pytest.raises(
        InputError, match=r"dataset.groups.color: .* for 'color' \(blue, red\), got Red, Blue"
    ):
        audit(images, images, renamed, rng())
