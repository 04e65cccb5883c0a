import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.datasets.groups import exact_counts
from qdgs.datasets.merging import (
    check_same_groups,
    choose,
    distinct_names,
    in_turns,
    most_images,
    renumbered,
)
from qdgs.errors import InputError

GROUPS = ["a/x", "a/y", "b/x"]


def manifest(groups, **columns):
    ids = [f"{number:06d}" for number in range(len(groups))]
    labels = [group.split("/")[1] for group in groups]
    return pd.DataFrame({"id": ids, "label": labels, "group": groups, "latent_0000": 0.5, **columns})


def of_counts(counts):
    return manifest([group for group, count in zip(GROUPS, counts, strict=True) for _ in range(count)])


some = st.lists(st.integers(0, 12), min_size=3, max_size=3)
targets = st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any)


@settings(max_examples=60, deadline=None)
@given(some, some, targets)
def test_as_many_images_as_the_target_permits_and_sources_take_turns(one, other, weights):
    target = {group: weight / sum(weights) for group, weight in zip(GROUPS, weights, strict=True)}
    candidates = in_turns({"one": of_counts(one), "other": of_counts(other)})
    available = {group: int((candidates["group"] == group).sum()) for group in GROUPS}
    kept = np.ones(len(candidates), dtype=bool)

    def possible(images):
        return all(count <= available[group] for group, count in exact_counts(target, images).items())

    most = most_images(available, target)
    assert possible(most)
    enough = min(available[group] / share for group, share in target.items() if share)
    assert most <= enough + 1e-9
    assert most + 1 > enough or not possible(most + 1)
    if not most:
        with pytest.raises(InputError, match="expected at most 0"):
            choose(candidates, kept, target, None)
        return
    chosen = choose(candidates, kept, target, None)
    counts = chosen["group"].value_counts()
    assert {group: int(counts.get(group, 0)) for group in GROUPS} == exact_counts(target, most)
    for group in GROUPS:
        from_each = chosen[chosen["group"] == group]["source"].value_counts()
        whole = dict(
            zip(("one", "other"), (one[GROUPS.index(group)], other[GROUPS.index(group)]), strict=True)
        )
        taken = {name: int(from_each.get(name, 0)) for name in whole}
        # Whoever gave fewer had no more, but for the last turn.
        for name, rest in (("one", "other"), ("other", "one")):
            assert taken[name] >= taken[rest] - 1 or taken[name] == whole[name]


def test_what_is_not_kept_is_not_chosen_and_a_number_too_large_names_the_group():
    candidates = in_turns({"one": of_counts([4, 4, 4])})
    kept = candidates["id"].to_numpy() != "000004"
    target = dict.fromkeys(GROUPS, 1 / 3)
    chosen = choose(candidates, kept, target, 6)
    assert "000004" not in set(chosen["source_id"])
    with pytest.raises(InputError, match=r"at most 9 for this target, got 10: group 'a/y' has 3 images"):
        choose(candidates, kept, target, 10)


def test_rows_are_numbered_anew_and_tell_where_they_come_from():
    first = manifest(["a/x", "b/x"], identity=["0000", "0001"], color=[0.1, 0.2])
    second = manifest(["a/x"], identity=["0000"], latent_0001=0.25)
    rows = renumbered(in_turns({"run": first, "run-2": second}))
    assert rows["id"].tolist() == ["000000", "000001", "000002"]
    assert rows["file"].tolist()[0] == "train/x/000000.png"
    assert rows["source"].tolist() == ["run", "run", "run-2"]
    assert rows["identity"].tolist() == ["0-0000", "0-0001", "1-0000"]
    assert list(rows)[-2:] == ["latent_0000", "latent_0001"]
    assert rows["latent_0001"].isna().tolist() == [True, True, False]
    assert rows["color"].isna().tolist() == [False, False, True]


def test_names_are_distinct():
    assert distinct_names(["run", "run", "other", "run"]) == ["run", "run-2", "other", "run-3"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"values": {"tint": ["a", "c"], "form": ["x", "y"]}, "label": "form"}, "expected groups of one"),
        ({"values": {"form": ["x", "y"], "tint": ["a", "b"]}, "label": "form"}, "expected groups of one"),
        ({"values": {"tint": ["a", "b"], "form": ["x", "y"]}, "label": "tint"}, "expected the label of one"),
    ],
)
def test_other_groups_cannot_be_merged(other, said):
    known = {"values": {"tint": ["a", "b"], "form": ["x", "y"]}, "label": "form"}
    check_same_groups({"one": known, "other": dict(known)})
    with pytest.raises(InputError, match=said):
        check_same_groups({"one": known, "other": other})
