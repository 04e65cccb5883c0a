"""Many small pictures in a few large ones, small enough for a page that holds everything."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image

from qdgs.report.sheets import Pixels, resized

Rows = npt.NDArray[np.int64]
Pictures = Callable[[Rows], Iterable[Pixels]]
"""Rows of a table → their images `(height, width, 3)`, in order."""

SIZES = (128, 96, 64, 48, 32)
"""Widths of a tile in pixels: whole blocks of the codec, so that neighbours do not bleed."""

SHEET_SIDE = 2048
QUALITY = 82
PROBED = 48
TOLD = 64
"""Pictures after which a watcher is told."""


@dataclass(frozen=True)
class SpriteSheets:
    """Pictures packed row by row into sheets of equal tiles.

    Attributes:
        tile: Width of a tile in pixels.
        columns: Tiles in a row of a sheet, and rows of a full sheet.
        count: Pictures.
        sheets: WebP files.
    """

    tile: int
    columns: int
    count: int
    sheets: tuple[bytes, ...]

    @property
    def encoded(self) -> list[str]:
        """The sheets in base64."""
        return [base64.b64encode(sheet).decode() for sheet in self.sheets]

    @property
    def layout(self) -> dict[str, int]:
        """What a reader needs to find a tile."""
        return {
            "tile": self.tile,
            "columns": self.columns,
            "count": self.count,
            "sheets": len(self.sheets),
        }


def pack(
    pictures: Pictures,
    rows: Rows,
    image_size: int,
    *,
    budget: int,
    largest: int = 96,
    progress: Callable[[int], None] | None = None,
) -> SpriteSheets:
    """Pack pictures into sheets of the largest tiles that a budget of bytes permits.

    Args:
        pictures: Gives the images.
        rows: Which, in the order in which they are packed.
        image_size: Their width; tiles are never larger.
        budget: Bytes for all sheets, as far as a probe of some pictures can tell.
        largest: Upper limit of the tile's width.
        progress: Called now and then with how many are packed.
    """
    tile = _tile(pictures, rows, image_size, budget, largest)
    columns = max(1, SHEET_SIDE // tile)
    tiles = (resized(image, tile) for image in _told(pictures(rows), len(rows), progress))
    return SpriteSheets(tile, columns, len(rows), tuple(_sheets(tiles, columns, tile)))


def encode(pixels: Pixels) -> bytes:
    """A WebP file of one picture `(height, width, 3)`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, method=3)
    return file.getvalue()


def _told(images: Iterable[Pixels], total: int, progress: Callable[[int], None] | None) -> Iterator[Pixels]:
    for done, image in enumerate(images, start=1):
        yield image
        if progress is not None and (done % TOLD == 0 or done == total):
            progress(done)


def _tile(pictures: Pictures, rows: Rows, image_size: int, budget: int, largest: int) -> int:
    sizes = [size for size in SIZES if size <= min(image_size, largest)] or [min(image_size, largest)]
    probed = rows[np.linspace(0, len(rows) - 1, min(PROBED, len(rows))).astype(np.int64)]
    images = list(pictures(probed)) if len(sizes) > 1 else []
    for size in sizes[:-1]:
        sheet = next(_sheets((resized(image, size) for image in images), len(images), size), b"")
        if len(sheet) * len(rows) <= budget * len(probed):
            return size
    return sizes[-1]


def _sheets(tiles: Iterator[Pixels], columns: int, size: int) -> Iterator[bytes]:
    while batch := list(islice(tiles, columns * columns)):
        height, width = -(-len(batch) // columns), min(columns, len(batch))
        sheet = np.full((height * size, width * size, 3), 255, dtype=np.uint8)
        for place, image in enumerate(batch):
            top, left = (size * at for at in divmod(place, columns))
            sheet[top : top + size, left : left + size] = image
        yield encode(sheet)
