import numpy as np
import pytest

from qdgs.errors import InputError
from qdgs.recognition.purity import identity_purity, thumbnails


def clustered(spread, identities=20, each=5, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.repeat(np.arange(identities), each))
    points = rng.normal(size=(identities, dim))[numbers] + spread * rng.normal(size=(len(numbers), dim))
    return points / np.linalg.norm(points, axis=1, keepdims=True), numbers


def purity(points, numbers):
    return identity_purity(points, numbers, np.random.default_rng(0))


def test_clusters_apart_are_pure_and_chance_is_not():
    assert purity(*clustered(0.01)).nearest.value == 1
    assert purity(*clustered(0.01)).equal_error_rate == 0
    points, numbers = clustered(0.0, each=20)
    rng = np.random.default_rng(1)
    points = rng.normal(size=points.shape)
    told = purity(points / np.linalg.norm(points, axis=1, keepdims=True), numbers)
    assert told.nearest.value == pytest.approx(19 / 399, abs=0.04)
    assert told.equal_error_rate == pytest.approx(0.5, abs=0.05)


def test_nearest_others_are_counted_as_by_hand():
    points, numbers = clustered(0.7)
    right = 0
    for i, point in enumerate(points):
        distances = [np.inf if i == j else ((point - other) ** 2).sum() for j, other in enumerate(points)]
        right += numbers[int(np.argmin(distances))] == numbers[i]
    told = purity(points, numbers)
    assert told.nearest.value == pytest.approx(right / len(points))
    assert told.nearest.low < told.nearest.value < told.nearest.high
    assert (told.images, told.identities) == (100, 20)


def test_images_of_one_source_are_not_compared():
    # two identities of two sources each, and one of a single source, which is left out
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:5]
    sources = np.repeat(np.arange(5), 4)
    identities = np.array([0, 0, 1, 1, 2])[sources]
    points = centres[sources] + 0.01 * rng.normal(size=(20, 8))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    whole = purity(points, identities)
    assert whole.nearest.value == 1
    apart = identity_purity(points, identities, np.random.default_rng(0), sources=sources)
    assert (apart.images, apart.identities) == (16, 2)
    # sources lie at right angles: another of the same identity is as far as one of the other
    assert apart.nearest.value == pytest.approx(1 / 3, abs=0.3)
    assert apart.equal_error_rate > 0.3
    merged = centres[np.array([0, 0, 1, 1, 2])[sources]] + 0.01 * rng.normal(size=(20, 8))
    merged /= np.linalg.norm(merged, axis=1, keepdims=True)
    together = identity_purity(merged, identities, np.random.default_rng(0), sources=sources)
    assert (together.nearest.value, together.equal_error_rate) == (1, 0)


def test_two_identities_of_two_images_are_enough_whatever_is_drawn():
    points, numbers = clustered(0.01, identities=2, each=2)
    for seed in range(100):
        told = identity_purity(points, numbers, np.random.default_rng(seed))
        assert (told.nearest.value, told.equal_error_rate) == (1, 0)


def test_an_identity_with_one_image_is_refused():
    points, _ = clustered(0.1, identities=3, each=1)
    with pytest.raises(
        InputError, match="expected at least two with two images or more, got 2, the smallest with 1"
    ):
        purity(points, np.array([0, 0, 1]))


def test_thumbnails_know_patterns_whatever_their_brightness(face_pixels):
    images = np.array([face for faces in face_pixels(10, 4) for face in faces])
    numbers = np.repeat(np.arange(10), 4)
    assert purity(thumbnails(images), numbers).nearest.value == 1
    darker = (images * np.random.default_rng(0).uniform(0.4, 1, (40, 1, 1, 1))).astype(np.uint8)
    assert purity(thumbnails(darker), numbers).nearest.value > 0.9
