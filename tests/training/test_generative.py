import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq

from qdgs.errors import InputError
from qdgs.training.generative import GaussianMixture1D, dense_autoencoder, image_autoencoder
from qdgs.training.initial import seeded

WEIGHTS, MEANS, DEVIATIONS = (0.7, 0.3), (-1.0, 2.0), (0.5, 1.5)


def mixture(weights=WEIGHTS, means=MEANS, deviations=DEVIATIONS):
    model = GaussianMixture1D(len(weights)).double()
    with torch.no_grad():
        model.logits.copy_(torch.tensor(weights).log())
        model.means.copy_(torch.tensor(means))
        model.log_deviations.copy_(torch.tensor(deviations).log())
    return model


def quantile(u, weights=WEIGHTS, means=MEANS, deviations=DEVIATIONS):
    """The inverse of the distribution function, by bisection."""

    def excess(x):
        return np.dot(weights, stats.norm.cdf(x, means, deviations)) - u

    return brentq(excess, -40, 40, xtol=1e-13)


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_density_and_distribution_of_a_mixture_are_scipys():
    x = np.linspace(-4, 7, 30)
    density = sum(w * stats.norm.pdf(x, m, s) for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True))
    below = sum(w * stats.norm.cdf(x, m, s) for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True))
    model = mixture()
    np.testing.assert_allclose(model.log_density(torch.tensor(x)).detach(), np.log(density), rtol=1e-6)
    np.testing.assert_allclose(model.distribution(torch.tensor(x)).detach(), below, rtol=1e-6)
    assert torch.equal(model.losses(torch.tensor(x), torch.empty(30, 0)), -model.log_density(torch.tensor(x)))


def test_samples_of_a_mixture_have_its_distribution():
    model = mixture()
    samples = model.sample(torch.randn(4000, 2, generator=numbers(), dtype=torch.float64)).detach()
    below = model.distribution(samples).detach().numpy()
    assert stats.kstest(below, "uniform").pvalue > 0.01


@pytest.mark.parametrize("parameter", ["logits", "means", "log_deviations"])
def test_gradients_of_samples_are_those_of_the_inverse_distribution(parameter):
    model = mixture()
    noise = torch.tensor([[0.3, -0.7], [1.2, 0.4]], dtype=torch.float64)
    step = 1e-5
    for row in noise:
        sample = model.sample(row[None])
        u = model.distribution(sample).item()
        (slopes,) = torch.autograd.grad(sample.sum(), getattr(model, parameter))
        for component in range(2):
            ends = []
            for sign in (1, -1):
                moved = mixture()
                with torch.no_grad():
                    getattr(moved, parameter)[component] += sign * step
                values = [
                    moved.logits.softmax(0).tolist(),
                    moved.means.tolist(),
                    moved.log_deviations.exp().tolist(),
                ]
                ends.append(quantile(u, *values))
            assert slopes[component].item() == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-9
            )


def test_components_are_told_in_the_order_of_their_means():
    weights, means, variances = mixture((0.7, 0.3), (2.0, -1.0), (0.5, 1.5)).parameters_by_mean()
    assert weights.tolist() == pytest.approx([0.3, 0.7])
    assert means.tolist() == [-1.0, 2.0]
    assert variances.tolist() == pytest.approx([2.25, 0.25])


def test_the_loss_of_an_autoencoder_is_its_closed_form():
    model = seeded(lambda: dense_autoencoder(5, latent_dim=2, hidden=(7,), beta=0.3), numbers())
    data = torch.rand(6, 5, generator=numbers(1))
    mean, log_variance = model.encoder(data).chunk(2, dim=1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(1)
    error = ((model.decoder(mean) - data) ** 2).sum(1)
    torch.testing.assert_close(model.losses(data, torch.zeros(6, 2)), error + 0.3 * divergence)


def test_one_call_gives_losses_and_samples():
    model = seeded(lambda: image_autoencoder(16, latent_dim=3, channels=(4, 8), beta=1.0), numbers())
    data, noise = torch.rand(5, 3, 16, 16), torch.randn(5, 6, generator=numbers())
    losses, samples = model(data, noise)
    assert torch.equal(losses, model.losses(data, noise[:, :3]))
    assert torch.equal(samples, model.decoder(noise[:, 3:]))
    assert samples.shape == data.shape


def test_an_image_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(InputError, match="image_size: expected a multiple of 8, got 20"):
        image_autoencoder(20, latent_dim=2, beta=1.0)


def test_initial_weights_follow_their_generator_and_leave_the_global_state_alone():
    state = torch.get_rng_state()
    first, same, other = (seeded(lambda: torch.nn.Linear(3, 3), numbers(seed)).weight for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
