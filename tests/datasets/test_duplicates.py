import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.datasets import duplicates
from qdgs.datasets.duplicates import DuplicateFilter, duplicate_distance, nearest_distances
from qdgs.errors import InputError


def greedy(points: np.ndarray, min_distance: float) -> np.ndarray:
    kept: list[int] = []
    for row in range(len(points)):
        if all(np.linalg.norm(points[row] - points[other]) >= min_distance for other in kept):
            kept.append(row)
    return np.isin(np.arange(len(points)), kept)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(0, 40),
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=4),
    min_distance=st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_dropping_in_portions_equals_brute_force(
    seed: int, n: int, sizes: list[int], min_distance: float
) -> None:
    points = np.random.default_rng(seed).normal(size=(n, 2))
    keep, masks, start = DuplicateFilter(min_distance), [], 0
    while start < n:
        size = sizes[len(masks) % len(sizes)]
        masks.append(keep.keep(points[start : start + size]))
        start += size
    np.testing.assert_array_equal(np.concatenate([[], *masks]), greedy(points, min_distance))


def test_chunks_do_not_change_what_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).normal(size=(200, 3))
    whole = DuplicateFilter(0.5).keep(points)
    monkeypatch.setattr(duplicates, "CHUNK", 7)
    monkeypatch.setattr(duplicates, "BLOCK", 20)
    np.testing.assert_array_equal(DuplicateFilter(0.5).keep(points), whole)
    assert 0 < whole.sum() < 200


def test_nearest_distances_equal_brute_force() -> None:
    points = np.random.default_rng(2).normal(size=(60, 5))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(nearest_distances(points), distances.min(axis=1), atol=1e-7)


def test_random_samples_hold_about_the_quantile_of_near_duplicates() -> None:
    rng = np.random.default_rng(3)
    threshold = duplicate_distance(rng.normal(size=(3000, 4)), 0.05)
    share = (nearest_distances(rng.normal(size=(3000, 4))) < threshold).mean()
    assert share == pytest.approx(0.05, abs=0.02)


def test_a_quantile_of_zero_keeps_everything() -> None:
    assert duplicate_distance(np.zeros((1, 3)), 0) == 0
    assert DuplicateFilter(0.0).keep(np.zeros((5, 3))).all()


@pytest.mark.parametrize("points", [np.zeros(3), np.full((3, 2), np.nan), np.zeros((1, 2))])
def test_what_is_no_set_of_embeddings_is_refused(points: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^near-duplicates: expected"):
        nearest_distances(points)
