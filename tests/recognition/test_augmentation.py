import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.recognition.augmentation import LUMA, _blended, augment, blurred, cropped, mirrored, relit
from qdgs.recognition_config import AugmentationConfig

NEVER = {"low_resolution": 0.0, "crop": 0.0, "photometric": 0.0, "flip": 0.0}
CHANGES = {"low_resolution": blurred, "crop": cropped, "photometric": relit, "flip": mirrored}


def picture(seed=0, size=24):
    return np.random.default_rng(seed).integers(1, 256, (size, size, 3), dtype=np.uint8)


def test_without_probabilities_an_image_stays():
    assert (augment(picture(), AugmentationConfig(**NEVER), np.random.default_rng(0)) == picture()).all()


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_each_probability_is_that_of_its_change(name):
    config = AugmentationConfig(**{**NEVER, name: 0.2})
    changed = [
        not np.array_equal(augment(picture(), config, np.random.default_rng(seed)), picture())
        for seed in range(800)
    ]
    assert np.mean(changed) == pytest.approx(0.2, abs=0.045)


def test_mirroring_twice_is_nothing():
    rng = np.random.default_rng(0)
    assert (mirrored(mirrored(picture(), rng), rng) == picture()).all()


@given(st.integers(0, 10_000), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_a_crop_is_a_part_in_its_place_and_black_around(seed, size):
    image = picture(seed, size)
    part = cropped(image, np.random.default_rng(seed))
    kept = part.any(axis=2)
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    assert kept.sum() == kept[box].size
    assert (part[box] == image[box]).all()
    assert kept.mean() >= 0.15


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_light_and_colour_are_mixed_with_black_mean_gray_and_own_gray(factor):
    values = picture().astype(np.float32)
    gray = values @ LUMA
    for kind, other in enumerate([np.zeros_like(gray), np.full_like(gray, gray.mean()), gray]):
        wanted = np.clip(factor * values + (1 - factor) * other[..., None], 0, 255)
        np.testing.assert_allclose(_blended(values, kind, np.float32(factor)), wanted, atol=1e-3)


def test_low_resolution_loses_detail_and_keeps_size_and_mean():
    changed = [blurred(picture(), np.random.default_rng(seed)).astype(float) for seed in range(60)]
    assert {image.shape for image in changed} == {picture().shape}
    assert np.mean([image.std() for image in changed]) < 0.8 * picture().std()
    assert np.mean([image.mean() for image in changed]) == pytest.approx(picture().mean(), abs=4)
