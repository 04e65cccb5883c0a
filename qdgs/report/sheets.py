"""Sheets of images: many small pictures in rows, and the random samples beside the balanced set."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from qdgs.report.groups import draw_group_shares
from qdgs.report.style import DPI, EMPTY, INK, PAPER, SMALL, blank, title, wrapped

Pixels = npt.NDArray[np.uint8]
"""Images `(n, height, width, 3)`, or one of them without n."""


def as_pixels(images: Tensor) -> Pixels:
    """Images `(n, 3, height, width)` in [0, 1] as `(n, height, width, 3)` in 0…255."""
    rounded = images.detach().cpu().float().mul(255).round().clamp(0, 255)
    return np.asarray(rounded.permute(0, 2, 3, 1).numpy(), dtype=np.uint8)


def mosaic(tiles: Sequence[Pixels | None] | Pixels, columns: int, size: int, *, gap: int = 2) -> Pixels:
    """One image of many, row by row on grey; None leaves a place empty.

    Args:
        tiles: Images `(height, width, 3)`, square.
        columns: Images in a row.
        size: Width and height of an image on the sheet, in pixels.
        gap: Grey pixels between two images, and around the sheet.
    """
    rows = -(-len(tiles) // columns)
    step = size + gap
    grey = np.round(255 * np.asarray(to_rgb(EMPTY))).astype(np.uint8)
    sheet = np.tile(grey, (rows * step + gap, columns * step + gap, 1))
    for place, tile in enumerate(tiles):
        if tile is not None:
            top, left = (gap + step * at for at in divmod(place, columns))
            sheet[top : top + size, left : left + size] = resized(tile, size)
    return sheet


def contact_sheet(
    pixels: Sequence[Pixels] | Pixels, n: int = 64, *, columns: int = 8, size: int = 112
) -> Figure:
    """The first `n` images in rows, nothing chosen and nothing drawn over them.

    Args:
        pixels: Images `(n, height, width, 3)`.
        n: How many, at most.
        columns: Images in a row.
        size: Width of an image on the sheet, in pixels.
    """
    sheet = mosaic(pixels[:n], columns, size)
    height, width = sheet.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet, aspect="auto", interpolation="nearest")
    axes.set_axis_off()
    return figure


def before_after(
    random_pixels: Sequence[Pixels] | Pixels,
    by_group: Mapping[str, Sequence[Pixels] | Pixels],
    shares: pd.DataFrame,
    *,
    columns: int = 8,
) -> Figure:
    """Random samples beside the balanced set in rows by group, and below them the share of each group.

    Args:
        random_pixels: Random samples of the generator, in the order in which they were drawn.
        by_group: Group → its first images in the dataset.
        shares: As for `group_shares`.
        columns: Images in a row.
    """
    each = max(1, columns // len(by_group))
    rows = each * len(by_group)
    side = 4.6
    sheet_height = side * rows / columns
    figure = blank(2 * side + 1.2, sheet_height + 1.6 + 0.42 * len(shares))
    parts = figure.add_gridspec(
        2, 2, height_ratios=(sheet_height + 0.5, 0.9 + 0.42 * len(shares)), wspace=0.06
    )
    before, after = figure.add_subplot(parts[0, 0]), figure.add_subplot(parts[0, 1])
    _sheet(before, list(random_pixels[: rows * columns]), rows, columns)
    title(before, "Random samples of the generator", "in the order in which they were drawn")
    _sheet(after, _blocks(by_group, each * columns), rows, columns)
    title(after, "The balanced dataset", f"the first images of each group, {each * columns} a group")
    after.set_yticks([(at + 0.5) / len(by_group) for at in reversed(range(len(by_group)))])
    after.set_yticklabels([wrapped(name.replace("/", " · "), 18) for name in by_group])
    after.yaxis.tick_right()
    after.tick_params(length=0, labelsize=SMALL + 1, labelcolor=INK)
    draw_group_shares(figure.add_subplot(parts[1, :]), shares)
    return figure


def _blocks(by_group: Mapping[str, Sequence[Pixels] | Pixels], each: int) -> list[Pixels | None]:
    tiles: list[Pixels | None] = []
    for pixels in by_group.values():
        first = list(pixels[:each])
        tiles += [*first, *[None] * (each - len(first))]
    return tiles


def _sheet(axes: Axes, tiles: Sequence[Pixels | None], rows: int, columns: int) -> None:
    padded = [*tiles, *[None] * (rows * columns - len(tiles))]
    axes.imshow(mosaic(padded, columns, 88), extent=(0, columns / rows, 0, 1), aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def resized(tile: Pixels, size: int) -> Pixels:
    """A square picture at another width, smoothed."""
    if tile.shape[:2] == (size, size):
        return tile
    return np.asarray(Image.fromarray(tile).resize((size, size), Image.Resampling.LANCZOS))
