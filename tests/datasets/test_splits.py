import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.datasets.splits import assign_splits, parse_splits
from qdgs.errors import InputError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.sampled_from("abc"), min_size=1, max_size=120), seed=st.integers(0, 5))
def test_every_group_is_split_in_its_share_exact_to_one_image(groups: list[str], seed: int) -> None:
    rows = pd.DataFrame({"group": groups})
    splits = pd.Series(assign_splits(rows, SHARES, np.random.default_rng(seed)))
    for _, members in rows.groupby("group"):
        counts = splits[members.index].value_counts()
        for name, share in SHARES.items():
            assert abs(counts.get(name, 0) - share * len(members)) < 1


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=4, max_size=20), seed=st.integers(0, 5))
def test_images_of_one_identity_stay_together(sizes: list[int], seed: int) -> None:
    identities = np.repeat([f"{i:04d}" for i in range(len(sizes))], sizes)
    rows = pd.DataFrame({"group": [f"g{int(name) % 2}" for name in identities], "identity": identities})
    splits = pd.Series(assign_splits(rows, SHARES, np.random.default_rng(seed)))
    assert splits.groupby(identities).nunique().eq(1).all()


def test_the_seed_fixes_the_splits_and_another_gives_others() -> None:
    rows = pd.DataFrame({"group": ["a"] * 50})
    one, again, other = (assign_splits(rows, SHARES, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == again != other


def test_shares_are_read_from_one_line() -> None:
    assert parse_splits("train=0.8, validation=0.1,test=.1") == SHARES


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train", "expected NAME=SHARE"),
        ("train=a lot", "expected NAME=SHARE"),
        ("train=0.5,train=0.5", "distinct plain names"),
        ("../train=1", "distinct plain names"),
        ("", "distinct plain names"),
        ("train=0.8,test=0.1", "shares that sum to 1, got 0.9"),
        ("train=1,test=0", "shares above 0"),
        ("train=nan,test=1", "shares above 0"),
    ],
)
def test_other_forms_are_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_splits(text)
