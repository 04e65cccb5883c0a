"""What the autophagy loop is run on: a mixture of numbers, real digits of 8×8 pixels, coloured shapes.

Each task has a majority and a minority class, a reader who tells them apart in samples, and a distance of a
model from the data that everything began with.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor

import qdgs
from qdgs.datasets.drawing import COLORS, SHAPES, biased_shapes
from qdgs.fairness.diversity import thumbnails
from qdgs.training.generative import (
    GaussianMixture1D,
    GenerativeModel,
    dense_autoencoder,
    image_autoencoder,
)
from qdgs.training.hypernetwork import Fitting, SetHypernetwork

UNREADABLE, MAJORITY, MINORITY = -1, 0, 1
WEIGHTS, MEANS, VARIANCES = (0.8, 0.2), (0.0, 2.0), (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Task(ABC):
    """Data with a minority, and the model that is fitted to them.

    Attributes:
        data: `(n, …)`.
        codes: `(n,)`, MAJORITY or MINORITY.
        fitting: Steps and rates, without penalty.
        hidden: Widths of the hypernetwork's layers.
        samples: Drawn of a model to measure it.
        direct_rate: Learning rate of a model that is fitted by itself; None takes that of `fitting`.
    """

    data: Tensor
    codes: np.ndarray
    fitting: Fitting
    hidden: tuple[int, ...]
    samples: int = 5000
    direct_rate: float | None = None

    @abstractmethod
    def new_model(self) -> GenerativeModel:
        """An untrained model."""

    @abstractmethod
    def read(self, data: Tensor) -> np.ndarray:
        """The class of each datum `(n,)`, or UNREADABLE."""

    @abstractmethod
    def distance(self, model: GenerativeModel, samples: Tensor) -> float:
        """How far a model is from the task's data, 0 being the data themselves."""

    def pictures(self, data: Tensor) -> np.ndarray | None:
        """Data as images `(n, height, width, 3)` in [0, 1], where they are some."""
        return None

    def new_hypernetwork(self, model: GenerativeModel) -> SetHypernetwork:
        """An untrained hypernetwork for a model."""
        return SetHypernetwork(model, self.data[0].numel(), hidden=self.hidden)

    def minority_share(self, data: Tensor) -> tuple[float, float]:
        """Share of the minority among the data that can be read, and the share of those."""
        codes = self.read(data)
        readable = codes != UNREADABLE
        share = float((codes[readable] == MINORITY).mean()) if readable.any() else float("nan")
        return share, float(readable.mean())


class Mixture(Task):
    """Numbers of two overlapping normal distributions; the minority is the component of the higher mean."""

    def new_model(self) -> GaussianMixture1D:
        """Two components."""
        return GaussianMixture1D(2)

    def read(self, data: Tensor) -> np.ndarray:
        """The likelier component of the true mixture: where the two overlap many are misread, here as there.

        A model's own weight of a component would not do: very different weights fit almost as well.
        """
        return np.where(data.numpy() > np.log(WEIGHTS[0] / WEIGHTS[1]) / 2 + 1, MINORITY, MAJORITY)

    def distance(self, model: GenerativeModel, samples: Tensor) -> float:
        """KL(truth‖model) in nats, by the trapezoid rule."""
        assert isinstance(model, GaussianMixture1D)
        x = torch.linspace(-10, 12, 4001)
        with torch.no_grad():
            true, found = true_mixture().log_density(x), model.log_density(x)
        return float(torch.trapezoid(true.exp() * (true - found), x))


class Digits(Task):
    """Real handwritten digits of 8×8 pixels, threes against few sixes; read by a classifier of all ten."""

    def new_model(self) -> GenerativeModel:
        """A small autoencoder."""
        return dense_autoencoder(64, latent_dim=8, hidden=(64,), beta=0.1)

    def read(self, data: Tensor) -> np.ndarray:
        """Three, six, or neither."""
        digits = _digit_reader().predict(data.numpy())
        return np.select([digits == 3, digits == 6], [MAJORITY, MINORITY], UNREADABLE)

    def pictures(self, data: Tensor) -> np.ndarray | None:
        """Black on white."""
        ink = data.reshape(-1, 8, 8, 1).clamp(0, 1).expand(-1, -1, -1, 3)
        return (1 - ink).numpy()

    def distance(self, model: GenerativeModel, samples: Tensor) -> float:
        """Fréchet distance of pixels."""
        return frechet(samples.numpy(), self.data.numpy())


class Shapes(Task):
    """Coloured shapes of 64 pixels as ink (1 − image); the minority are red squares and blue triangles."""

    def new_model(self) -> GenerativeModel:
        """A convolutional autoencoder."""
        return image_autoencoder(64, latent_dim=8, beta=1.5)

    def read(self, data: Tensor) -> np.ndarray:
        """As the auditor reads shape and colour."""
        judge = qdgs.load_judge("shape-cnn")
        read = qdgs.judge_batches(judge, (1 - part for part in torch.split(data, 250)))
        color, shape = (read[name].map(values.index, na_action="ignore") for name, values in _SHAPES.items())
        codes = np.where(color == shape, MAJORITY, MINORITY)
        return np.where(color.isna() | shape.isna(), UNREADABLE, codes)

    def pictures(self, data: Tensor) -> np.ndarray | None:
        """In their colours."""
        return (1 - data).clamp(0, 1).permute(0, 2, 3, 1).numpy()

    def distance(self, model: GenerativeModel, samples: Tensor) -> float:
        """Fréchet distance of pixels at 8×8."""
        return frechet(thumbnails(samples, 8), thumbnails(self.data, 8))


_SHAPES = {"color": COLORS, "shape": SHAPES}


def mixture(seed: int, points: int = 30_000) -> Mixture:
    """Weights 0.8 and 0.2, means 0 and 2, variances 1: the published mixture."""
    rng = qdgs.stream(seed, qdgs.Stream.DRAWING)
    codes = (rng.random(points) < WEIGHTS[1]).astype(int)
    data = rng.normal(np.array(MEANS)[codes], np.sqrt(np.array(VARIANCES)[codes]))
    fitting = Fitting(steps=3000, batch_size=1024, learning_rate=5e-3)
    return Mixture(torch.tensor(data, dtype=torch.float32), codes, fitting, (8, 8, 8))


def digits(seed: int, minority: float = 0.2) -> Digits:
    """All threes of scikit-learn's digits, and so many sixes that they are this share."""
    pixels, target = load_digits(return_X_y=True)
    rng = qdgs.stream(seed, qdgs.Stream.DRAWING)
    threes, sixes = np.flatnonzero(target == 3), rng.permutation(np.flatnonzero(target == 6))
    kept = round(len(threes) * minority / (1 - minority))
    rows = rng.permutation(np.concatenate([threes, sixes[:kept]]))
    data = torch.tensor(pixels[rows] / 16, dtype=torch.float32)
    fitting = Fitting(steps=1500, batch_size=128, learning_rate=2e-3)
    return Digits(data, (target[rows] == 6).astype(int), fitting, (32, 64, 96), samples=2000)


def shapes(seed: int, n: int = 2000, bias: float = 0.9) -> Shapes:
    """Drawings of which this share of triangles is red and of squares blue."""
    rng = qdgs.stream(seed, qdgs.Stream.DRAWING)
    images, shape, color = biased_shapes(n, bias, rng, image_size=64)
    codes = np.where(shape == color, MAJORITY, MINORITY)
    # at the rate that is right for the autoencoder by itself a hypernetwork's model goes blank
    fitting = Fitting(steps=3000, batch_size=32, learning_rate=2e-4)
    return Shapes(1 - images, codes, fitting, (32, 64, 96), samples=1000, direct_rate=1e-3)


PUBLISHED = {"mixture": 0.1, "digits": 1.0, "shapes": 1.0}
"""The λ that the paper uses for a mixture and for an autoencoder."""

TASKS: dict[str, Callable[[int], Task]] = {"mixture": mixture, "digits": digits, "shapes": shapes}


def shortened(task: Task, steps: int) -> Task:
    """The same task with fewer steps, to see that everything works."""
    return replace(task, fitting=replace(task.fitting, steps=steps), samples=200)


def true_mixture() -> GaussianMixture1D:
    """The distribution that the numbers are drawn from."""
    model = GaussianMixture1D(2)
    with torch.no_grad():
        model.logits.copy_(torch.tensor(WEIGHTS).log())
        model.means.copy_(torch.tensor(MEANS))
        model.log_deviations.copy_(torch.tensor(VARIANCES).sqrt().log())
    return model


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) of two sets of features `(n, dim)`."""
    means = first.mean(0) - second.mean(0)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = _square_root(covariances[0])
    cross = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)
    return float(means @ means + np.trace(covariances[0] + covariances[1]) - 2 * np.sqrt(cross).sum())


def _square_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


_READERS: dict[str, SVC] = {}


def _digit_reader() -> SVC:
    if not _READERS:
        pixels, target = load_digits(return_X_y=True)
        _READERS["digits"] = SVC(gamma="scale", C=10).fit(pixels / 16, target)
    return _READERS["digits"]
