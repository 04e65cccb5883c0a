import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig, group_names, target_shares
from qdgs.datasets.flatten import Flattened, FlattenReport, flatten
from qdgs.datasets.groups import exact_counts
from qdgs.datasets.shortage import PriorCounts, ShortageError
from qdgs.errors import InputError, QdgsError

CUTS = {"tint": [0.0], "form": [0.1]}


@st.composite
def reservoirs(draw: st.DrawFn) -> pd.DataFrame:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    cells, depth = draw(st.integers(1, 25)), draw(st.integers(1, 4))
    n = cells * depth
    frame = pd.DataFrame(
        {
            "cell": np.repeat(rng.permutation(1000)[:cells], depth),
            "rank": np.tile(np.arange(depth), cells),
            "objective": rng.normal(size=n).astype("float32"),
            "tint": rng.uniform(-1, 1, n).astype("float32"),
            "form": rng.uniform(-1, 1, n).astype("float32"),
            "lineage": rng.integers(0, draw(st.integers(1, 8)), n).astype("int32"),
            "latent_0000": rng.normal(size=n).astype("float32"),
            "latent_0001": rng.normal(size=n).astype("float32"),
        }
    )
    return frame[rng.uniform(size=n) < draw(st.sampled_from([0.5, 1.0]))].reset_index(drop=True)


@st.composite
def datasets(draw: st.DrawFn) -> DatasetConfig:
    gap = draw(st.sampled_from([0.0, 0.1]))
    groups = {"tint": {"low": "red", "high": "blue", "gap": gap}, "form": {"low": "round", "high": "edged"}}
    target = {"red/round": 0.5, "red/edged": 0.3, "blue/round": 0.2}
    return DatasetConfig.model_validate(
        {
            "images": draw(st.integers(1, 40)),
            "label": "form",
            "groups": groups,
            "target": draw(st.sampled_from(["uniform", target])),
            "per_cell": draw(st.integers(1, 3)),
            "quality_floor": draw(st.sampled_from([None, -0.5])),
            "on_shortage": "accept",
        }
    )


def group_of(row: pd.Series) -> str:
    return f"{'red' if row['tint'] < 0 else 'blue'}/{'round' if row['form'] < np.float32(0.1) else 'edged'}"


def eligible(solutions: pd.DataFrame, dataset: DatasetConfig) -> pd.DataFrame:
    """By brute force: rows above the floor and outside the gap, with their group."""
    floor = -np.inf if dataset.quality_floor is None else dataset.quality_floor
    keep = (solutions["objective"] >= floor) & (solutions["tint"].abs() >= dataset.groups["tint"].gap)
    rows = solutions[keep]
    return rows.assign(group=[group_of(row) for _, row in rows.iterrows()])


@given(solutions=reservoirs(), dataset=datasets(), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_dataset_is_a_balanced_part_of_the_solutions(
    solutions: pd.DataFrame, dataset: DatasetConfig, seed: int
) -> None:
    manifest, report = made(solutions, dataset, seed=seed)
    rows = eligible(solutions, dataset)
    wanted = exact_counts(target_shares(dataset), dataset.images)
    counts = manifest["group"].value_counts().to_dict()

    # Each image is one of the solutions, once, unchanged, and of the group that brute force gives it.
    merged = manifest.merge(rows, on=["cell", "rank"], suffixes=("", "_solution"), validate="one_to_one")
    assert len(merged) == len(manifest)
    for column in ("objective", "tint", "form", "lineage", "latent_0000", "latent_0001", "group"):
        assert (merged[column] == merged[f"{column}_solution"]).all()

    assert manifest["cell"].value_counts().max() <= dataset.per_cell or manifest.empty
    assert sorted(report.groups) == sorted(group_names(dataset.groups))
    for name, group in report.groups.items():
        candidates = rows[rows["group"] == name]
        assert group.candidates == len(candidates)
        assert group.got == counts.get(name, 0) <= group.wanted == wanted[name]
    assert report.images == len(manifest) == sum(group.got for group in report.groups.values())
    assert report.solutions == len(solutions)
    in_groups = sum(group.candidates for group in report.groups.values())
    assert report.below_quality_floor + report.in_gap + in_groups == len(solutions)
    assert {short.group for short in report.shortages} == {
        name for name, group in report.groups.items() if group.got < group.wanted
    }


@given(solutions=reservoirs(), dataset=datasets())
@settings(max_examples=40, deadline=None)
def test_every_group_that_can_be_filled_is_exact(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    """Where no cell straddles a cut, what a group can give is a sum over its cells."""
    side = np.where(solutions["cell"] % 2, 1.0, -1.0).astype("float32")
    solutions = solutions.assign(tint=side * solutions["tint"].abs(), form=side * solutions["form"].abs())
    rows = eligible(solutions, dataset)
    _, report = made(solutions, dataset)
    if rows.groupby("cell")["group"].nunique().max() > 1:
        return
    for name, group in report.groups.items():
        cells = Counter(rows.loc[rows["group"] == name, "cell"])
        assert group.got == min(group.wanted, sum(min(dataset.per_cell, n) for n in cells.values()))


@given(solutions=reservoirs(), dataset=datasets(), seed=st.integers(0, 3), shuffle=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_rows_does_not_matter(
    solutions: pd.DataFrame, dataset: DatasetConfig, seed: int, shuffle: int
) -> None:
    shuffled = solutions.sample(frac=1, random_state=shuffle)
    options = {"seed": seed, "gate": gate, "embed": embed, "min_distance": 0.3}
    one, other = (made(frame, dataset, **options) for frame in (solutions, shuffled))
    pd.testing.assert_frame_equal(one[0], other[0])
    assert one[1] == other[1]


@given(solutions=reservoirs(), dataset=datasets(), chunk=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_the_gate_sees_no_more_candidates_than_needed(
    solutions: pd.DataFrame, dataset: DatasetConfig, chunk: int
) -> None:
    shown: list[pd.DataFrame] = []

    def watching(rows: pd.DataFrame) -> np.ndarray:
        shown.append(rows)
        return gate(rows)

    manifest, report = made(solutions, dataset, gate=watching, chunk=chunk)
    assert all(0 < len(rows) <= chunk for rows in shown)
    judged = pd.concat(shown) if shown else solutions.iloc[:0]
    assert not judged.duplicated(["cell", "rank"]).any()
    assert gate(manifest).all()
    assert report.gate_judged == len(judged) == sum(group.judged for group in report.groups.values())
    assert report.gate_accepted == gate(judged).sum() == len(manifest)
    if len(judged):
        assert report.gate_acceptance == gate(judged).mean()
    # Every accepted candidate is in, so none was judged after its group was full.
    for group in report.groups.values():
        assert group.judged - group.rejected == group.got


@given(solutions=reservoirs(), dataset=datasets(), chunk=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_no_two_images_are_near_duplicates(
    solutions: pd.DataFrame, dataset: DatasetConfig, chunk: int
) -> None:
    manifest, report = made(solutions, dataset, embed=embed, min_distance=0.7, chunk=chunk)
    points = embed(manifest)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert not (distances < 0.7).any()
    assert report.duplicates == sum(group.duplicates for group in report.groups.values())
    # What is missing is near an image, or its cell is full.
    full = set(manifest["cell"].value_counts().loc[lambda n: n >= dataset.per_cell].index)
    left = eligible(solutions, dataset).merge(manifest[["cell", "rank"]], how="left", indicator=True)
    left = left[left["_merge"] == "left_only"]
    for short in report.shortages:
        for _, row in left[(left["group"] == short.group) & ~left["cell"].isin(full)].iterrows():
            place = row[["latent_0000", "latent_0001"]].to_numpy(float)
            assert (np.linalg.norm(points - place, axis=1) < 0.7 + 1e-6).any()


def test_embedding_is_asked_for_what_the_gate_accepted_right_after_it(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    accepted: list[pd.Index] = []

    def gating(rows: pd.DataFrame) -> np.ndarray:
        verdicts = gate(rows)
        accepted.append(rows.index[verdicts])
        return verdicts

    def embedding(rows: pd.DataFrame) -> np.ndarray:
        assert rows.index.equals(accepted[-1])
        return embed(rows)

    flatten(solutions, dataset, CUTS, seed=0, gate=gating, embed=embedding, min_distance=0.01)
    assert accepted


def test_every_prefix_is_balanced(flattened: Flattened) -> None:
    groups = flattened.manifest["group"]
    for prefix in range(4, len(groups) + 1):
        counts = groups[:prefix].value_counts()
        assert len(counts) == 4
        assert counts.max() - counts.min() <= 2


def test_bests_of_all_cells_come_before_second_bests(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    manifest = flatten(solutions, dataset, CUTS, seed=1).manifest
    for _, rows in manifest.groupby("group"):
        assert rows["cell"].is_unique  # 12 or 13 images of about 25 cells
        assert (rows["rank"] == 0).mean() > 0.7  # but where a cell straddles a cut


def test_rare_lineages_are_not_drowned_by_a_frequent_one(dataset: DatasetConfig) -> None:
    n = 200
    solutions = pd.DataFrame(
        {
            "cell": np.arange(n),
            "objective": 0.0,
            "tint": np.where(np.arange(n) % 2, 0.5, -0.5),
            "form": np.where(np.arange(n) % 4 < 2, 0.5, -0.5),
            "lineage": np.where(np.arange(n) < 40, np.arange(n), 99),
            "latent_0000": np.zeros(n),
        }
    )
    report = flatten(solutions, dataset, CUTS, seed=0).report
    assert report.lineages == 41


def test_another_seed_takes_other_solutions(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    one, other = (flatten(solutions, dataset, CUTS, seed=seed).manifest for seed in (0, 1))
    assert set(one["cell"]) != set(other["cell"])


def test_the_manifest_has_the_columns_of_the_agreement(flattened: Flattened) -> None:
    manifest = flattened.manifest
    assert list(manifest.columns) == [
        *("id", "file", "label", "group", "group_tint", "group_form"),
        *("cell", "rank", "objective", "tint", "form", "lineage"),
        *("latent_0000", "latent_0001", "latent_0002"),
    ]
    assert list(manifest["id"]) == [f"{number:06d}" for number in range(50)]
    assert (manifest["file"] == "train/" + manifest["label"] + "/" + manifest["id"] + ".png").all()
    assert (manifest["group"] == manifest["group_tint"] + "/" + manifest["group_form"]).all()
    assert (manifest["label"] == manifest["group_form"]).all()


def test_the_report_is_plain_json(flattened: Flattened) -> None:
    told = json.loads(json.dumps(flattened.report.to_json()))
    assert told["images"] == 50
    assert told["groups"]["blue/square"]["got"] in (12, 13)
    assert 0.5 < told["gate_acceptance"] < 1
    assert told["shortages"] == []


def test_a_group_that_cannot_be_filled_stops_with_one_sentence(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    scarce = solutions[(solutions["tint"] < 0) | (solutions["form"] > 0.1) | (solutions["cell"] % 5 == 0)]
    wanted = dataset.model_copy(update={"images": 100})
    prior = PriorCounts({"red/triangle": 700, "red/square": 100, "blue/square": 200}, 1000)
    with pytest.raises(ShortageError) as caught:
        flatten(scarce, wanted, CUTS, seed=0, prior=prior, evaluations=5000, gate=gate)
    message = str(caught.value)
    assert message.startswith("dataset: group 'blue/triangle' lacks ")
    assert "5,000 evaluations" in message
    assert "of 1,000 random samples none are in it, so it holds at most 0.30%" in message
    assert "\n" not in message
    (shortage,) = caught.value.shortages
    assert shortage.missing == 25 - shortage.got
    assert shortage.candidates == shortage.got + shortage.rejected + shortage.left_by_cell_limit


def test_accepting_fewer_records_the_shortage(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    wanted = dataset.model_copy(update={"on_shortage": "accept", "images": 100})
    manifest, report = made(solutions[solutions["tint"] < 0], wanted)
    assert len(manifest) == 50
    assert [(short.group, short.got) for short in report.shortages] == [
        ("blue/triangle", 0),
        ("blue/square", 0),
    ]


def test_no_solutions_at_all_is_a_shortage_and_not_a_crash(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    with pytest.raises(ShortageError, match="lacks 13 of 13 images"):
        flatten(solutions.iloc[:0], dataset, CUTS, seed=0, gate=gate, embed=embed, min_distance=1.0)


def test_no_image_at_all_is_an_error_even_where_fewer_are_accepted(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    accepting = dataset.model_copy(update={"on_shortage": "accept", "quality_floor": 0.0})
    with pytest.raises(QdgsError, match=r"of 400 solutions \d+ are below .*, \d+ in a gap, \d+ rejected"):
        flatten(solutions, accepting, CUTS, seed=0, gate=lambda rows: np.zeros(len(rows), dtype=bool))


def test_solutions_that_do_not_hold_what_is_named_are_refused(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    with pytest.raises(InputError, match=r"^solutions: expected a column 'form'"):
        flatten(solutions.drop(columns="form"), dataset, CUTS, seed=0)
    with pytest.raises(InputError, match=r"^solutions: expected finite numbers in column 'tint'"):
        flatten(solutions.assign(tint=np.nan), dataset, CUTS, seed=0)
    with pytest.raises(InputError, match=r"one row a \(cell, rank\), got several of \(0, 0\)"):
        flatten(pd.concat([solutions, solutions]), dataset, CUTS, seed=0)
    with pytest.raises(InputError, match=r"^gate: expected one verdict a candidate"):
        flatten(solutions, dataset, CUTS, seed=0, gate=lambda rows: np.ones(3, dtype=bool))


def gate(rows: pd.DataFrame) -> np.ndarray:
    return (rows["latent_0000"] > -0.3).to_numpy()


def embed(rows: pd.DataFrame) -> np.ndarray:
    return rows[["latent_0000", "latent_0001"]].to_numpy(np.float64)


def made(
    solutions: pd.DataFrame, dataset: DatasetConfig, *, seed: int = 0, **options: Any
) -> tuple[pd.DataFrame, FlattenReport]:
    """Manifest and report; solutions of which nothing can be made are passed over."""
    try:
        flattened = flatten(solutions, dataset, CUTS, seed=seed, **options)
    except QdgsError as error:
        if "expected at least one image, got none" not in str(error):
            raise
        reject()
    return flattened.manifest, flattened.report
