import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qdgs.errors import InputError
from qdgs.training.generative import GaussianMixture1D, dense_autoencoder
from qdgs.training.hypernetwork import (
    Fitting,
    SetHypernetwork,
    adopt,
    fit_directly,
    fit_hypernetwork,
    penalised_loss,
    weight_discrepancy,
)
from qdgs.training.initial import seeded


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(seed=0):
    return seeded(lambda: GaussianMixture1D(1), numbers(seed))


def hypernetwork(target, datum_dim=1, **widths):
    return seeded(lambda: SetHypernetwork(target, datum_dim, **{"hidden": (8, 8), **widths}), numbers())


def test_weights_have_the_targets_names_and_shapes_and_start_near_its_values():
    target = dense_autoencoder(4, latent_dim=2, hidden=(5,), beta=1.0)
    weights = hypernetwork(target, 4)(torch.zeros(3, 4))
    own = dict(target.named_parameters())
    assert list(weights) == list(own)
    for name, value in weights.items():
        assert value.shape == own[name].shape
        assert (value - own[name]).abs().max() < 0.2


@given(order=st.permutations(range(7)))
@settings(max_examples=10, deadline=None)
def test_weights_do_not_depend_on_the_order_of_the_data(order):
    target = normal()
    network = hypernetwork(target).double()
    data = torch.randn(7, generator=numbers(1), dtype=torch.float64)
    weights, again = network(data), network(data[order])
    for name in weights:
        torch.testing.assert_close(weights[name], again[name], rtol=1e-12, atol=1e-12)


def test_weights_are_read_out_of_the_mean_of_the_features():
    target = normal()
    network = hypernetwork(target, hidden_after=(6,))
    data = torch.randn(5, generator=numbers(1))
    features = torch.stack([network.each(datum.view(1, 1)) for datum in data]).mean(0).squeeze(0)
    known = network.together(features)
    for name, readout in zip(network.names, network.readouts, strict=True):
        torch.testing.assert_close(network(data)[name], readout(known).view(1))


def test_a_set_of_any_size_is_read_in_parts():
    network = hypernetwork(normal())
    data = torch.randn(2500, generator=numbers(1))
    whole, parts = network(data), network.weights_of(data)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name].detach())
        assert not parts[name].requires_grad


def test_the_discrepancy_is_the_mean_square_over_all_weights():
    first = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[0.0]])}
    second = {"b": torch.tensor([[3.0]]), "a": torch.tensor([1.0, 4.0])}
    assert weight_discrepancy(first, second).item() == pytest.approx((0 + 4 + 9) / 3)


def test_the_loss_is_the_likelihood_under_the_weights_of_the_data_plus_the_penalty():
    target = normal()
    network = hypernetwork(target)
    data, noise = torch.randn(50, generator=numbers(1)), torch.randn(50, 2, generator=numbers(2))
    weights = network(data)
    mean, log_deviation = weights["means"], weights["log_deviations"]
    likelihood = torch.distributions.Normal(mean, log_deviation.exp()).log_prob(data)
    samples = mean + log_deviation.exp() * noise[:, 1]
    expected = -likelihood.mean() + 0.7 * weight_discrepancy(weights, network(samples))
    torch.testing.assert_close(penalised_loss(network, target, data, noise, 0.7), expected)


def test_gradients_run_through_the_samples_and_both_sets_of_weights():
    target = normal().double()
    network = hypernetwork(target, hidden=(4,)).double()
    data, noise = (
        torch.randn(20, generator=numbers(1)).double(),
        torch.randn(20, 2, generator=numbers(2)).double(),
    )
    names = [name for name, _ in network.named_parameters()]

    def loss(*values):
        def call(penalised, *rest):
            return penalised_loss(penalised, *rest)

        class Holder(nn.Module):
            def __init__(self):
                super().__init__()
                self.network = network

            def forward(self):
                return call(self.network, target, data, noise, 2.0)

        named = {f"network.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Holder(), named, ())

    values = tuple(parameter.detach().requires_grad_() for parameter in network.parameters())
    assert torch.autograd.gradcheck(loss, values)


def test_plain_likelihood_finds_mean_and_variance_of_the_data():
    data = 3 + 2 * torch.randn(400, generator=numbers(1))
    model = normal()
    fit_directly(model, data, Fitting(steps=600, batch_size=400, learning_rate=0.05), numbers())
    _, mean, variance = model.parameters_by_mean()
    # batches are drawn with replacement
    assert mean.item() == pytest.approx(data.mean().item(), abs=0.1)
    assert variance.item() == pytest.approx(data.var(unbiased=False).item(), rel=0.1)


def test_emphasis_moves_the_fit_to_the_emphasised_data():
    data = torch.tensor([0.0, 0.0, 0.0, 4.0])
    emphasis = torch.tensor([2 / 3, 2 / 3, 2 / 3, 2.0])
    model = normal()
    fitting = Fitting(steps=800, batch_size=4, learning_rate=0.05)
    fit_directly(model, data, fitting, numbers(), emphasis=emphasis)
    assert model.means.item() == pytest.approx(2.0, abs=0.35)


def test_a_trained_hypernetwork_gives_another_set_its_own_weights():
    random = numbers(1)
    data = torch.randn(600, generator=random)
    model = normal()
    network = hypernetwork(model, hidden=(16, 16))
    fit_hypernetwork(network, model, data, Fitting(400, 8, 5e-3, penalty=0.1), random)
    weights = network.weights_of(data)
    assert model.means.item() == pytest.approx(weights["means"].item())
    assert model.means.item() == pytest.approx(0, abs=0.15)
    half = network.weights_of(data[data > 0])
    assert half["means"].item() > 0.25


def test_the_same_seed_gives_the_same_weights():
    fits = []
    for _ in range(2):
        model = normal()
        network = hypernetwork(model)
        fit_hypernetwork(network, model, torch.arange(9.0), Fitting(5, 4, 1e-2, 1.0), numbers())
        fits.append(model.means.detach().clone())
    assert torch.equal(*fits)


def test_adopted_weights_are_copies():
    model = normal()
    weights = {name: value.detach() + 1 for name, value in model.named_parameters()}
    adopt(model, weights)
    weights["means"] += 1
    assert model.means.item() == pytest.approx(weights["means"].item() - 1)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"penalty": -1.0}, {"penalty": np.nan}])
def test_senseless_fitting_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Fitting(**{"steps": 1, "batch_size": 1, **wrong})


def test_nothing_cannot_be_fitted():
    with pytest.raises(InputError, match="expected at least one datum"):
        fit_directly(normal(), torch.empty(0), Fitting(1, 1), numbers())
