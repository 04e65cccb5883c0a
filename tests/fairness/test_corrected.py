import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ribs.archives import GridArchive
from scipy.stats import percentileofscore

from qdgs.config import GroupConfig
from qdgs.errors import InputError
from qdgs.fairness.corrected import GridCells, QuantileMap, corrected_measures, corrected_qd_score

RANGES = ((-0.1, 0.1), (0.0, 2.0))
GRID = GridCells(RANGES, (5, 4))
GROUPS = {"color": GroupConfig(low="red", high="blue", audit="color")}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def ribs_archive() -> GridArchive:
    return GridArchive(solution_dim=1, dims=(5, 4), ranges=RANGES)


def test_cells_are_those_of_pyribs_inside_and_outside_of_the_ranges() -> None:
    measures = rng().normal(size=(500, 2)) * [0.1, 1.0] + [0, 1]
    np.testing.assert_array_equal(GRID(measures), ribs_archive().index_of(measures))
    assert len(GRID) == 20


def test_a_grid_with_too_few_ranges_is_refused() -> None:
    with pytest.raises(InputError, match="expected one range a measure, got 1 for 2 measures"):
        GridCells(((0.0, 1.0),), (5, 4))


def test_the_corrected_score_is_that_of_a_pyribs_archive_filled_again() -> None:
    source = rng()
    measures = source.normal(size=(300, 2)) * [0.1, 1.0] + [0, 1]
    objective, accepted = source.uniform(1, 100, 300), source.random(300) < 0.7
    archive = ribs_archive()
    archive.add(np.zeros((accepted.sum(), 1)), objective[accepted], measures[accepted])
    corrected = corrected_qd_score(objective, measures, accepted, GRID, len(GRID))
    assert corrected.qd_score == pytest.approx(archive.stats.qd_score)
    assert corrected.norm_qd_score == pytest.approx(archive.stats.norm_qd_score)
    assert corrected.coverage == pytest.approx(archive.stats.coverage)
    assert corrected.filled == archive.stats.num_elites
    assert corrected.rejected == 300 - accepted.sum()
    assert corrected == corrected_qd_score(objective, measures, accepted, archive.index_of, archive.cells)


def test_an_elite_below_the_offset_fills_its_cell_and_lowers_nothing() -> None:
    measures = np.array([[0.0, 0.1], [0.0, 1.9]])
    one = corrected_qd_score([10.0], measures[:1], [True], GRID, 20)
    two = corrected_qd_score([10.0, -5.0], measures, [True, True], GRID, 20)
    assert two.qd_score == one.qd_score == 10
    assert (one.filled, two.filled) == (1, 2)
    assert corrected_qd_score([10.0, -5.0], measures, [True, True], GRID, 20, offset=-5).qd_score == 15


def test_rejects_and_elites_without_a_score_are_left_out() -> None:
    measures = np.array([[0.0, 0.1], [np.nan, 1.9], [0.0, 0.1]])
    corrected = corrected_qd_score([1.0, 2.0, 3.0], measures, [True, True, False], GRID, 20)
    assert (corrected.qd_score, corrected.rejected) == (1.0, 2)
    nothing = corrected_qd_score([1.0], measures[:1], [False], GRID, 20)
    assert (nothing.qd_score, nothing.coverage, nothing.rejected) == (0.0, 0.0, 1)


def test_a_score_that_is_the_measure_maps_onto_itself() -> None:
    measures = rng().normal(size=200)
    mapping = QuantileMap.fit(measures, measures)
    np.testing.assert_allclose(mapping(measures), measures)


def test_any_growing_function_of_the_measure_is_undone() -> None:
    measures = rng().normal(size=2001)
    mapping = QuantileMap.fit(np.exp(3 * measures), measures)
    np.testing.assert_allclose(mapping(np.exp(3 * measures)), measures)


def test_scores_outside_of_the_random_range_stay_at_the_ends() -> None:
    mapping = QuantileMap.fit([0.0, 1.0, 2.0], [-5.0, 7.0, 6.0])
    assert mapping([-100.0, 100.0]).tolist() == [-5.0, 7.0]
    assert np.isnan(mapping([np.nan]))[0]


def test_tied_scores_share_the_measure_of_their_mid_rank() -> None:
    mapping = QuantileMap.fit([0, 0, 0, 1], [10.0, 20.0, 30.0, 40.0])
    assert mapping([0])[0] == pytest.approx(20)
    assert mapping([1])[0] == pytest.approx(40)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.floats(-6, 6), min_size=2, max_size=10),
    st.integers(0, 2**32 - 1),
)
def test_the_map_is_monotone_and_follows_scipys_mid_rank(
    scores: list[int], asked: list[float], seed: int
) -> None:
    measures = np.random.default_rng(seed).normal(size=len(scores))
    mapped = QuantileMap.fit(scores, measures)(np.sort(asked))
    assert (np.diff(mapped) >= -1e-12).all()
    assert (mapped >= measures.min()).all()
    assert (mapped <= measures.max()).all()
    quantiles = np.clip([percentileofscore(scores, s, kind="mean") / 100 for s in np.sort(asked)], 0, 1)
    np.testing.assert_allclose(mapped, np.quantile(measures, quantiles, method="hazen"), atol=1e-9)


def test_random_samples_without_a_score_do_not_count_and_none_at_all_is_refused() -> None:
    mapping = QuantileMap.fit([np.nan, 1.0, 2.0], [100.0, 1.0, np.nan])
    assert mapping([1.0]).tolist() == [1.0]
    with pytest.raises(InputError, match="expected at least one with a score and a measure, got none"):
        QuantileMap.fit([np.nan], [1.0])
    with pytest.raises(InputError, match="expected a measure for each score, got 2 for 1"):
        QuantileMap.fit([1.0], [1.0, 2.0])


def frames(n: int = 300) -> tuple[pd.DataFrame, pd.DataFrame]:
    source = rng()
    samples = pd.DataFrame({"color": source.normal(size=n), "size": source.normal(size=n)})
    return samples, pd.DataFrame({"color_score": samples["color"] ** 3, "accepted": True})


def test_audited_measures_come_from_the_judge_and_the_others_from_the_guide() -> None:
    samples, judged = frames()
    told = pd.DataFrame({"color_score": [-1e9, 0.0, 1e9, None]})
    elites = pd.DataFrame({"color": [9.0] * 4, "size": [1.0, 2.0, 3.0, 4.0]})
    measures = corrected_measures(
        elites, told, samples, judged, measures=["size", "color"], audited={"color": "color"}, groups=GROUPS
    )
    assert measures[:, 0].tolist() == [1, 2, 3, 4]
    assert measures[0, 1] == samples["color"].min()
    assert abs(measures[1, 1]) < 0.05
    assert measures[2, 1] == samples["color"].max()
    assert np.isnan(measures[3, 1])


@pytest.mark.parametrize(("values", "turned"), [(("red", "blue"), False), (("blue", "grey", "red"), True)])
def test_a_judge_whose_values_run_the_other_way_is_turned_round(
    values: tuple[str, ...], turned: bool
) -> None:
    samples, judged = frames()
    judged["color_score"] *= -1 if turned else 1
    measures = corrected_measures(
        samples,
        judged,
        samples,
        judged,
        measures=["color"],
        audited={"color": "color"},
        groups=GROUPS,
        attributes={"color": values},
    )
    np.testing.assert_allclose(measures[:, 0], samples["color"])


def test_frames_that_do_not_fit_are_refused() -> None:
    samples, judged = frames()
    with pytest.raises(InputError, match="elites: expected a judge's row for each of 300 images, got 2"):
        corrected_measures(
            samples,
            judged[:2],
            samples,
            judged,
            measures=["color"],
            audited={"color": "color"},
            groups=GROUPS,
        )
    with pytest.raises(InputError, match="expected a column 'color_score', got accepted"):
        corrected_measures(
            samples,
            judged[["accepted"]],
            samples,
            judged,
            measures=["color"],
            audited={"color": "color"},
            groups=GROUPS,
        )
