import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.guides.prior import latent_norm_loss, norm_statistics


def latent(norm: float, dim: int = 6) -> torch.Tensor:
    direction = torch.from_numpy(np.random.default_rng(0).standard_normal((1, dim)))
    return norm * direction / direction.norm()


def test_norm_statistics_of_gaussian_latents_are_those_of_the_chi_distribution() -> None:
    latents = torch.from_numpy(np.random.default_rng(0).standard_normal((50_000, 6)))
    mean = math.sqrt(2) * math.gamma(3.5) / math.gamma(3)
    assert norm_statistics(latents) == pytest.approx((mean, math.sqrt(6 - mean**2)), abs=0.01)


@settings(max_examples=50, deadline=None)
@given(norm=st.floats(0.01, 50), prior_norm=st.floats(0.1, 30))
def test_the_hinge_is_the_published_formula(norm: float, prior_norm: float) -> None:
    loss = latent_norm_loss(latent(norm), kind="hinge", prior_norm=prior_norm)
    r = 0.5 * prior_norm
    assert float(loss) == pytest.approx((max(norm, r) - r) ** 2, rel=1e-6, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(norm=st.floats(0.01, 50), mean=st.floats(0.1, 30), std=st.floats(0, 3), width=st.floats(0, 3))
def test_the_shell_costs_the_squared_distance_from_it(
    norm: float, mean: float, std: float, width: float
) -> None:
    loss = latent_norm_loss(latent(norm), kind="shell", prior_norm=mean, prior_norm_std=std, width=width)
    low, high = mean - width * std, mean + width * std
    outside = max(low - norm, norm - high, 0)
    assert float(loss) == pytest.approx(outside**2, rel=1e-6, abs=1e-9)


def test_the_shell_costs_on_both_sides_where_the_hinge_costs_on_one() -> None:
    latents = torch.cat([latent(0.1), latent(2.3), latent(9.0)])
    shell = latent_norm_loss(latents, kind="shell", prior_norm=2.3, prior_norm_std=0.7)
    hinge = latent_norm_loss(latents, kind="hinge", prior_norm=2.3)
    assert (shell > 0).tolist() == [True, False, True]
    assert (hinge > 0).tolist() == [False, True, True]


@pytest.mark.parametrize("kind", ["shell", "hinge"])
def test_gradients_agree_with_finite_differences_and_vanish_at_the_origin(kind: str) -> None:
    def loss(latents: torch.Tensor) -> torch.Tensor:
        return latent_norm_loss(latents, kind=kind, prior_norm=2.0, prior_norm_std=0.3)  # type: ignore[arg-type]

    latents = torch.cat([latent(0.5), latent(1.7), latent(5.0)]).requires_grad_()
    assert torch.autograd.gradcheck(loss, latents)
    origin = torch.zeros(1, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(origin).sum(), origin)
    assert gradient.tolist() == [[0.0] * 6]
