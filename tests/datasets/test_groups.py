import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.config import DatasetConfig, group_names
from qdgs.datasets.groups import IN_GAP, assign_values, exact_counts, group_codes
from qdgs.errors import InputError


@given(
    weights=st.lists(st.floats(0, 10), min_size=1, max_size=12).filter(lambda w: sum(w) > 1e-3),
    images=st.integers(1, 5000),
)
@settings(max_examples=100, deadline=None)
def test_counts_sum_to_the_images_and_stay_within_one_of_the_shares(
    weights: list[float], images: int
) -> None:
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    counts = exact_counts(shares, images)
    assert sum(counts.values()) == images
    for name, share in shares.items():
        assert abs(counts[name] - share * images) < 1 + 1e-6
        assert share > 1e-12 or counts[name] == 0


def test_largest_remainders_get_what_is_left() -> None:
    assert exact_counts({"a": 0.5, "b": 0.3, "c": 0.2}, 4) == {"a": 2, "b": 1, "c": 1}
    assert exact_counts(dict.fromkeys("abc", 1 / 3), 10) == {"a": 4, "b": 3, "c": 3}
    assert exact_counts({"a": 0.7, "b": 0.3}, 10) == {"a": 7, "b": 3}


@given(
    measures=st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=40),
    gap=st.sampled_from([0.0, 0.1, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_groups_agree_with_reading_each_measure_alone(
    measures: list[tuple[float, float]], gap: float
) -> None:
    dataset = DatasetConfig.model_validate(
        {
            "label": "a",
            "groups": {
                "a": {"cut": 0.25, "gap": gap, "low": "left", "high": "right"},
                "b": {"cut": [-1, 1], "values": ["small", "medium", "large"], "gap": gap},
            },
        }
    )
    frame = pd.DataFrame(measures, columns=["a", "b"])
    names = group_names(dataset.groups)
    codes = group_codes(assign_values(frame, dataset, {"a": [0.25], "b": [-1.0, 1.0]}), dataset)
    for code, (a, b) in zip(codes, measures, strict=True):
        if abs(a - 0.25) < gap or min(abs(b + 1), abs(b - 1)) < gap:
            assert code == IN_GAP
        else:
            size = "small" if b < -1 else "medium" if b < 1 else "large"
            assert names[code] == f"{'left' if a < 0.25 else 'right'}/{size}"


@pytest.mark.parametrize("cuts", [{}, {"a": [0.0, 1.0]}, {"a": [np.nan]}])
def test_cuts_that_do_not_fit_the_values_are_refused(cuts: dict[str, list[float]]) -> None:
    dataset = DatasetConfig.model_validate({"label": "a", "groups": {"a": {"low": "x", "high": "y"}}})
    with pytest.raises(InputError, match=r"^dataset\.groups\.a\.cut: expected 1 ascending cut points"):
        assign_values(pd.DataFrame({"a": [0.0]}), dataset, cuts)
