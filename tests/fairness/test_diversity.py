import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import logm
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from qdgs.errors import CorruptFileError, InputError
from qdgs.fairness.diversity import (
    PixelEmbedding,
    group_diversity_ratio,
    kernel_bandwidth,
    near_duplicates,
    thumbnails,
    vendi_score,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def images(n: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_thumbnails_are_opencvs_area_means() -> None:
    batch = images(3, 128)
    expected = [
        cv2.resize(image.permute(1, 2, 0).numpy(), (32, 32), interpolation=cv2.INTER_AREA) for image in batch
    ]
    ours = thumbnails(batch).reshape(3, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_the_embedding_is_the_principal_components_of_small_images() -> None:
    batch = images(40)
    embedding = PixelEmbedding.fit([batch[:16], batch[16:]], components=39)
    pixels = thumbnails(batch)
    reference = PCA(39, svd_solver="full").fit_transform(pixels)
    np.testing.assert_allclose(
        cdist(*[embedding.transform(batch)] * 2), cdist(reference, reference), atol=1e-3
    )
    # all components there are: no distance is lost
    np.testing.assert_allclose(cdist(*[embedding.transform(batch)] * 2), cdist(pixels, pixels), atol=1e-3)


def test_an_embedding_does_not_depend_on_the_batches() -> None:
    embedding = PixelEmbedding.fit([images(20)], components=5)
    further = images(7, seed=1)
    np.testing.assert_allclose(embedding.transform(further), embedding.transform(further.split(3)), atol=1e-6)
    assert embedding.transform([]).shape == (0, 5)


def test_a_saved_embedding_comes_back(tmp_path: Path) -> None:
    embedding = PixelEmbedding.fit([images(20)], components=5)
    embedding.save(tmp_path / "embedding.npz")
    again = PixelEmbedding.load(tmp_path / "embedding.npz")
    np.testing.assert_array_equal(again.transform(images(3)), embedding.transform(images(3)))


def test_a_damaged_embedding_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "embedding.npz"
    PixelEmbedding.fit([images(20)], components=5).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for broken in (whole[: len(whole) // 2], b"", b"no archive", bytes(flipped)):
        path.write_bytes(broken)
        with pytest.raises(CorruptFileError, match=r"embedding\.npz: cannot be read as an embedding"):
            PixelEmbedding.load(path)
    np.savez(path, mean=np.zeros(3), components=np.zeros((2, 3)), size=np.array(32))
    with pytest.raises(CorruptFileError, match=r"expected components \(embedding_dim, 3072\), got \(2, 3\)"):
        PixelEmbedding.load(path)
    with pytest.raises(CorruptFileError):
        PixelEmbedding.load(tmp_path / "missing.npz")


def test_an_embedding_of_one_image_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least 2 images to fit on, got 1"):
        PixelEmbedding.fit([images(1)])


def test_copies_of_one_image_count_as_one() -> None:
    assert vendi_score(np.ones((20, 5)), 1.0) == pytest.approx(1)


def test_images_far_from_one_another_count_each() -> None:
    assert vendi_score(1000.0 * np.eye(12), 1.0) == pytest.approx(12)


def test_groups_of_copies_count_as_the_exponential_of_their_entropy() -> None:
    rows = np.repeat(1000.0 * np.eye(3), [6, 3, 1], axis=0)
    shares = np.array([0.6, 0.3, 0.1])
    assert vendi_score(rows, 1.0) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_two_images_have_the_closed_form() -> None:
    k = math.exp(-(3.0**2) / (2 * 2.0**2))
    eigenvalues = [(1 + k) / 2, (1 - k) / 2]
    expected = math.exp(-sum(value * math.log(value) for value in eigenvalues))
    assert vendi_score(np.array([[0.0], [3.0]]), 2.0) == pytest.approx(expected)
    assert math.isnan(vendi_score(np.zeros((0, 2)), 1.0))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.floats(0.3, 3.0), st.integers(0, 2**32 - 1))
def test_the_vendi_score_is_the_von_neumann_entropy_of_the_kernel(
    n: int, bandwidth: float, seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, 4))
    kernel = np.exp(-cdist(rows, rows, "sqeuclidean") / (2 * bandwidth**2)) / n
    expected = math.exp(-np.trace(kernel @ logm(kernel)).real)
    score = vendi_score(rows, bandwidth)
    assert score == pytest.approx(expected, rel=1e-6)
    assert 1 - 1e-9 <= score <= n + 1e-9
    assert vendi_score(rows[::-1] + 5, bandwidth) == pytest.approx(score)


def test_the_bandwidth_is_the_median_distance_to_the_nearest_other_sample() -> None:
    rows = rng().normal(size=(50, 3))
    distances = cdist(rows, rows) + np.diag(np.full(50, np.inf))
    assert kernel_bandwidth(rows) == pytest.approx(np.median(distances.min(axis=1)))
    assert math.isnan(kernel_bandwidth(rows[:1]))


def test_the_bandwidth_does_not_depend_on_how_many_samples_are_at_hand() -> None:
    rows = rng().normal(size=(4000, 3))
    assert kernel_bandwidth(rows) == kernel_bandwidth(rows[:2000])


def test_random_samples_are_as_diverse_as_random_samples() -> None:
    source = rng()
    random = {name: source.normal(size=(80, 10)) for name in "ab"}
    chosen = {name: source.normal(size=(300, 10)) for name in "ab"}
    result = group_diversity_ratio(chosen, random, kernel_bandwidth(random["a"]), rng())
    assert result.ratio == pytest.approx(1, abs=0.1)
    assert result.by_group["a"].samples == 60
    assert not result.left_out


def test_a_narrow_group_shows_in_the_ratio_and_by_name() -> None:
    source = rng()
    random = {name: source.normal(size=(60, 10)) for name in "ab"}
    narrow = np.repeat(source.normal(size=(3, 10)), 20, axis=0)
    bandwidth = kernel_bandwidth(np.concatenate(list(random.values())))
    result = group_diversity_ratio({"a": random["a"], "b": narrow}, random, bandwidth, rng())
    assert result.by_group["a"].ratio == pytest.approx(1)
    assert result.by_group["b"].vendi < 3.1
    assert result.ratio == pytest.approx((result.by_group["a"].ratio + result.by_group["b"].ratio) / 2)


def test_both_sides_are_cut_to_one_number_of_images() -> None:
    source = rng()
    random = {"a": source.normal(size=(25, 10))}
    result = group_diversity_ratio({"a": source.normal(size=(500, 10))}, random, 2.0, rng())
    assert result.by_group["a"].samples == 25
    assert result.by_group["a"].random_vendi == pytest.approx(vendi_score(random["a"], 2.0))


def test_a_group_too_small_to_compare_is_left_out_by_name() -> None:
    source = rng()
    rows = {"a": source.normal(size=(30, 4)), "b": source.normal(size=(30, 4)), "c": np.zeros((0, 4))}
    random = {"a": source.normal(size=(30, 4)), "b": source.normal(size=(9, 4))}
    result = group_diversity_ratio(rows, random, 1.0, rng())
    assert list(result.by_group) == ["a"]
    assert (
        result.left_out["b"]
        == "expected at least 10 images on either side, got 30 of the set and 9 random samples"
    )
    assert "got 0 of the set and 0 random samples" in result.left_out["c"]
    assert result.ratio == result.by_group["a"].ratio


def test_random_samples_that_are_all_alike_leave_the_ratio_unknown() -> None:
    same = np.zeros((30, 4))
    result = group_diversity_ratio({"a": same}, {"a": same}, kernel_bandwidth(same), rng())
    assert math.isnan(result.ratio)
    assert "that differ" in result.left_out["a"]


def test_the_draws_are_repeatable() -> None:
    rows = {"a": rng().normal(size=(200, 6))}
    one, two = (group_diversity_ratio(rows, rows, 1.5, np.random.default_rng(3)) for _ in range(2))
    assert one == two


def test_near_duplicates_are_counted_against_random_samples() -> None:
    source = rng()
    rows, random = source.normal(size=(400, 8)), source.normal(size=(500, 8))
    assert near_duplicates(random[:400], random) == pytest.approx(0.01)
    rows[:40] = rows[40:80] + 1e-6
    assert near_duplicates(rows, random) == pytest.approx(0.2, abs=0.03)


def test_near_duplicates_equal_brute_force() -> None:
    source = rng()
    rows, random = source.normal(size=(60, 2)), source.normal(size=(60, 2))

    def nearest(points: np.ndarray) -> np.ndarray:
        return (cdist(points, points) + np.diag(np.full(len(points), np.inf))).min(axis=1)

    expected = (nearest(rows) < np.quantile(nearest(random), 0.2)).mean()
    assert near_duplicates(rows, random, 0.2) == pytest.approx(expected)
    assert math.isnan(near_duplicates(rows[:1], random))


def test_near_duplicates_need_as_many_random_samples() -> None:
    with pytest.raises(InputError, match=r"expected at least as many as images \(5\), got 4"):
        near_duplicates(np.zeros((5, 2)), np.zeros((4, 2)))
