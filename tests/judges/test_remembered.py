import sqlite3

import numpy as np
import pytest
import torch

from qdgs.judges.remembered import content_of, eight_bit, remembered


class Reader:
    """Mean and largest value of images; it counts how many it was asked to read."""

    def __init__(self):
        self.read = 0

    def __call__(self, pixels):
        self.read += len(pixels)
        flat = pixels.reshape(len(pixels), -1).astype(float)
        return np.stack([flat.mean(1), flat.max(1)], axis=1) if len(flat) else np.empty((0, 2))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)


def test_what_was_read_before_is_not_read_again(pixels, tmp_path):
    reader = Reader()
    first = remembered(pixels[:8], reader, columns=2, key="k", folder=tmp_path)
    again = remembered(pixels[:8], reader, columns=2, key="k", folder=tmp_path)
    assert np.array_equal(first, again)
    assert reader.read == 8
    more = remembered(pixels[::-1], reader, columns=2, key="k", folder=tmp_path)
    assert reader.read == 12
    np.testing.assert_array_equal(more, Reader()(pixels[::-1]))


def test_equal_images_are_read_once(pixels, tmp_path):
    reader = Reader()
    twice = np.concatenate([pixels[:3], pixels[:3]])
    read = remembered(twice, reader, columns=2, key="k", folder=tmp_path)
    assert reader.read == 3
    assert np.array_equal(read[:3], read[3:])


def test_missing_values_are_kept(pixels, tmp_path):
    read = remembered(
        pixels[:2], lambda new: np.full((len(new), 2), np.nan), columns=2, key="k", folder=tmp_path
    )
    again = remembered(pixels[:2], Reader(), columns=2, key="k", folder=tmp_path)
    assert np.isnan(read).all()
    assert np.isnan(again).all()
    assert again.shape == (2, 2)


def test_another_key_is_another_memory(pixels, tmp_path):
    reader = Reader()
    remembered(pixels, reader, columns=2, key="one", folder=tmp_path)
    remembered(pixels, reader, columns=2, key="two", folder=tmp_path)
    assert reader.read == 24


def test_no_images_give_no_rows(tmp_path):
    none = np.empty((0, 5, 4, 3), np.uint8)
    assert remembered(none, Reader(), columns=2, key="k", folder=tmp_path).shape == (0, 2)


def test_content_is_pixels_and_shape(pixels):
    assert content_of(pixels[0]) == content_of(pixels[0].copy())
    assert content_of(pixels[0]) != content_of(pixels[1])
    assert content_of(pixels[0]) != content_of(pixels[0].reshape(4, 5, 3))


@pytest.mark.parametrize("fault", ["damaged", "no folder"])
def test_a_cache_that_cannot_be_used_costs_time_only(pixels, tmp_path, fault):
    folder = tmp_path / "cache"
    if fault == "damaged":
        folder.mkdir()
        (folder / "readings-k.sqlite").write_bytes(b"no database" * 100)
    else:
        folder.write_text("")
    for _ in range(2):
        np.testing.assert_array_equal(
            remembered(pixels, Reader(), columns=2, key="k", folder=folder), Reader()(pixels)
        )


def test_a_reading_of_another_length_is_read_anew(pixels, tmp_path):
    remembered(pixels, Reader(), columns=2, key="k", folder=tmp_path)
    with sqlite3.connect(tmp_path / "readings-k.sqlite") as connection:
        connection.execute("UPDATE readings SET reading = x'00'")
    connection.close()
    read = remembered(pixels, Reader(), columns=2, key="k", folder=tmp_path)
    np.testing.assert_array_equal(read, Reader()(pixels))


def test_eight_bits_are_those_of_a_stored_image():
    images = torch.tensor([0.0, 0.5, 1.0, 1.2, -0.3, 127.4 / 255]).reshape(1, 1, 1, 6).expand(2, 3, 1, 6)
    assert eight_bit(images)[1, 0, :, 2].tolist() == [0, 128, 255, 255, 0, 127]
