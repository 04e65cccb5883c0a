import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.errors import ConfigError
from qdgs.generators.diffusers_latents import Space, fixed_noise, normal_norm, on_shell


def drawn(n, dim, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32))


def test_the_whole_space_is_the_latents_themselves():
    space = Space.of(12, None, 0)
    assert space.latent_dim == 12
    assert torch.equal(space(drawn(3, 12)), drawn(3, 12))


def test_a_subspace_keeps_angles_and_gives_vectors_of_unit_variance():
    space = Space.of(600, 16, seed=0)
    basis = space.basis.double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(16).double(), atol=1e-6, rtol=0)
    latents = drawn(2000, 16)
    vectors = space(latents)
    assert vectors.square().mean().item() == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(vectors @ vectors[0], 600 / 16 * latents @ latents[0], atol=1e-2, rtol=1e-4)


def test_a_subspace_comes_from_its_seed():
    assert torch.equal(Space.of(40, 4, 3).basis, Space.of(40, 4, 3).basis)
    assert not torch.allclose(Space.of(40, 4, 3).basis, Space.of(40, 4, 4).basis)


def test_a_subspace_of_all_dimensions_is_a_rotation():
    space = Space.of(8, 8, 0)
    torch.testing.assert_close(space(drawn(5, 8)).norm(dim=1), drawn(5, 8).norm(dim=1))
    with pytest.raises(ConfigError, match="expected at most the 8 there are, got 9"):
        Space.of(8, 9, 0)


def test_random_noise_lies_on_the_shell_and_stays_as_it_is():
    noise = drawn(1000, 768)
    unchanged = (on_shell(noise) == noise).all(dim=1).float().mean()
    assert unchanged > 0.99


@given(st.floats(0.01, 100), st.integers(1, 2000), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_shell_keeps_directions_and_bounds_norms(scale, dim, seed):
    vectors = scale * drawn(2, dim, seed)
    pulled = on_shell(vectors)
    norms = pulled.norm(dim=1)
    width = 3 * math.sqrt(0.5)
    assert (norms <= (math.sqrt(dim) + width) * 1.0001).all()
    assert (norms >= (math.sqrt(dim) - width) * 0.9999).all()
    cosines = torch.nn.functional.cosine_similarity(pulled, vectors, dim=1)
    torch.testing.assert_close(cosines, torch.ones(2), atol=1e-4, rtol=0)


def test_the_mean_norm_of_normal_vectors_is_that_of_samples():
    assert normal_norm(1) == pytest.approx(math.sqrt(2 / math.pi))
    assert normal_norm(6) == pytest.approx(2.3499641)
    assert normal_norm(200_000) == pytest.approx(math.sqrt(200_000), rel=1e-5)


def test_fixed_noise_is_one_row_of_the_seed():
    assert fixed_noise((2, 3), 5).shape == (1, 2, 3)
    assert torch.equal(fixed_noise((2, 3), 5), fixed_noise((2, 3), 5))
    assert not torch.equal(fixed_noise((2, 3), 5), fixed_noise((2, 3), 6))
