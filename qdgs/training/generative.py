"""Small generative models whose every weight may come from elsewhere: a mixture and autoencoders."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qdgs.errors import InputError

LOG_VARIANCES = (-12.0, 6.0)


class GenerativeModel(nn.Module, ABC):
    """A model of data with a loss for each datum, and samples through which gradients reach the weights.

    Both come of one call, so that `torch.func.functional_call` runs the model on weights of a hypernetwork.

    Attributes:
        noise_dim: Standard normal numbers that one row of `forward` takes.
        sample_dim: Standard normal numbers that one row of `sample` takes.
    """

    noise_dim: int
    sample_dim: int

    def forward(self, data: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each datum, and as many samples.

        Args:
            data: `(batch_size, …)`.
            noise: `(batch_size, noise_dim)`, standard normal; its last `sample_dim` columns make the samples.

        Returns:
            Losses `(batch_size,)`, and samples of the shape of the data.
        """
        own = self.noise_dim - self.sample_dim
        return self.losses(data, noise[:, :own]), self.sample(noise[:, own:])

    @abstractmethod
    def losses(self, data: Tensor, noise: Tensor) -> Tensor:
        """Negative log-likelihood `(batch_size,)`, or its bound, with noise `(…, noise_dim − sample_dim)`."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Samples `(batch_size, …)` of noise `(batch_size, sample_dim)`."""


class GaussianMixture1D(GenerativeModel):
    """A mixture of K normal distributions of numbers.

    Weights are a softmax of `logits`, deviations the exponentials of `log_deviations`.

    Samples are differentiable, the choice of component included: with F the distribution function and p the
    density at the sample x, dx/dθ = −(∂F/∂θ)/p.

    Args:
        components: K; the means start spread over [−1, 1].

    References:
        Figurnov, Mohamed and Mnih 2018, "Implicit Reparameterization Gradients", equation 8.
    """

    noise_dim = 2
    sample_dim = 2

    def __init__(self, components: int = 2) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.linspace(-1, 1, components))
        self.log_deviations = nn.Parameter(torch.zeros(components))

    def parameters_by_mean(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and variances, each `(K,)`, the component of the lowest mean first."""
        order = self.means.detach().argsort()
        weights, variances = self.logits.softmax(-1), (2 * self.log_deviations).exp()
        return weights.detach()[order], self.means.detach()[order], variances.detach()[order]

    def log_density(self, data: Tensor) -> Tensor:
        """The logarithm of the density, log p(x) `(n,)`, of data `(n,)`."""
        scaled = (data[:, None] - self.means) / self.log_deviations.exp()
        normal = -0.5 * scaled.square() - self.log_deviations - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(self.logits.log_softmax(-1) + normal, dim=-1)

    def distribution(self, data: Tensor) -> Tensor:
        """F(x) `(n,)` of data `(n,)`."""
        scaled = (data[:, None] - self.means) / self.log_deviations.exp()
        below: Tensor = self.logits.softmax(-1) * torch.special.ndtr(scaled)
        return below.sum(-1)

    def losses(self, data: Tensor, noise: Tensor) -> Tensor:
        """−log p(x)."""
        return -self.log_density(data)

    def sample(self, noise: Tensor) -> Tensor:
        """Samples `(n,)`: the first number chooses the component, the second the place in it."""
        ends = self.logits.detach().softmax(-1).cumsum(-1)[:-1]
        component = (torch.special.ndtr(noise[:, :1]) > ends).sum(-1)
        x = (self.means + self.log_deviations.exp() * noise[:, 1:]).detach()
        x = x.gather(1, component[:, None]).squeeze(1)
        moved = self.distribution(x)
        return x - (moved - moved.detach()) / self.log_density(x).detach().exp()


class VariationalAutoencoder(GenerativeModel):
    """Encoder and decoder with a standard normal prior: squared error plus β times the KL divergence.

    Args:
        encoder: Data → `(batch_size, 2 · latent_dim)`: means and log-variances.
        decoder: Latents `(batch_size, latent_dim)` → data.
        latent_dim: Length of a latent.
        beta: β; with a normal likelihood of variance v it is 2v, up to a constant factor of the whole.

    References:
        Kingma and Welling 2014, "Auto-Encoding Variational Bayes", appendix B.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, beta: float) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.noise_dim, self.sample_dim = 2 * latent_dim, latent_dim
        self.beta = beta

    def losses(self, data: Tensor, noise: Tensor) -> Tensor:
        """‖x − x̂‖² + β·KL(q(z|x)‖N(0, 1)), x̂ decoded from one z of the posterior."""
        mean, log_variance = self.encoder(data).chunk(2, dim=1)
        log_variance = log_variance.clamp(*LOG_VARIANCES)
        decoded = self.decoder(mean + noise * (0.5 * log_variance).exp())
        error = (decoded - data).square().flatten(1).sum(1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        losses: Tensor = error + self.beta * divergence
        return losses

    def sample(self, noise: Tensor) -> Tensor:
        """The decoder's means: samples carry no pixel noise."""
        samples: Tensor = self.decoder(noise)
        return samples


def dense_autoencoder(
    data_dim: int, *, latent_dim: int, hidden: Sequence[int], beta: float
) -> VariationalAutoencoder:
    """An autoencoder of data `(batch_size, data_dim)` in [0, 1]: linear layers with ReLU.

    Args:
        data_dim: Length of a datum.
        latent_dim: Length of a latent.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        beta: Weight of the KL divergence.
    """
    encoder = nn.Sequential(*dense_layers((data_dim, *hidden, 2 * latent_dim)))
    decoder = nn.Sequential(*dense_layers((latent_dim, *reversed(hidden), data_dim)), nn.Sigmoid())
    return VariationalAutoencoder(encoder, decoder, latent_dim, beta)


def image_autoencoder(
    image_size: int, *, latent_dim: int, channels: Sequence[int] = (16, 32, 32), beta: float
) -> VariationalAutoencoder:
    """An autoencoder of images `(batch_size, 3, s, s)` in [0, 1]: strided convolutions, one linear layer.

    Args:
        image_size: Height and width s, a multiple of 2 to the number of channels.
        latent_dim: Length of a latent.
        channels: After each convolution of the encoder; the decoder has them in reverse.
        beta: Weight of the KL divergence.

    Raises:
        InputError: The image's size is no such multiple.

    References:
        The layers of Chang et al. 2024, shapes experiment, whose decoder has them too.
    """
    factor = 2 ** len(channels)
    if image_size < factor or image_size % factor:
        raise InputError(f"image_size: expected a multiple of {factor}, got {image_size}")
    small = (channels[-1], image_size // factor, image_size // factor)
    down: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((3, *channels)):
        down += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    up: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((*reversed(channels), 3)):
        up += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(math.prod(small), 2 * latent_dim))
    decoder = nn.Sequential(
        nn.Linear(latent_dim, math.prod(small)), nn.Unflatten(1, small), *up, nn.Sigmoid()
    )
    return VariationalAutoencoder(encoder, decoder, latent_dim, beta)


def dense_layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers between the widths, with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]
