import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig
from qdgs.report.labelling import dataset_key, offered, questions


def manifest_of(sizes: list[int]) -> pd.DataFrame:
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    order = np.random.default_rng(0).permutation(len(groups))
    ids = [f"{i:04d}" for i in range(len(groups))]
    return pd.DataFrame({"id": ids, "group": groups[order], "latent_0000": np.arange(len(groups)) * 0.5})


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_every_beginning_of_the_order_is_stratified_by_group(sizes: list[int], seed: int) -> None:
    manifest = manifest_of(sizes)
    rows = offered(manifest, seed, images=len(manifest))
    assert sorted(rows) == list(range(len(manifest)))
    groups = manifest["group"].iloc[rows].to_numpy()
    for name, share in (manifest["group"].value_counts() / len(manifest)).items():
        counts = np.cumsum(groups == name)
        expected = share * np.arange(1, len(rows) + 1)
        assert (np.abs(counts - expected) <= len(sizes)).all()


def test_the_order_within_a_group_is_random_and_fixed_by_the_seed() -> None:
    manifest = manifest_of([40])
    assert offered(manifest, 1) == offered(manifest, 1)
    assert offered(manifest, 1) != offered(manifest, 2)
    assert offered(manifest, 1) != sorted(offered(manifest, 1))
    assert len(offered(manifest, 1, images=7)) == 7


@pytest.mark.parametrize("column", ["id", "group", "latent_0000"])
def test_another_dataset_has_another_key(column: str) -> None:
    manifest = manifest_of([3, 3])
    other = manifest.copy()
    other.loc[0, column] = 9.0 if column == "latent_0000" else "other"
    assert dataset_key(manifest) == dataset_key(manifest.copy())
    assert dataset_key(manifest) != dataset_key(other)


def test_few_groups_are_one_question_and_many_one_each_measure() -> None:
    few = {"a": {"low": "x", "high": "y", "audit": "a"}, "b": {"low": "p", "high": "q"}}
    dataset = DatasetConfig.model_validate({"label": "a", "groups": few})
    assert [question.answers for question in questions(dataset)] == [("x", "y")]
    values = {"cut": [0, 1, 2], "values": ["k", "l", "m", "n"], "audit": "c"}
    dataset = DatasetConfig.model_validate(
        {"label": "a", "groups": {**few, "c": values, "d": {**values, "audit": "d"}}}
    )
    assert [question.measures for question in questions(dataset)] == [("a",), ("c",), ("d",)]
