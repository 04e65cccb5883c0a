import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig
from qdgs.dataset_config import NuisanceConfig
from qdgs.datasets.balance import Nuisance, Nuisances, balance_sentences
from qdgs.datasets.flatten import flatten
from qdgs.datasets.queues import UNREAD
from qdgs.errors import InputError

CUTS = {"tint": [0.0], "form": [0.1]}
QUARTERS = Nuisance("light", "meter", (0.25, 0.5, 0.75))


def light(rows: pd.DataFrame) -> pd.DataFrame:
    """What a judge would read off the images: here the latent says it, scarcely bright."""
    return pd.DataFrame({"light": 1 / (1 + np.exp(-rows["latent_0000"].to_numpy(float) - 0.5))})


@pytest.fixture
def dataset(dataset: DatasetConfig) -> DatasetConfig:
    return dataset.model_copy(update={"balance": {"light": NuisanceConfig()}})


def nuisances(candidates: int = 100, read: object = light, *more: Nuisance) -> Nuisances:
    return Nuisances((QUARTERS, *more), read, candidates)  # type: ignore[arg-type]


def test_bins_hold_equally_many_random_samples() -> None:
    values = np.random.default_rng(0).exponential(size=1001)
    nuisance = Nuisance.of_samples("light", "meter", [*values, np.nan], 4)
    assert nuisance.bins == 4
    counts = np.bincount(nuisance.bins_of(values))
    assert counts.sum() == 1001
    assert counts.max() - counts.min() <= 1


@given(values=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_bin_is_counted_by_the_edges_at_or_below_a_value(values: list[float]) -> None:
    expected = [
        sum(value >= edge for edge in QUARTERS.edges) if np.isfinite(value) else UNREAD for value in values
    ]
    assert QUARTERS.bins_of(values).tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * 39, "expected at least 40 random samples that 'meter' can read, got 39"),
        ([np.nan] * 100, "expected at least 40 random samples that 'meter' can read, got 0"),
        ([0.0] * 60 + list(range(40)), "expected random samples that differ, got too many equal ones for 4"),
        ([1.0] * 100, "expected random samples that differ, got too many equal ones for 4 bins; ask for few"),
    ],
)
def test_samples_that_tell_no_bins_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(InputError, match=r"^dataset\.balance\.light: [^\n]*$") as error:
        Nuisance.of_samples("light", "meter", values, 4)
    assert message in str(error.value)


def test_groups_stay_exact_and_bins_are_as_even_as_candidates_allow(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    wanted = dataset.model_copy(update={"images": 120})
    gate = light(solutions)["light"].to_numpy() < 0.9
    unbalanced = wanted.model_copy(update={"balance": {}})
    plain = flatten(solutions, unbalanced, CUTS, seed=0, gate=lambda rows: gate[rows.index])
    made = flatten(solutions, wanted, CUTS, seed=0, gate=lambda rows: gate[rows.index], nuisances=nuisances())
    assert (made.manifest["group"].value_counts() == 30).all()
    for name, told in made.report.balance["light"]["groups"].items():
        rows = made.manifest[made.manifest["group"] == name]
        bins = QUARTERS.bins_of(light(rows)["light"])
        assert np.bincount(bins, minlength=4).tolist() == told["images"]
        # cells have room for all, so nothing but the gate limits a bin
        of_group = in_group(solutions, name)
        passing = QUARTERS.bins_of(light(solutions[of_group & gate])["light"])
        available = np.bincount(passing, minlength=4)
        level = next(n for n in range(31) if np.minimum(available, n + 1).sum() > 30)
        assert all(
            min(here, level) <= got <= level + 1 for here, got in zip(available, told["images"], strict=True)
        )
        candidates = QUARTERS.bins_of(light(solutions[of_group])["light"])
        assert told["candidates"] == np.bincount(candidates, minlength=4).tolist()
        before = plain.manifest[plain.manifest["group"] == name]
        uneven = np.bincount(QUARTERS.bins_of(light(before)["light"]), minlength=4)
        assert max(told["images"]) - min(told["images"]) <= uneven.max() - uneven.min()


def in_group(rows: pd.DataFrame, name: str) -> np.ndarray:
    tint, form = name.split("/")
    outside = rows["tint"].abs() >= 0.05
    tinted = (rows["tint"] < 0) == (tint == "red")
    return (outside & tinted & ((rows["form"] < np.float32(0.1)) == (form == "triangle"))).to_numpy()


def test_what_nobody_can_read_comes_last_and_is_told(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    def half_blind(rows: pd.DataFrame) -> pd.DataFrame:
        told = light(rows)
        return told.where((rows["lineage"] % 2 == 0).to_numpy()[:, None])

    made = flatten(solutions, dataset, CUTS, seed=0, nuisances=nuisances(100, half_blind))
    assert (made.manifest["lineage"] % 2 == 0).all()
    made = flatten(
        solutions, dataset, CUTS, seed=0, nuisances=nuisances(100, lambda rows: light(rows) * np.nan)
    )
    assert len(made.manifest) == 50
    (told,) = balance_sentences(json.loads(json.dumps(made.report.to_json()))["balance"])
    assert "Of 50 images it is not known." in told


def test_no_more_candidates_are_read_than_asked_for(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    seen: list[pd.DataFrame] = []

    def watched(rows: pd.DataFrame) -> pd.DataFrame:
        seen.append(rows)
        return light(rows)

    flatten(solutions, dataset, CUTS, seed=0, nuisances=nuisances(2, watched), chunk=16)
    assert max(len(rows) for rows in seen) <= 16
    assert len(pd.concat(seen)) == 2 * 50
    assert not pd.concat(seen).index.duplicated().any()


def test_several_nuisances_are_balanced_jointly(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    halves = Nuisance("noise", "meter", (0.0,))

    def read(rows: pd.DataFrame) -> pd.DataFrame:
        return light(rows).assign(noise=rows["latent_0001"].to_numpy())

    both = Nuisances((Nuisance("light", "meter", (0.6,)), halves), read, 100)
    balance = {"light": NuisanceConfig(bins=2), "noise": NuisanceConfig(bins=2)}
    wanted = dataset.model_copy(update={"images": 64, "balance": balance})
    made = flatten(solutions, wanted, CUTS, seed=0, nuisances=both)
    for told in made.report.balance.values():
        assert all(counts["images"] == [8, 8] for counts in told["groups"].values())
    rows = made.manifest.assign(bright=light(made.manifest)["light"] >= 0.6)
    assert (rows.groupby(["group", "bright", rows["latent_0001"] >= 0]).size() == 4).all()


def test_the_order_of_the_rows_does_not_matter(solutions: pd.DataFrame, dataset: DatasetConfig) -> None:
    one = flatten(solutions, dataset, CUTS, seed=3, nuisances=nuisances(3))
    shuffled = solutions.sample(frac=1, random_state=0)
    other = flatten(shuffled, dataset, CUTS, seed=3, nuisances=nuisances(3))
    pd.testing.assert_frame_equal(one.manifest, other.manifest)
    assert one.report == other.report


def test_a_sentence_names_the_emptiest_bin() -> None:
    groups = {
        "a": {"images": [5, 5, 5, 5], "unread": 0, "candidates": [9, 9, 9, 9], "candidates_unread": 0},
        "b": {"images": [5, 1, 9, 5], "unread": 0, "candidates": [9, 1, 9, 9], "candidates_unread": 4},
        "none": {"images": [0, 0, 0, 0], "unread": 0, "candidates": [0, 0, 0, 0], "candidates_unread": 0},
    }
    told = {"light": {"judge": "meter", "edges": [0.25, 0.5, 0.75], "groups": groups}}
    assert balance_sentences(told) == [
        "Every group is balanced over `light`, as meter reads it, in 4 bins that hold equally many random "
        "samples, as far as candidates allow: the emptiest is bin 2 of b with 5.0% of that group's images, "
        "where 25.0% would be even. Of 4 of 68 candidates it could not be read; these come last, so that a "
        "gate sees few of them."
    ]
    assert balance_sentences(None) == []


def test_what_is_asked_for_and_what_is_given_have_to_agree(
    solutions: pd.DataFrame, dataset: DatasetConfig
) -> None:
    with pytest.raises(
        InputError, match=r"^nuisances: expected those of dataset\.balance \(light\), got none$"
    ):
        flatten(solutions, dataset, CUTS, seed=0)
    plain = dataset.model_copy(update={"balance": {}})
    with pytest.raises(
        InputError, match=r"^nuisances: expected those of dataset\.balance \(none\), got light$"
    ):
        flatten(solutions, plain, CUTS, seed=0, nuisances=nuisances())
