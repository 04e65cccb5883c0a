import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure

from qdgs.report.groups import group_shares
from qdgs.report.vector import as_svg


@pytest.fixture
def figure(shares: pd.DataFrame) -> Figure:
    return group_shares(shares.assign(group=["<b>", '"q" & a', "#1a1a1a", "blue/square"]))


def test_a_figure_is_well_formed_and_says_what_it_shows(figure: Figure) -> None:
    root = ElementTree.fromstring(as_svg(figure, "a", 'Bars of "each" <group>'))
    assert root.attrib["aria-label"] == 'Bars of "each" <group>'
    texts = {element.text for element in root.iter("text")}
    assert {"<b>", '"q" & a', "#1a1a1a", "blue · square"} <= texts


def test_its_colours_and_letters_are_the_pages(figure: Figure) -> None:
    svg = str(as_svg(figure, "a", ""))
    for variable in ("--dataset", "--random", "--ink", "--faint", "--line", "--sans"):
        assert f"var({variable})" in svg
    assert "DejaVu" not in svg
    assert "http" not in svg


def test_parts_of_two_figures_are_told_apart(figure: Figure) -> None:
    def identifiers(name: str) -> set[str]:
        root = ElementTree.fromstring(as_svg(figure, name, ""))
        return {element.attrib["id"] for element in root.iter() if "id" in element.attrib}

    assert identifiers("a")
    assert not identifiers("a") & identifiers("b")
