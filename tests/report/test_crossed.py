"""Images in a table of groups."""

import numpy as np
import pytest

from qdgs.report.crossed import crossed_sheet

VALUES = [("dark", "light"), ("masculine", "feminine"), ("young", "old")]


def drawn(fields, counts, values=VALUES, columns=2):
    figure = crossed_sheet(fields, values, counts, "A heading", "a note", columns=columns)
    figure.draw_without_rendering()
    return figure


def test_rows_are_the_first_measure_and_columns_the_others_together():
    axes = drawn({}, {}).axes
    assert [one.get_title() for one in axes[:4]] == [
        "masculine · young", "masculine · old", "feminine · young", "feminine · old",
    ]  # fmt: skip
    assert [one.get_ylabel() for one in axes] == ["dark", "", "", "", "light", "", "", ""]


def test_a_field_shows_its_groups_first_images_and_tells_how_many_there_are():
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    axes = drawn(
        {"light/feminine/old": [white, black, white, white, black]}, {"light/feminine/old": 1234}
    ).axes
    field = axes[7].images[0].get_array()
    side = field.shape[0] // 2
    corners = [field[4, 4], field[4, side + 8], field[side + 8, 4], field[side + 8, side + 8]]
    assert [int(np.mean(corner)) for corner in corners] == [255, 0, 255, 255]
    assert axes[7].get_xlabel() == "1,234"
    assert [one.get_xlabel() for one in axes[:7]] == ["0"] * 7


def test_one_measure_makes_one_column():
    axes = drawn({}, {"dark": 3}, values=VALUES[:1]).axes
    assert [(one.get_ylabel(), one.get_xlabel()) for one in axes] == [("dark", "3"), ("light", "0")]


@pytest.mark.parametrize("name", ["$x$ <b>", "שלום"])
def test_names_are_drawn_as_they_stand(name):
    axes = drawn({}, {}, values=[(name,), ("a",)]).axes
    assert axes[0].get_ylabel().replace("\\$", "$") == name


@pytest.mark.parametrize("across", [VALUES[:1], VALUES[:2], VALUES])
def test_heading_and_note_lie_within_the_sheet(across):
    heading = "The first 192 random samples, as the guide sorts them"
    note = "the first images of each group, gated, clear of the cuts; under each field, how many there are"
    figure = crossed_sheet({}, across, {}, heading, note)
    figure.draw_without_rendering()
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x1 <= figure.bbox.x1
