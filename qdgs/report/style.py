"""The look of every picture: colours, type, axes, and how a figure becomes a PNG."""

import math
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart under every common colour blindness, and in grey by lightness.
DATASET = "#0072B2"
RANDOM = "#E69F00"
TARGET = "#111111"
INK = "#1a1a1a"
FAINT = "#5f6368"
LINE = "#d5d8dc"
PAPER = "#ffffff"
EMPTY = "#e4e7eb"
COLORS = "viridis"

DPI = 160
WIDE, NARROW = 7.4, 3.7
"""Widths of figures in inches: for a page, and for a phone."""
TITLE = 12.0
TEXT = 9.5
SMALL = 8.5


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, apart from pyplot's global state."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAPER)


def lay_out(figure: Figure) -> None:
    """Give everything its place for good: saving would draw twice otherwise, once to find the places."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, making its folder where there is none.

    Returns:
        The path.
    """
    lay_out(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return path


def tidy(axes: Axes, *, grid: str = "") -> None:
    """Quiet axes: no frame on top and right, small faint ticks, a light grid along "x" or "y" if asked."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=SMALL, length=3, width=0.8)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="x" if grid == "x" else "y", color=LINE, linewidth=0.7)


def title(axes: Axes, text: str, note: str = "") -> None:
    """A title set left, and under it a smaller line that says how to read the picture."""
    axes.set_title(
        plain(text), loc="left", fontsize=TITLE, fontweight="bold", color=INK, pad=22 if note else 8
    )
    if note:
        axes.annotate(
            plain(note),
            xy=(0, 1),
            xytext=(0, 8),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL,
            color=FAINT,
        )


def plain(text: str) -> str:
    """Text that matplotlib draws as it stands: a user's dollar sign begins no formula."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int) -> str:
    """Plain text broken into lines of about the same length, none longer than `width` characters."""
    lines = -(-len(text) // width)
    even = min(width, -(-len(text) // max(lines, 1)) + 4)
    return plain("\n".join(textwrap.wrap(text, even)) or text)


def percent(share: float) -> str:
    """A share as a percentage: whole from 10 % on, one decimal below, so that 0.4 % is not 0 %."""
    if math.isnan(share):
        return "none readable"
    value = 100 * share
    rounded = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")
    return f"{rounded} %"
