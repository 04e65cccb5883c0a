"""Pictures of an archive along two of its measures: what the objective reached, and what the elites show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdgs.report.sheets import Pixels, mosaic
from qdgs.report.style import COLORS, EMPTY, FAINT, INK, SMALL, TEXT, blank, percent, tidy, title, wrapped

# pyribs adds this before it cuts a measure into cells; without it an elite on an edge moves to its neighbour.
CELL_EPSILON = 1e-6


@dataclass(frozen=True)
class MeasureAxis:
    """One measure of an archive as an axis of a picture.

    Attributes:
        name: Column of the archive's frame.
        low: Lower end of the range.
        high: Upper end of the range.
        cells: Cells along the range.
        low_prompt: What the lower end means, in words.
        high_prompt: What the upper end means, in words.
    """

    name: str
    low: float
    high: float
    cells: int
    low_prompt: str = ""
    high_prompt: str = ""

    def position(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Where values lie on the axis: 0 at its lower end, 1 at its upper end."""
        return (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)

    def index(self, values: npt.ArrayLike, cells: int | None = None) -> npt.NDArray[np.int64]:
        """Cell of each value, cut as pyribs cuts: values outside the range fall into the edge cells."""
        count = cells or self.cells
        epsilon = CELL_EPSILON / (self.high - self.low)
        return np.clip(np.floor(count * self.position(values) + epsilon), 0, count - 1).astype(np.int64)


def best_objectives(archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis) -> npt.NDArray[np.float64]:
    """The best objective in each cell of two measures, `(y.cells, x.cells)`, NaN where no elite is.

    Where the archive has further measures, a cell holds the best elite over all of them.
    """
    best = np.full((y.cells, x.cells), np.nan)
    cell = (y.index(archive[y.name]), x.index(archive[x.name]))
    np.fmax.at(best, cell, archive["objective"].to_numpy(dtype=np.float64))
    return best


def archive_heatmap(
    archive: pd.DataFrame,
    x: MeasureAxis,
    y: MeasureAxis,
    *,
    heading: str = "What the search found",
) -> Figure:
    """A map of the archive: each cell that holds an elite, coloured by its objective.

    Args:
        archive: Elites: `objective` and one column a measure.
        x: The measure along the picture.
        y: The measure up the picture.
        heading: Title of the picture.
    """
    best = best_objectives(archive, x, y)
    figure = blank(7.4, 6.4)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(
        np.linspace(x.low, x.high, x.cells + 1),
        np.linspace(y.low, y.high, y.cells + 1),
        np.ma.masked_invalid(best),
        cmap=COLORS,
        rasterized=True,
    )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, aspect=32, pad=0.02)
    bar.set_label("objective of the elite", fontsize=TEXT, color=INK)
    bar.ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=SMALL, length=3)
    bar.outline.set_visible(False)
    filled = float(np.mean(np.isfinite(best)))
    _frame(axes, x, y)
    title(
        axes,
        heading,
        f"{percent(filled)} of the cells of {x.name} × {y.name} hold an elite; grey cells are empty",
    )
    return figure


def choose_elites(
    archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis, *, columns: int = 12, rows: int = 12
) -> pd.DataFrame:
    """One elite for each cell of a coarse grid: the one nearest the middle, not the best.

    Args:
        archive: Solutions with one column a measure.
        x: The measure along the picture.
        y: The measure up the picture.
        columns: Cells along x.
        rows: Cells along y.

    Returns:
        A frame with `position` (row of `archive`, counted from 0), `column` and `row` (from the low end),
        sorted by row and column.
    """
    column, row = x.index(archive[x.name], columns), y.index(archive[y.name], rows)
    off = (x.position(archive[x.name]) * columns - column - 0.5) ** 2
    off += (y.position(archive[y.name]) * rows - row - 0.5) ** 2
    nearest_first = np.argsort(off, kind="stable")
    _, first = np.unique((row * columns + column)[nearest_first], return_index=True)
    chosen = nearest_first[first]
    return pd.DataFrame({"position": chosen, "column": column[chosen], "row": row[chosen]})


def image_grid(
    pixels: Sequence[Pixels] | Pixels,
    cells: pd.DataFrame,
    x: MeasureAxis,
    y: MeasureAxis,
    *,
    columns: int = 12,
    rows: int = 12,
    heading: str = "What the elites show",
) -> Figure:
    """Pictures of elites laid out along two measures; a cell without an elite stays blank.

    Args:
        pixels: One image `(height, width, 3)` for each row of `cells`.
        cells: `column` and `row` of each image, as `choose_elites` gives them.
        x: The measure along the picture.
        y: The measure up the picture.
        columns: Cells along x.
        rows: Cells along y.
        heading: Title of the picture.
    """
    tiles: list[Pixels | None] = [None] * (columns * rows)
    for image, column, row in zip(pixels, cells["column"], cells["row"], strict=True):
        tiles[(rows - 1 - row) * columns + column] = image
    figure = blank(7.4, 7.6 * max(rows / columns, 0.35))
    axes = figure.add_subplot()
    axes.imshow(mosaic(tiles, columns, 72), extent=(x.low, x.high, y.low, y.high), aspect="auto")
    _frame(axes, x, y)
    title(axes, heading, "one elite a cell, the one nearest the middle of the cell; grey cells are empty")
    return figure


def _frame(axes: Axes, x: MeasureAxis, y: MeasureAxis) -> None:
    tidy(axes)
    axes.set_facecolor(EMPTY)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    for where, measure in (("x", x), ("y", y)):
        axes.locator_params(axis="x" if where == "x" else "y", nbins=6)
        _label(axes, where, measure)


def _label(axes: Axes, where: str, measure: MeasureAxis) -> None:
    """The measure's name in the middle of its axis, and at both ends what the end means."""
    down = -30
    style: dict[str, Any] = {"fontsize": TEXT, "color": INK, "xycoords": "axes fraction"}
    style |= {"textcoords": "offset points", "linespacing": 1.15}
    ends = ((0.0, wrapped(measure.low_prompt, 28), "left"), (1.0, wrapped(measure.high_prompt, 28), "right"))
    for at, text, side in (*ends, (0.5, wrapped(measure.name, 28), "center")):
        weight = "bold" if side == "center" else "normal"
        if where == "x":
            axes.annotate(
                text, (at, 0), (0, down), ha=side, va="top", multialignment=side, fontweight=weight, **style
            )
        else:
            upright = {"left": "bottom", "right": "top", "center": "center"}[side]
            axes.annotate(
                text,
                (0, at),
                (down - 8, 0),
                ha="right",
                va=upright,
                rotation=90,
                multialignment=side,
                fontweight=weight,
                **style,
            )
