import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from qdgs.datasets.cuts import calibrate_cut
from qdgs.errors import InputError


def accuracy(measures: np.ndarray, high: np.ndarray, cut: float) -> float:
    return float(balanced_accuracy_score(high, measures >= cut))


@given(
    rows=st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=6, max_size=60),
    scale=st.sampled_from([1.0, 1e-3, 0.1]),
)
@settings(max_examples=80, deadline=None)
def test_no_other_cut_separates_better(rows: list[tuple[int, bool]], scale: float) -> None:
    measures = np.array([measure for measure, _ in rows]) * scale
    high = np.array([is_high for _, is_high in rows])
    if high.all() or not high.any():
        return
    edges = np.unique(measures)
    best = max([accuracy(measures, high, cut) for cut in (edges[:-1] + edges[1:]) / 2], default=0.0)
    if best <= 0.5 + 1e-12:
        with pytest.raises(InputError, match="balanced accuracy of"):
            calibrate_cut(measures, high, minimum=1)
        return
    cut = calibrate_cut(measures, high, minimum=1)
    assert cut.balanced_accuracy == pytest.approx(best)
    assert accuracy(measures, high, cut.value) == pytest.approx(best)
    assert cut.counts == ((~high).sum(), high.sum())


def test_a_clean_separation_is_cut_in_the_middle_of_its_gap() -> None:
    measures = np.array([-0.3, -0.2, -0.1, 0.5, 0.6, 0.9])
    cut = calibrate_cut(measures, measures > 0, minimum=3)
    assert cut.value == pytest.approx(0.2)
    assert cut.balanced_accuracy == 1.0


def test_among_equally_good_cuts_the_widest_interval_wins() -> None:
    # Cutting in (0, 1) gets one low image wrong, in (2, 7) one high image.
    cut = calibrate_cut([0.0, 1.0, 2.0, 7.0], [False, True, False, True], minimum=2)
    assert cut.value == pytest.approx(4.5)
    assert cut.balanced_accuracy == 0.75


def test_neighbouring_optima_count_as_one_interval() -> None:
    # At 3 one low and one high image coincide: cutting below or above it is equally good.
    measures = [0, 1, 3, 3, 8, 9]
    high = [False, False, False, True, True, True]
    assert calibrate_cut(measures, high, minimum=1).value == pytest.approx(4.5)


def test_the_middle_of_a_skewed_range_is_not_the_cut() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(-0.02, 0.005, 300), rng.normal(0.08, 0.02, 300)
    measures = np.concatenate([low, high])
    cut = calibrate_cut(measures, np.arange(600) >= 300)
    middle = (measures.min() + measures.max()) / 2
    assert accuracy(measures, np.arange(600) >= 300, cut.value) > accuracy(
        measures, np.arange(600) >= 300, middle
    )


def test_neighbouring_floats_are_still_told_apart() -> None:
    low = 1.0
    high = np.nextafter(low, 2)
    cut = calibrate_cut([low, high], [False, True], minimum=1)
    assert low < cut.value <= high


@pytest.mark.parametrize(
    ("measures", "high", "message"),
    [
        ([0.0] * 12 + [1.0] * 3, [False] * 12 + [True] * 3, "at least 10 images .* 'blue' .* got 3"),
        ([0.0] * 10 + [1.0] * 10, [True] * 10 + [False] * 10, "grow from 'red' to 'blue'"),
        ([0.0] * 20, [True, False] * 10, "grow from 'red' to 'blue'"),
        ([np.nan] * 20, [True, False] * 10, "finite"),
        ([0.0] * 20, [True] * 19, r"shape \(n,\)"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_one_sentence(
    measures: list[float], high: list[bool], message: str
) -> None:
    with pytest.raises(InputError, match=rf"^dataset\.groups\.color\.cut: .*{message}"):
        calibrate_cut(measures, high, name="color", values=("red", "blue"))
