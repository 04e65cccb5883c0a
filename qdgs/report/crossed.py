"""Images in a table: a row for each value of the first grouped measure, a column for each of the others'."""

from collections.abc import Mapping, Sequence
from itertools import product

from matplotlib.figure import Figure

from qdgs.report.sheets import Pixels, mosaic
from qdgs.report.style import FAINT, INK, SMALL, TITLE, blank, plain, wrapped

SIDE = 1.5
"""Inches of a field."""
LETTERS = 120
"""Letters of size 1 that an inch takes at the least."""


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
    width = SIDE * len(across) + 0.9
    heading, note = (_fitting(text, width, size) for text, size in ((heading, TITLE), (note, SMALL)))
    lines = heading.count("\n") + note.count("\n")
    figure = blank(width, (SIDE + 0.2) * len(rows) + 0.8 + 0.2 * lines)
    table = figure.subplots(len(rows), len(across), squeeze=False)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE, fontweight="bold", color=INK)
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
    figure.supxlabel(note, x=0.01, ha="left", fontsize=SMALL, color=FAINT)
    return figure


def _fitting(text: str, inches: float, size: float) -> str:
    return wrapped(text, int(LETTERS * inches / size))
