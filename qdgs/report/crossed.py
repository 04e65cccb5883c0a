"""Images in a table: a row for each value of the first grouped measure, a column for each of the others'."""

from collections.abc import Mapping, Sequence
from itertools import product

from matplotlib.figure import Figure

from qdgs.report.sheets import Pixels, mosaic
from qdgs.report.style import FAINT, INK, SMALL, TITLE, blank, plain

SIDE = 1.5
"""Inches of a field."""


def crossed_sheet(
    fields: Mapping[str, Sequence[Pixels]],
    values: Sequence[Sequence[str]],
    counts: Mapping[str, int],
    heading: str,
    note: str,
    *,
    columns: int = 4,
) -> Figure:
    """A field for each group: its first images, and how many there are.

    Args:
        fields: Group, its values joined with "/" → images, of which the first columns² are shown.
        values: Values of each grouped measure; the first make the rows, the others together the columns.
        counts: Group → images of it among those that the sheet is of.
        heading: Title.
        note: How to read it.
        columns: Images in a row of a field.
    """
    rows, across = list(values[0]), ["/".join(parts) for parts in product(*values[1:])]
    figure = blank(SIDE * len(across) + 0.9, (SIDE + 0.2) * len(rows) + 0.8)
    table = figure.subplots(len(rows), len(across), squeeze=False)
    figure.suptitle(plain(heading), x=0.01, ha="left", fontsize=TITLE, fontweight="bold", color=INK)
    for (at, row), (place, column) in product(enumerate(rows), enumerate(across)):
        axes, group = table[at, place], f"{row}/{column}" if column else row
        tiles = [*fields.get(group, ())][: columns * columns]
        padded = [*tiles, *[None] * (columns * columns - len(tiles))]
        axes.imshow(mosaic(padded, columns, 64), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(f"{counts.get(group, 0):,}", fontsize=SMALL, color=FAINT, labelpad=2)
        if at == 0:
            axes.set_title(plain(column.replace("/", " · ")), fontsize=SMALL + 1, color=INK)
        if place == 0:
            axes.set_ylabel(plain(row), fontsize=SMALL + 1, color=INK)
    figure.supxlabel(plain(note), x=0.01, ha="left", fontsize=SMALL, color=FAINT)
    return figure
