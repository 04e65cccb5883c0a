from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig
from qdgs.datasets.gaps import missing_images, together
from qdgs.errors import InputError

counts = st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any)
weights = st.lists(st.integers(1, 9), min_size=5, max_size=5)


def named(values):
    return {f"g{number}": value for number, value in enumerate(values)}


def shares(weights, n):
    return named([weight / sum(weights[:n]) for weight in weights[:n]])


@settings(max_examples=100, deadline=None)
@given(counts, weights)
def test_all_groups_reach_the_level_of_the_fullest_and_none_goes_beyond(there, weights):
    target = shares(weights, len(there))
    missing = missing_images(named(there), target)
    level = max(n / p for n, p in zip(there, target.values(), strict=True))
    for n, (name, p) in zip(there, target.items(), strict=True):
        assert p * level - 1e-6 <= n + missing[name] < p * level + 1


@settings(max_examples=100, deadline=None)
@given(counts, weights, st.integers(0, 80))
def test_a_limit_is_spent_and_lifts_the_lowest_first(there, weights, limit):
    target = shares(weights, len(there))
    whole = missing_images(named(there), target)
    missing = missing_images(named(there), target, limit)
    assert sum(missing.values()) == min(limit, sum(whole.values()))
    assert min(missing.values()) >= 0
    lifted = [name for name in target if missing[name]]
    for name, other in product(lifted, target):
        # Giving one image of a lifted group to any other would leave a lower group behind, but for rounding.
        n, m = (there[int(key[1:])] + missing[key] for key in (name, other))
        assert (n - 2) / target[name] < (m + 1) / target[other]


def test_a_limit_is_spent_as_well_as_by_trying_everything():
    there, target, limit = {"a": 4, "b": 1, "c": 0}, {"a": 0.5, "b": 0.25, "c": 0.25}, 3
    best = max(
        min((there[name] + given[place]) / share for place, (name, share) in enumerate(target.items()))
        for given in product(range(limit + 1), repeat=3)
        if sum(given) == limit
    )
    missing = missing_images(there, target, limit)
    assert min((there[name] + missing[name]) / share for name, share in target.items()) == best


def test_balanced_sets_lack_nothing_and_groups_without_a_target_get_nothing():
    assert missing_images({"a": 3, "b": 3}, {"a": 0.5, "b": 0.5}) == {"a": 0, "b": 0}
    assert missing_images({"a": 3, "c": 9}, {"a": 0.5, "b": 0.5, "c": 0.0}) == {"a": 0, "b": 3, "c": 0}


@pytest.mark.parametrize(
    ("there", "said"),
    [({"a": 0, "b": 0}, "expected images in the groups"), ({"x": 1}, "among a, b, got 'x'")],
)
def test_counts_that_say_nothing_are_refused(there, said):
    with pytest.raises(InputError, match=said):
        missing_images(there, {"a": 0.5, "b": 0.5})


def test_before_and_after_are_told_over_the_audited_measures_alone():
    dataset = DatasetConfig.model_validate(
        {
            "label": "form",
            "groups": {
                "tint": {"low": "red", "high": "blue"},
                "form": {"low": "x", "high": "y", "audit": "shape"},
            },
        }
    )
    found = {"gaps": [{"group": "x", "target": 0.5, "there": 6}, {"group": "y", "target": 0.5, "there": 2}]}
    manifest = pd.DataFrame({"group": np.array(["red/y", "blue/y", "red/y", "blue/y"])})
    rows = together(found, manifest, dataset)
    assert [(row["group"], row["share"], row["made"], row["together"]) for row in rows] == [
        ("x", 0.75, 0, 0.5),
        ("y", 0.25, 4, 0.5),
    ]
