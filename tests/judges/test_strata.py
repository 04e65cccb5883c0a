import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdgs.errors import InputError
from qdgs.judges.strata import check_option, two_values


def test_the_middle_is_neither():
    score = np.array([0.1, 0.39, 0.45, 0.5, 0.61, np.nan])
    assert two_values(("low", "high"), score, 0.5, 0.1) == ["low", "low", None, None, "high", None]


def test_without_a_margin_the_cut_belongs_to_the_second():
    assert two_values(("young", "old"), np.array([34.9, 35.0]), 35, 0) == ["young", "old"]


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 0.5))
def test_a_wider_margin_never_changes_a_value_but_to_missing(scores, margin):
    narrow = two_values(("low", "high"), np.array(scores), 0.5, 0.0)
    wide = two_values(("low", "high"), np.array(scores), 0.5, margin)
    assert all(value is None or value == before for value, before in zip(wide, narrow, strict=True))


@pytest.mark.parametrize("value", [-1, 81, "35", None, True, float("nan")])
def test_an_option_out_of_range_is_one_sentence(value):
    with pytest.raises(InputError, match=r"^judge\.cut: expected a number from 0 to 80, got "):
        check_option("judge.cut", value, 0, 80)
