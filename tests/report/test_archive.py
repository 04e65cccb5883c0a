import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from ribs.archives import GridArchive

from qdgs.report.archive import MeasureAxis, archive_heatmap, best_objectives, choose_elites, image_grid
from qdgs.report.sheets import Pixels
from qdgs.report.style import DPI


def _retained(archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis) -> GridArchive:
    grid = GridArchive(
        solution_dim=1, dims=(y.cells, x.cells), ranges=((y.low, y.high), (x.low, x.high)), dtype=np.float32
    )
    grid.add(np.zeros((len(archive), 1)), archive["objective"], archive[["edges", "color"]])
    return grid


def test_the_map_shows_what_a_grid_archive_of_pyribs_keeps(
    archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis
) -> None:
    elites = _retained(archive, x, y).data(["index", "objective"])
    expected = np.full(x.cells * y.cells, np.nan)
    expected[elites["index"]] = elites["objective"]
    np.testing.assert_allclose(best_objectives(archive, x, y).ravel(), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(-5, 5), st.floats(0.01, 10), st.integers(0, 2**32 - 1))
def test_measures_are_cut_into_cells_as_pyribs_cuts_them(
    cells: int, low: float, width: float, seed: int
) -> None:
    axis = MeasureAxis("color", low, low + width, cells)
    grid = GridArchive(solution_dim=1, dims=(cells,), ranges=((low, low + width),), dtype=np.float64)
    values = np.random.default_rng(seed).uniform(low - width, low + 2 * width, 50)
    np.testing.assert_array_equal(axis.index(values), grid.index_of(values[:, None]))


def test_the_drawn_cells_are_the_best_objectives(
    archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis
) -> None:
    archive = archive[archive["color"] < 0]
    figure = archive_heatmap(archive, x, y)
    mesh = next(artist for artist in figure.axes[0].collections if isinstance(artist, QuadMesh))
    drawn = np.ma.filled(mesh.get_array().astype(float), np.nan)
    np.testing.assert_array_equal(drawn, best_objectives(archive, x, y))
    assert np.isnan(drawn[:, 5:]).all()
    assert figure.axes[0].get_xlim() == (x.low, x.high)


def test_both_prompts_and_the_name_stand_on_each_axis(
    archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis
) -> None:
    written = {text.get_text().replace("\n", " ") for text in archive_heatmap(archive, x, y).axes[0].texts}
    assert {"A red shape.", "A blue shape.", "color", y.low_prompt, y.high_prompt, "edges"} <= written


def test_the_chosen_elite_is_the_one_nearest_the_middle_of_its_cell(x: MeasureAxis, y: MeasureAxis) -> None:
    archive = pd.DataFrame(
        {"color": [-0.09, -0.051, 0.08], "edges": [-0.1, -0.12, 0.0], "objective": [9.0, 1.0, 5.0]}
    )
    chosen = choose_elites(archive, x, y, columns=2, rows=1)
    assert chosen["position"].tolist() == [1, 2]
    assert chosen["column"].tolist() == [0, 1]


def test_each_cell_shows_at_most_one_elite_and_every_filled_cell_shows_one(
    archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis
) -> None:
    chosen = choose_elites(archive, x, y, columns=6, rows=4)
    filled = set(zip(x.index(archive["color"], 6), y.index(archive["edges"], 4), strict=True))
    assert set(zip(chosen["column"], chosen["row"], strict=True)) == filled
    assert len(chosen) == len(filled)


def test_images_stand_in_their_cells_and_empty_cells_stay_blank(x: MeasureAxis, y: MeasureAxis) -> None:
    red, blue = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    red[..., 0], blue[..., 2] = 200, 200
    cells = pd.DataFrame({"column": [0, 2], "row": [0, 1]})
    figure = image_grid([red, blue], cells, x, y, columns=3, rows=2)
    sheet = np.asarray(figure.axes[0].images[0].get_array())
    height, width = sheet.shape[0] // 2, sheet.shape[1] // 3
    centre = lambda row, column: sheet[height * row + height // 2, width * column + width // 2].tolist()  # noqa: E731
    assert centre(1, 0) == [200, 0, 0]
    assert centre(0, 2) == [0, 0, 200]
    assert len(set(centre(0, 0))) > 1 or centre(0, 0)[0] > 200
    assert centre(0, 0) == centre(0, 1) == centre(1, 1)


def test_as_many_images_as_cells_are_needed(x: MeasureAxis, y: MeasureAxis, pixels: Pixels) -> None:
    with pytest.raises(ValueError, match="zip"):
        image_grid(pixels, pd.DataFrame({"column": [0], "row": [0]}), x, y)


def test_pictures_have_the_size_that_is_asked_of_them(
    archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis
) -> None:
    figure = archive_heatmap(archive, x, y)
    assert tuple(figure.get_size_inches() * DPI) == pytest.approx((1184, 1024))
