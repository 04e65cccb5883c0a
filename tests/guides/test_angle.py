import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdgs.guides.angle import angular_distance


def unit(*shape: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal(shape)), dim=-1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5), m=st.integers(1, 5), dim=st.integers(2, 64))
def test_it_is_twice_the_arcsine_of_half_the_chord(seed: int, n: int, m: int, dim: int) -> None:
    u, v = unit(n, dim, seed=seed), unit(m, dim, seed=seed + 1)
    chord = np.linalg.norm(u.numpy()[:, None] - v.numpy()[None], axis=-1)
    np.testing.assert_allclose(angular_distance(u, v), 2 * np.arcsin(chord / 2), rtol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.1, math.pi / 2, 3.0, math.pi - 1e-6, math.pi])
def test_it_is_the_angle_between_vectors_in_a_plane(angle: float) -> None:
    u = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    v = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert float(angular_distance(u, v)) == pytest.approx(angle, abs=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    raw = unit(3, 5).mul(2).requires_grad_()
    v = unit(4, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: angular_distance(torch.nn.functional.normalize(x), v), raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_are_finite_at_equal_and_at_opposite_vectors(sign: int, dtype: torch.dtype) -> None:
    raw = unit(6, 16).to(dtype).requires_grad_()
    embeddings = torch.nn.functional.normalize(raw)
    distances = angular_distance(embeddings, sign * embeddings.detach())
    expected = 0 if sign == 1 else math.pi
    torch.testing.assert_close(distances.diagonal(), torch.full((6,), expected, dtype=dtype))
    (gradient,) = torch.autograd.grad(distances.diagonal().sum(), raw)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1e-3
