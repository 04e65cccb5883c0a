from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from qdgs.report.sheets import Pixels, as_pixels, before_after, contact_sheet, mosaic
from qdgs.report.style import save


def test_tensors_become_pixels_that_become_the_same_tensors() -> None:
    values = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).float().remainder(256) / 255
    pixels = as_pixels(values)
    assert pixels.shape == (2, 4, 4, 3)
    torch.testing.assert_close(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, values)


def test_a_mosaic_holds_the_pixels_of_its_images_in_reading_order(pixels: Pixels) -> None:
    sheet = mosaic(pixels[:5], 3, 16, gap=1)
    assert sheet.shape == (2 * 17 + 1, 3 * 17 + 1, 3)
    np.testing.assert_array_equal(sheet[1:17, 18:34], pixels[1])
    np.testing.assert_array_equal(sheet[18:34, 1:17], pixels[3])
    assert len(np.unique(sheet[18:34, 35:51].reshape(-1, 3), axis=0)) == 1


def test_a_contact_sheet_is_its_images_pixel_for_pixel(tmp_path: Path, pixels: Pixels) -> None:
    path = save(contact_sheet(pixels, 6, columns=4, size=16), tmp_path / "sheet.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), mosaic(pixels[:6], 4, 16))


def test_the_dataset_stands_in_rows_by_group(pixels: Pixels, shares: pd.DataFrame) -> None:
    by_group = {
        group: np.full((9, 8, 8, 3), 40 * i, dtype=np.uint8) for i, group in enumerate(shares["group"])
    }
    figure = before_after(pixels, by_group, shares, columns=4)
    before, after, bars = figure.axes
    sheet = np.asarray(after.images[0].get_array())
    rows = np.linspace(0, sheet.shape[0], 4, endpoint=False).astype(int) + sheet.shape[0] // 8
    assert sheet[rows, sheet.shape[1] // 8, 0].tolist() == [0, 40, 80, 120]
    assert [label.get_text() for label in after.get_yticklabels()] == [
        group.replace("/", " · ") for group in shares["group"]
    ]
    assert np.asarray(before.images[0].get_array()).shape == sheet.shape
    assert len(bars.containers) == 2


@pytest.mark.parametrize("groups", [1, 2, 6, 18])
def test_any_number_of_groups_can_be_drawn(groups: int, tmp_path: Path, pixels: Pixels) -> None:
    names = [f"group {i}" for i in range(groups)]
    shares = pd.DataFrame(
        {"group": names, "target": 1 / groups, "share": 1 / groups, "random_share": 1 / groups}
    )
    path = save(before_after(pixels, dict.fromkeys(names, pixels[:3]), shares), tmp_path / "figure.png")
    with Image.open(path) as image:
        assert min(image.size) > 500


def test_a_group_without_images_leaves_its_rows_grey(pixels: Pixels, shares: pd.DataFrame) -> None:
    by_group = {group: pixels[:0] if i == 1 else pixels for i, group in enumerate(shares["group"])}
    sheet = np.asarray(before_after(pixels, by_group, shares).axes[1].images[0].get_array())
    quarter = sheet.shape[0] // 4
    assert sheet[quarter + 4 : 2 * quarter - 4].std(axis=(0, 1)).max() == 0
