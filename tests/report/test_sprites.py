import io

import numpy as np
import pytest
from PIL import Image

from qdgs.report.sheets import Pixels
from qdgs.report.sprites import SHEET_SIDE, Rows, SpriteSheets, pack


def noise(rows: Rows, size: int = 64) -> list[Pixels]:
    """One fixed colour a row: row i is (i, 255 − i, 128)."""
    return [np.full((size, size, 3), (row % 256, 255 - row % 256, 128), dtype=np.uint8) for row in rows]


def tile_of(packed: SpriteSheets, index: int) -> Pixels:
    sheet, place = divmod(index, packed.columns**2)
    row, column = divmod(place, packed.columns)
    with Image.open(io.BytesIO(packed.sheets[sheet])) as image:
        pixels = np.asarray(image.convert("RGB"))
    size = packed.tile
    return pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]


@pytest.mark.parametrize("index", [0, 31, 32, 1023, 1024, 1199])
def test_a_tile_lies_where_the_layout_says(index: int) -> None:
    rows = np.arange(1200)[::-1].copy()
    packed = pack(noise, rows, 64, budget=10**7)
    assert packed.layout == {"tile": 64, "columns": SHEET_SIDE // 64, "count": 1200, "sheets": 2}
    middle = tile_of(packed, index)[16:48, 16:48].reshape(-1, 3).astype(int).mean(axis=0)
    assert np.abs(middle - (rows[index] % 256, 255 - rows[index] % 256, 128)).max() < 6


def test_tiles_shrink_until_the_budget_holds_them() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 128, 128, 3), dtype=np.uint8)

    def hard(rows: Rows) -> list[Pixels]:
        return list(images[rows])

    sizes = [
        pack(hard, np.arange(100), 128, budget=budget, largest=128).tile for budget in (10**7, 10**6, 10**5)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 128
    assert sizes[-1] < 64
    packed = pack(hard, np.arange(100), 128, budget=400_000, largest=128)
    assert sum(map(len, packed.sheets)) < 1.2 * 400_000


def test_small_images_are_never_enlarged() -> None:
    packed = pack(lambda rows: noise(rows, 8), np.arange(3), 8, budget=10**6)
    assert packed.tile == 8
