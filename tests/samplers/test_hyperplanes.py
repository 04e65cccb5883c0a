import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.errors import InputError
from qdgs.samplers.hyperplanes import fit_hyperplane, moved


def unit(rng, dimension):
    normal = rng.standard_normal(dimension)
    return normal / np.linalg.norm(normal)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), dimension=st.integers(3, 20), k=st.integers(1, 3))
def test_moved_changes_the_coordinates_asked_for_by_the_shortest_way(seed, dimension, k):
    rng = np.random.default_rng(seed)
    normals = [unit(rng, dimension) for _ in range(k)]
    z, changes = rng.standard_normal((5, dimension)), rng.standard_normal((5, k))
    there = moved(z, normals, changes)
    matrix = np.stack(normals)
    np.testing.assert_allclose((there - z) @ matrix.T, changes, atol=1e-7)
    beside = there - z - (there - z) @ np.linalg.pinv(matrix) @ matrix
    np.testing.assert_allclose(beside, 0, atol=1e-7)


def test_one_coordinate_moves_along_the_conditional_direction(rng):
    first, second = unit(rng, 6), unit(rng, 6)
    conditional = first - (first @ second) * second
    z = rng.standard_normal((4, 6))
    there = moved(z, [first, second], np.tile([1.0, 0.0], (4, 1)))
    np.testing.assert_allclose(there - z, np.tile(conditional / (first @ conditional), (4, 1)), atol=1e-9)


def test_directions_that_are_one_are_refused(rng):
    normal = unit(rng, 6)
    with pytest.raises(InputError, match="expected directions that can be told apart"):
        moved(rng.standard_normal((2, 6)), [normal, normal], np.zeros((2, 2)))


def test_a_hyperplane_that_is_there_is_found(rng):
    normal = unit(rng, 6)
    z = rng.standard_normal((4000, 6))
    plane = fit_hyperplane(z, z @ normal + 0.5 > 0, training=3000, seed=0, name="a", regularization=100)
    assert np.linalg.norm(plane.normal) == pytest.approx(1)
    assert plane.normal @ normal > 0.999
    assert plane.offset == pytest.approx(0.5, abs=0.03)
    assert plane.accuracy > 0.98


@pytest.mark.parametrize("value", [True, False])
def test_a_judge_that_labels_everything_alike_leaves_no_hyperplane(rng, value):
    with pytest.raises(InputError, match=r"color: expected latents of both values .* labels all alike"):
        fit_hyperplane(rng.standard_normal((9, 2)), np.full(9, value), training=9, seed=0, name="color")
