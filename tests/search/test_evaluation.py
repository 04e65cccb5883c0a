import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdgs.errors import GeneratorError, InputError
from qdgs.search.evaluation import SOFTNESS, Evaluator, ObjectiveScale


def network(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))


def scored_by(model: torch.nn.Module):
    def score(latents: Tensor) -> tuple[Tensor, Tensor]:
        outputs = model(latents)
        return outputs[:, 0], outputs[:, 1:]

    return score


def make_evaluator(score, **keys) -> Evaluator:
    return Evaluator(score, **{"latent_dim": 4, "measure_dim": 2, "micro_batch": 16, **keys})


def latents(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 40])
def test_scores_equal_those_of_the_function_whatever_the_number_of_latents(n):
    model = network()
    evaluation = make_evaluator(scored_by(model))(latents(n))
    expected = model(torch.from_numpy(latents(n))).detach().numpy()
    np.testing.assert_allclose(evaluation.objective, expected[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(evaluation.measures, expected[:, 1:], rtol=1e-5, atol=1e-6)


def test_every_micro_batch_has_the_same_size():
    sizes = []

    def score(batch):
        sizes.append(len(batch))
        return batch[:, 0], batch[:, :2]

    make_evaluator(score)(latents(40))
    assert sizes == [16, 16, 16]


def test_a_score_does_not_depend_on_the_company_of_a_latent():
    evaluator = make_evaluator(scored_by(network()))
    together, alone = evaluator(latents(37)), evaluator(latents(37)[36:])
    assert together.objective[36] == alone.objective[0]


@pytest.mark.parametrize("n", [1, 5, 16, 35])
def test_the_jacobian_equals_that_of_torch_func(n):
    model = network()
    evaluation = make_evaluator(scored_by(model)).jacobians(latents(n))
    expected = torch.func.vmap(torch.func.jacrev(model))(torch.from_numpy(latents(n)))
    np.testing.assert_allclose(evaluation.jacobian, expected.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_the_jacobian_of_a_scaled_objective_equals_finite_differences():
    model = network().double()

    def score(batch):
        outputs = model(batch.double())
        return outputs[:, 0], outputs[:, 1:]

    low, high = np.quantile(make_evaluator(score)(latents(200)).objective, [0.4, 0.6])
    scale = ObjectiveScale(float(low), float(high))
    points, step = latents(12), 1e-4
    jacobian = make_evaluator(score, scale=scale).jacobians(points).jacobian
    for index in range(4):
        moved = torch.from_numpy(points).double().repeat(2, 1, 1)
        moved[0, :, index] += step
        moved[1, :, index] -= step
        ahead, behind = (scale(score(side)[0]) for side in moved)
        np.testing.assert_allclose(
            jacobian[:, 0, index], ((ahead - behind) / (2 * step)).detach(), rtol=2e-3, atol=1e-2
        )


def test_a_measure_that_ignores_the_latents_has_gradient_zero():
    def score(batch):
        return batch.sum(dim=1), torch.stack([batch[:, 0], torch.ones(len(batch))], dim=1)

    jacobian = make_evaluator(score).jacobians(latents(3)).jacobian
    assert (jacobian[:, 2] == 0).all()
    assert (jacobian[:, 0] == 1).all()


def test_everything_that_was_scored_is_counted():
    evaluator = make_evaluator(scored_by(network()))
    evaluator(latents(20))
    evaluator.scaled(ObjectiveScale(0.0, 1.0)).jacobians(latents(3))
    assert evaluator.evaluations == 23
    assert evaluator.equivalents == 20 + 3 * (1 + 3)  # one forward, three backward


def test_no_latents_cost_nothing_and_give_empty_arrays():
    evaluator = make_evaluator(scored_by(network()))
    evaluation = evaluator(latents(0))
    assert evaluation.objective.shape == (0,)
    assert evaluation.measures.shape == (0, 2)
    assert evaluator.evaluations == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_named_with_its_latent(bad):
    def score(batch):
        return torch.where(torch.arange(len(batch)) == 3, bad, batch[:, 0]), batch[:, :2]

    with pytest.raises(GeneratorError, match=r"expected finite objective and measures, got .* for latent 3"):
        make_evaluator(score)(latents(8))


def test_a_gradient_that_is_not_finite_is_refused():
    def score(batch):
        return (batch[:, 0] * 0).sqrt() + batch[:, 1], batch[:, :2]

    with pytest.raises(GeneratorError, match="finite gradients"):
        make_evaluator(score).jacobians(latents(8))


def test_a_wrong_shape_is_named():
    with pytest.raises(GeneratorError, match=r"shapes \(16,\) and \(16, 2\), got \(16, 1\) and \(16, 3\)"):
        make_evaluator(lambda batch: (batch[:, :1], batch[:, :3]))(latents(8))


def test_a_score_without_gradients_is_refused_where_they_are_needed():
    with pytest.raises(InputError, match="take an algorithm without gradients"):
        make_evaluator(lambda batch: (batch.detach()[:, 0], batch.detach()[:, :2])).jacobians(latents(2))


class Remembering:
    def __init__(self):
        self.rows = []

    def __call__(self, batch):
        return batch[:, 0], batch[:, :2]

    def remember(self, rows):
        self.rows.append(rows)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_score_with_a_memory_is_told_which_rows_are_real():
    score = Remembering()
    make_evaluator(score)(latents(20))
    make_evaluator(score).jacobians(latents(3))
    assert score.rows == [16, 4, 3]


def scaled(values, low=-2.0, high=3.0) -> np.ndarray:
    return ObjectiveScale(low, high)(torch.tensor(values, dtype=torch.float64)).numpy()


def test_the_scale_is_linear_between_its_quantiles():
    np.testing.assert_allclose(scaled([-2.0, 0.5, 3.0]), [0, 50, 100])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=2, unique=True).map(sorted))
def test_the_scale_keeps_order_and_is_bounded(pair):
    smaller, larger = scaled(pair)
    assert -100 * SOFTNESS < smaller <= larger < 100 * (1 + SOFTNESS)
    assert smaller < larger or pair[1] - pair[0] < 1e-6


@settings(max_examples=50, deadline=None)
@given(st.floats(-50, 50))
def test_the_scale_has_a_gradient_everywhere_that_never_exceeds_the_linear_one(value):
    point = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(ObjectiveScale(-2.0, 3.0)(point), point)
    assert 0 < gradient <= 20 + 1e-9


@pytest.mark.parametrize("corner", [-2.0, 3.0])
def test_the_scale_is_smooth_at_its_quantiles(corner):
    point = torch.tensor(corner, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(ObjectiveScale(-2.0, 3.0)(point), point)
    assert gradient == pytest.approx(20)
    before, at, after = scaled([corner - 1e-6, corner, corner + 1e-6])
    assert (at - before) / 1e-6 == pytest.approx((after - at) / 1e-6, rel=1e-3)
