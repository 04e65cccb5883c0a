from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from qdgs.report.style import DPI, blank, percent, plain, save, title, wrapped


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.25, "25 %"), (0.004, "0.4 %"), (0, "0 %"), (0.05, "5 %"), (0.0999, "10 %"), (1, "100 %")],
)
def test_shares_are_written_so_that_a_small_one_is_not_zero(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_share_that_nobody_could_read_is_no_number() -> None:
    assert percent(float("nan")) == "none readable"


def test_dollar_signs_of_a_prompt_begin_no_formula(tmp_path: Path) -> None:
    figure = blank(3, 1)
    title(figure.add_subplot(), "A $5 bill_{x} beside a $10 bill.", "paid in $")
    save(figure, tmp_path / "dollars.png")
    assert plain("$5") == r"\$5"


def test_long_prompts_break_into_lines_of_about_the_same_length() -> None:
    lines = wrapped("A square or diamond with 4 edges.", 28).split("\n")
    assert lines == ["A square or diamond", "with 4 edges."]
    assert wrapped("", 28) == ""


def test_a_saved_figure_is_a_png_of_its_size_and_the_same_bytes_again(tmp_path: Path) -> None:
    def line() -> Figure:
        figure = blank(3, 2)
        figure.add_subplot().plot([0, 1])
        return figure

    first = save(line(), tmp_path / "made" / "for" / "it.png").read_bytes()
    with Image.open(tmp_path / "made" / "for" / "it.png") as image:
        assert image.format == "PNG"
        assert image.size == (3 * DPI, 2 * DPI)
        assert np.asarray(image.convert("L")).std() > 1
    assert save(line(), tmp_path / "again.png").read_bytes() == first
