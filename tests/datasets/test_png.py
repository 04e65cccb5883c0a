import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from qdgs.datasets.png import encoded


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (64, 64)])
def test_a_png_of_ours_reads_back_bit_for_bit_with_its_texts(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    data = encoded(noise, {"Software": "qdgs", "recipe": "a" * 64})
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.array(image), noise)
        assert image.info == {"Software": "qdgs", "recipe": "a" * 64}


def test_another_reader_agrees():
    image = np.random.default_rng(0).integers(0, 256, (9, 5, 3), dtype=np.uint8)
    data = np.frombuffer(encoded(image, {}), np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), image)


def test_flat_images_are_small():
    image = np.full((128, 128, 3), 200, np.uint8)
    image[32:96, 32:96] = 10
    assert len(encoded(image, {})) < image.size / 50


def test_an_image_has_the_same_bytes_whatever_was_encoded_before_it():
    rng = np.random.default_rng(0)
    images = [np.full((16, 16, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(100)]
    before = [encoded(image, {}) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            order = rng.permutation(len(images))
            found = list(pool.map(lambda index: encoded(images[index], {}), order))
            assert found == [before[index] for index in order]
