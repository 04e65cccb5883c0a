"""Generative models whose weights a network reads off the data, and the penalty on feeding on oneself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qdgs.errors import InputError
from qdgs.training.generative import GenerativeModel, dense_layers
from qdgs.training.loop import scheduled_rate

READOUT_SCALE = 0.1
PART = 1024

Weights = dict[str, Tensor]


class SetHypernetwork(nn.Module):
    """A set of data → the weights of a model: H(X) = readout(h2(meanᵢ h1(xᵢ))).

    h1 sees each datum by itself and the mean forgets their order. Each readout, one a parameter tensor of
    the target, starts close to the target's own initial weights, and depends on the data a little (our
    choice: an ordinary linear layer would start from weights of one size in every layer of the target).

    Args:
        target: The model whose parameters H makes; only their names, shapes and values are read.
        datum_dim: Numbers in one datum.
        hidden: Widths of h1's layers, each with ReLU.
        hidden_after: Widths of h2's layers; none leaves h2 out.

    References:
        Mayer et al. 2024, arXiv 2405.13977, "Improving Fairness and Mitigating MADness in Generative Models".
    """

    def __init__(
        self,
        target: nn.Module,
        datum_dim: int,
        *,
        hidden: Sequence[int],
        hidden_after: Sequence[int] = (),
    ) -> None:
        super().__init__()
        parameters = dict(target.named_parameters())
        self.names = tuple(parameters)
        self.shapes = tuple(parameter.shape for parameter in parameters.values())
        self.each = nn.Sequential(*dense_layers((datum_dim, *hidden)), nn.ReLU())
        after = dense_layers((hidden[-1], *hidden_after))
        self.together = nn.Sequential(*after, nn.ReLU()) if after else nn.Identity()
        width = (*hidden, *hidden_after)[-1]
        self.readouts = nn.ModuleList(_readout(width, parameter) for parameter in parameters.values())

    def forward(self, data: Tensor) -> Weights:
        """Weights by the names of the target's parameters, for data `(batch_size, …)`."""
        return self.read_out(self.features(data))

    def features(self, data: Tensor) -> Tensor:
        """meanᵢ h1(xᵢ) `(width,)`."""
        features: Tensor = self.each(data.reshape(len(data), -1)).mean(0)
        return features

    def read_out(self, features: Tensor) -> Weights:
        """The weights of a set whose mean features are these."""
        known = self.together(features)
        values = (
            readout(known).view(shape) for readout, shape in zip(self.readouts, self.shapes, strict=True)
        )
        return dict(zip(self.names, values, strict=True))

    def weights_of(self, data: Tensor) -> Weights:
        """H of a set of any size, without gradients, in parts."""
        with torch.no_grad():
            parts = torch.split(data, PART)
            features = torch.stack([self.features(part) * (len(part) / len(data)) for part in parts])
            return self.read_out(features.sum(0))


@dataclass(frozen=True)
class Fitting:
    """How a model is fitted.

    Attributes:
        steps: Batches.
        batch_size: Data a step, drawn with replacement; never more than there are.
        learning_rate: Adam's at first; it falls along a cosine.
        penalty: λ of the weight discrepancy; hypernetworks only.
        smallest_batch: Where given, the size of each batch is drawn between it and `batch_size`, uniform in
            its logarithm. Batches of one size all hold the same mixture, and from them a hypernetwork learns
            little else than to ignore its data; single data are sets of one class without any label. Our
            choice; without it batches are as published.
    """

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    penalty: float = 0.0
    smallest_batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not self.penalty >= 0:
            raise InputError(f"penalty: expected at least 0, got {self.penalty}")
        if self.smallest_batch is not None and not 1 <= self.smallest_batch <= self.batch_size:
            raise InputError(
                f"smallest_batch: expected 1 to {self.batch_size} (batch_size), got {self.smallest_batch}"
            )

    def size(self, n: int, generator: torch.Generator) -> int:
        """Data of the next batch, of n that there are."""
        largest = min(self.batch_size, n)
        if self.smallest_batch is None or self.smallest_batch >= largest:
            return largest
        share = float(torch.rand((), generator=generator))
        return round(self.smallest_batch * math.exp(share * math.log(largest / self.smallest_batch)))


def weight_discrepancy(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Tensor:
    """Disc = mean over all weights of their squared differences (our choice; the published one is not known).

    Args:
        weights: Name → tensor.
        others: The same names and shapes.
    """
    count = sum(value.numel() for value in weights.values())
    squares = [(value - others[name]).square().sum() for name, value in weights.items()]
    return torch.stack(squares).sum() / count


def penalised_loss(
    hypernetwork: SetHypernetwork, model: GenerativeModel, data: Tensor, noise: Tensor, penalty: float
) -> Tensor:
    """NLL(X; H(X)) + λ·Disc(H(X), H(X̃)), X̃ as many samples of the model with weights H(X).

    Gradients run through the samples, and through both sets of weights.

    Args:
        hypernetwork: H.
        model: The model, whose own weights play no part.
        data: X `(batch_size, …)`.
        noise: `(batch_size, model.noise_dim)`, standard normal.
        penalty: λ.

    References:
        Mayer et al. 2024, arXiv 2405.13977.
    """
    weights = hypernetwork(data)
    losses, samples = functional_call(model, weights, (data, noise))
    loss: Tensor = losses.mean()
    if penalty == 0:
        return loss
    return loss + penalty * weight_discrepancy(weights, hypernetwork(samples))


def fit_hypernetwork(
    hypernetwork: SetHypernetwork,
    model: GenerativeModel,
    data: Tensor,
    fitting: Fitting,
    generator: torch.Generator,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train a hypernetwork in place, then give the model the weights that it reads off all of the data.

    Args:
        hypernetwork: H.
        model: What H makes weights for; gets H(data).
        data: `(n, …)`, where the networks are.
        fitting: Steps, rates and λ.
        generator: Draws batches and noise, on the CPU.
        on_step: Called with the step, counted from 1, and its loss.
    """

    def loss_of(rows: Tensor, noise: Tensor) -> Tensor:
        return penalised_loss(hypernetwork, model, data[rows], noise, fitting.penalty)

    _descend(hypernetwork, loss_of, data, model.noise_dim, fitting, generator, on_step)
    adopt(model, hypernetwork.weights_of(data))


def fit_directly(
    model: GenerativeModel,
    data: Tensor,
    fitting: Fitting,
    generator: torch.Generator,
    *,
    emphasis: Tensor | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train a model in place by plain likelihood, where wanted with a weight a datum.

    Args:
        model: What is trained.
        data: `(n, …)`, where the model is.
        fitting: Steps and rates.
        generator: Draws batches and noise, on the CPU.
        emphasis: `(n,)` factor of each datum's loss, of mean 1, for instance one over its class's share.
        on_step: Called with the step, counted from 1, and its loss.
    """
    factors = (torch.ones(len(data)) if emphasis is None else emphasis).to(data.device)

    def loss_of(rows: Tensor, noise: Tensor) -> Tensor:
        losses: Tensor = model(data[rows], noise)[0]
        return (factors[rows] * losses).mean()

    _descend(model, loss_of, data, model.noise_dim, fitting, generator, on_step)


def adopt(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the parameters of their names."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def _descend(
    trained: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    noise_dim: int,
    fitting: Fitting,
    generator: torch.Generator,
    on_step: Callable[[int, float], None] | None,
) -> None:
    n = len(data)
    if n == 0:
        raise InputError("data: expected at least one datum to fit, got none")
    # on a CPU too, fused steps take half of the time of a large hypernetwork's
    optimizer = torch.optim.Adam(trained.parameters(), lr=fitting.learning_rate, fused=True)
    for step in range(fitting.steps):
        rate = scheduled_rate(fitting.learning_rate, "cosine", step, fitting.steps)
        optimizer.param_groups[0]["lr"] = rate
        size = fitting.size(n, generator)
        rows = torch.randint(n, (size,), generator=generator)
        noise = torch.randn(size, noise_dim, generator=generator)
        loss = loss_of(rows.to(data.device), noise.to(data.device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step is not None:
            on_step(step + 1, loss.item())


def _readout(width: int, parameter: nn.Parameter) -> nn.Linear:
    readout = nn.Linear(width, parameter.numel())
    with torch.no_grad():
        readout.weight.mul_(READOUT_SCALE)
        readout.bias.copy_(parameter.flatten())
    return readout
