import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig
from qdgs.datasets.flatten import Flattened, flatten
from qdgs.datasets.identities import (
    SPARE,
    Variations,
    cluster,
    identity_names,
    identity_sentences,
    small_offsets,
)
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError

CUTS = {"tint": [0.0], "form": [0.1]}
LATENTS = ["latent_0000", "latent_0001", "latent_0002"]


def rescore(rows: pd.DataFrame) -> pd.DataFrame:
    """A guide that sees the latent: measures move with it."""
    latents = rows[LATENTS].to_numpy(np.float64)
    told = {"objective": latents[:, 2], "tint": latents[:, 0], "form": latents[:, 1]}
    return pd.DataFrame(told, index=rows.index)


def gate(rows: pd.DataFrame) -> np.ndarray:
    return np.abs(rows["latent_0002"].to_numpy()) < 1.5


@pytest.fixture
def scored(solutions: pd.DataFrame) -> pd.DataFrame:
    """The reservoir, with measures and objective that `rescore` agrees with."""
    return solutions.assign(**{name: column.astype("float32") for name, column in rescore(solutions).items()})


def with_identities(dataset: DatasetConfig, **changes: Any) -> DatasetConfig:
    options = {"count": "auto", "images": 5, "offset": 0.2, **changes}
    data = {**dataset.model_dump(), "identities": options, "per_cell": 4}
    for group in data["groups"].values():
        group.pop("values")
    return DatasetConfig.model_validate(data)


def variations_of(dataset: DatasetConfig, scale: float = 0.2, **options: Any) -> Variations:
    offsets = small_offsets(dataset.per_latent, [scale] * 3, seed=0)
    return Variations(offsets, dataset, CUTS, **{"rescore": rescore, "gate": gate, **options})


def made(rows: pd.DataFrame, dataset: DatasetConfig, scale: float = 0.2, **options: Any) -> Flattened:
    variations = variations_of(dataset, scale)
    return flatten(rows, dataset, CUTS, seed=0, gate=gate, variations=variations, **options)


def test_the_set_of_offsets_is_fixed_by_the_seed_and_has_the_spread_asked_for() -> None:
    offsets = small_offsets(9, [0.1, 1.0], seed=0)
    assert offsets.shape == (SPARE * 8, 2)
    assert np.array_equal(offsets, small_offsets(9, [0.1, 1.0], seed=0))
    assert not np.array_equal(offsets, small_offsets(9, [0.1, 1.0], seed=1))
    np.testing.assert_allclose(small_offsets(500, [0.1, 1.0], seed=0).std(axis=0), [0.1, 1.0], rtol=0.1)


@pytest.mark.parametrize("scale", [0.01, 0.2, 1.0])
@pytest.mark.parametrize("images", [50, 83])
def test_counts_are_exact_and_every_image_is_of_its_group_and_passes_the_gate(
    scored: pd.DataFrame, dataset: DatasetConfig, scale: float, images: int
) -> None:
    wanted = with_identities(dataset).model_copy(update={"images": images})
    manifest, report = (result := made(scored, wanted, scale)).manifest, result.report
    assert len(manifest) == images
    assert manifest["group"].value_counts().max() - manifest["group"].value_counts().min() <= 1
    told = rescore(manifest)
    for column in ("objective", "tint", "form"):
        np.testing.assert_array_equal(manifest[column], told[column].to_numpy(np.float32))
    assert ((manifest["tint"] < 0) == (manifest["group_tint"] == "red")).all()
    assert (manifest["tint"].abs() >= 0.05).all()  # outside of the gap, offset or not
    assert ((manifest["form"] < np.float32(0.1)) == (manifest["group_form"] == "triangle")).all()
    assert gate(manifest).all()
    assert report.images == images


def test_every_image_is_a_solution_at_an_offset_of_the_one_set(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    wanted = with_identities(dataset)
    manifest = made(scored, wanted).manifest
    offsets = np.concatenate([np.zeros((1, 3)), small_offsets(5, [0.2] * 3, seed=0)]).astype(np.float32)
    parents = manifest[["cell", "rank"]].merge(scored, on=["cell", "rank"], validate="many_to_one")
    assert len(parents) == len(manifest)
    expected = parents[LATENTS].to_numpy() + offsets[manifest["offset"]]
    np.testing.assert_array_equal(latents_of(manifest).numpy(), expected)
    assert (manifest["lineage"] == parents["lineage"]).all()
    of_latent = manifest.groupby(["cell", "rank"])["offset"]
    assert of_latent.min().eq(0).all()
    assert of_latent.size().max() == 5
    assert not manifest.duplicated(["cell", "rank", "offset"]).any()


def test_an_offset_that_fails_is_replaced_by_the_next_of_the_set(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    """By brute force: offset after offset, one latent at a time."""
    wanted = with_identities(dataset)
    variations = variations_of(wanted, 0.5, chunk=7)
    rows = scored[(scored["tint"].abs() >= 0.05)].iloc[:40]
    kept = variations(rows, np.full(len(rows), 4))
    expected, tried = [], 0
    for place, (_, row) in enumerate(rows.iterrows()):
        got = 0
        for number, offset in enumerate(variations.offsets, start=1):
            if got == 4:
                break
            tried += 1
            tint, form, height = row[LATENTS].to_numpy(np.float32) + offset
            same = (tint >= 0.05) if row["tint"] > 0 else (tint <= -0.05)
            if same and (form >= np.float32(0.1)) == (row["form"] >= np.float32(0.1)) and abs(height) < 1.5:
                expected.append((rows.index[place], number))
                got += 1
    assert list(zip(kept.index, kept["offset"], strict=True)) == expected
    assert len(kept) < 4 * len(rows)
    # in rounds as many are tried as are lacking, so a latent may see a few more than it needs
    assert variations.tried == len(kept) + variations.strayed + variations.rejected >= tried


def test_what_falls_below_the_quality_floor_is_replaced(scored: pd.DataFrame, dataset: DatasetConfig) -> None:
    floored = with_identities(dataset).model_copy(update={"quality_floor": 0.0, "images": 40})
    manifest = made(scored, floored, 0.5).manifest
    assert (manifest["objective"] >= 0).all()
    assert (manifest["offset"] > 0).any()


def test_no_variations_are_asked_for_where_none_are_wanted(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    variations = variations_of(with_identities(dataset))
    none = variations(scored.iloc[:5], np.zeros(5, dtype=np.int64))
    assert len(none) == 0
    assert "offset" in none
    assert variations.tried == 0


def test_an_identity_is_of_one_group_and_there_is_one_for_two_latents(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    result = made(scored, with_identities(dataset).model_copy(update={"images": 120}))
    manifest = result.manifest
    assert (manifest.groupby("identity")["group"].nunique() == 1).all()
    assert (manifest.groupby(["cell", "rank"])["identity"].nunique() == 1).all()
    for _, rows in manifest[manifest["offset"] == 0].groupby("group"):
        assert rows["identity"].nunique() == -(-len(rows) // 2)
    told = json.loads(json.dumps(result.report.to_json()))["identities"]
    assert told["identities"] == manifest["identity"].nunique()
    assert told["latents"] == (manifest["offset"] == 0).sum()
    assert sum(group["latents"] for group in told["groups"].values()) == told["latents"]
    assert (
        told["offsets_tried"] - told["offsets_strayed"] - told["offsets_rejected"]
        == (manifest["offset"] > 0).sum()
    )
    sentences = list(identity_sentences(told))
    assert f"one of {told['identities']:,} clusters of {told['latents']:,} latents" in sentences[0]
    assert "near-duplicates" in sentences[1]


def test_clusters_are_groups_of_neighbours() -> None:
    centres = np.random.default_rng(0).normal(size=(6, 4)) * 10
    truth = np.random.default_rng(1).permutation(np.repeat(np.arange(6), 5))
    latents = (centres[truth] + 0.1 * np.random.default_rng(2).normal(size=(30, 4))).astype(np.float32)
    found = cluster(latents, np.zeros(30, dtype=np.int64), 6, seed=0)
    pairs = set(zip(truth.tolist(), found.tolist(), strict=True))
    assert len(pairs) == 6


@given(
    groups=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    count=st.sampled_from(["auto", 1, 2]),
    copies=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_identities_are_numbered_group_by_group_as_they_come(
    groups: list[int], count: Any, copies: bool
) -> None:
    codes = np.array(groups)
    rng = np.random.default_rng(0)
    latents = (np.ones((len(codes), 3)) if copies else rng.normal(size=(len(codes), 3))).astype(np.float32)
    found = cluster(latents, codes, count, seed=0)
    first = 0
    for group in sorted(set(groups)):
        members = found[codes == group]
        distinct = 1 if copies else len(members)
        wanted = -(-len(members) // 2) if count == "auto" else count
        assert list(dict.fromkeys(members)) == list(range(first, first + min(wanted, distinct)))
        first += min(wanted, distinct)
    assert np.array_equal(found, cluster(latents, codes, count, seed=0))


def test_names_of_identities_are_of_one_width() -> None:
    assert identity_names(np.array([0, 12])) == ["0000", "0012"]
    assert identity_names(np.array([0, 12345])) == ["00000", "12345"]


def test_more_identities_than_latents_are_refused(scored: pd.DataFrame, dataset: DatasetConfig) -> None:
    with pytest.raises(InputError, match=r"^dataset\.identities\.count: expected at most 3, as many as"):
        made(scored, with_identities(dataset, count=4))
    assert made(scored, with_identities(dataset, count=3)).manifest["identity"].nunique() == 12


def test_one_image_a_latent_is_what_there_would_be_without_identities(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    single = with_identities(dataset, images=1)
    named = flatten(scored, single, CUTS, seed=0, gate=gate).manifest
    plain = flatten(scored, dataset, CUTS, seed=0, gate=gate).manifest
    pd.testing.assert_frame_equal(named.drop(columns=["identity", "offset"]), plain)
    assert (named["offset"] == 0).all()


def test_columns_and_files_by_identity(scored: pd.DataFrame, dataset: DatasetConfig) -> None:
    by_identity = with_identities(dataset).model_copy(update={"layout": "identity"})
    manifest = made(scored, by_identity).manifest
    assert list(manifest.columns) == [
        *("id", "file", "label", "group", "identity", "group_tint", "group_form"),
        *("cell", "rank", "offset", "objective", "tint", "form", "lineage"),
        *LATENTS,
    ]
    assert (manifest["file"] == "train/" + manifest["identity"] + "/" + manifest["id"] + ".png").all()
    labelled = made(scored, with_identities(dataset)).manifest
    assert (labelled["file"] == "train/" + labelled["label"] + "/" + labelled["id"] + ".png").all()
    pd.testing.assert_frame_equal(manifest.drop(columns="file"), labelled.drop(columns="file"))


def test_limits_count_latents_and_the_order_of_the_rows_does_not_matter(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    wanted = with_identities(dataset).model_copy(update={"per_cell": 1, "images": 100})
    options = {"embed": lambda rows: rows[LATENTS].to_numpy(np.float64), "min_distance": 0.5}
    one = made(scored, wanted, **options)
    other = made(scored.sample(frac=1, random_state=1), wanted, **options)
    pd.testing.assert_frame_equal(one.manifest, other.manifest)
    latents = one.manifest[one.manifest["offset"] == 0]
    assert latents["cell"].is_unique
    assert len(one.manifest) == 100


def test_what_is_asked_for_and_what_is_given_have_to_agree(
    scored: pd.DataFrame, dataset: DatasetConfig
) -> None:
    with pytest.raises(InputError, match=r"^variations: expected them where .*, got none$"):
        flatten(scored, with_identities(dataset), CUTS, seed=0)
    with pytest.raises(InputError, match=r"^variations: expected them where .*, got some$"):
        made(scored, with_identities(dataset, images=1))
