"""The protocol of the classifier study: sizes, training sets drawn by hand, one training, one score.

Chang et al. 2024, shapes experiment, with four differences: images of 64 pixels instead of 128 (an epoch of
1,000 images costs 1.5 s of one core instead of 6.3), the network's arithmetic in bfloat16 where the
processor has instructions for it (half of that), a cosine learning rate in tuning, and rotation with white
corners, as the test images have them, instead of black ones. And a biased classifier most of whose units died
in training (Adam at 1e-3 on images that are mostly white does that now and then) is trained again from other
initial weights, before any tuning: such a one is beyond repair even by balanced drawings, so it tells nothing
of the images that it is tuned on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qdgs.datasets.drawing import COLORS, SHAPES, biased_shapes
from qdgs.errors import CorruptFileError
from qdgs.fairness.classification import GroupAccuracy, group_accuracy
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.training.augmentation import rotate_randomly
from qdgs.training.classifier import ShapeClassifier
from qdgs.training.loop import Epoch, Precision, Schedule, predict, train_classifier
from qdgs.training.pixels import to_pixels

BIASES = (0.98, 0.95, 0.90, 0.85, 0.80)
ARMS = ("biased", "random", "random-gated", "qdgs", "drawn")
GROUPS = tuple(f"{color}_{shape}" for shape in SHAPES for color in COLORS)
BALANCED = 0.5

# indices of a seed's streams
BIASED, TEST, DRAWN, TUNING, WEIGHTS = range(5)


@dataclass(frozen=True)
class Settings:
    """Sizes of the study.

    Attributes:
        image_size: Pixels that the classifier sees.
        biased_images: Drawn training images of the biased classifier.
        biased_epochs: Its epochs.
        images: Training images of every other arm.
        epochs: Their epochs, from the biased classifier on.
        test_images: Drawn test images, the four groups equal.
        last: Epochs whose scores are averaged; single ones swing by three points.
        responding: Share of the hidden units of a biased classifier that at least one test image must
            activate; with fewer it is trained again from other initial weights.
        starts: How often at most.
        precision: Of the network's arithmetic while it trains.
    """

    image_size: int = 64
    biased_images: int = 1000
    biased_epochs: int = 20
    images: int = 4000
    epochs: int = 30
    test_images: int = 5000
    last: int = 5
    responding: float = 0.25
    starts: int = 5
    precision: Precision = "auto"


FULL = Settings()
QUICK = Settings(
    image_size=32, biased_images=64, biased_epochs=2, images=64, epochs=2, test_images=80, last=2
)


@dataclass(frozen=True)
class Cell:
    """One training of the study."""

    bias: float
    seed: int
    training: str

    @property
    def name(self) -> str:
        """Of its files: `0.98_0_qdgs`."""
        return f"{self.bias:.2f}_{self.seed}_{self.training}"


@dataclass(frozen=True)
class Pictures:
    """Labelled images in memory.

    Attributes:
        images: `(n, 3, s, s)`, uint8.
        labels: `(n,)`, 0 triangle, 1 square.
        colors: `(n,)`, 0 red, 1 blue; −1 where it is not known.
    """

    images: Tensor
    labels: Tensor
    colors: Tensor

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.stem}.part.npz")
        arrays = {name: getattr(self, name).numpy() for name in self.__dataclass_fields__}
        np.savez_compressed(unfinished, **arrays)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Pictures":
        """Read what `save` wrote."""
        try:
            with np.load(path) as arrays:
                return cls(*(torch.from_numpy(arrays[name]) for name in cls.__dataclass_fields__))
        except Exception as error:  # numpy and zipfile raise six kinds for a damaged file
            raise CorruptFileError(f"{path}: cannot be read ({error}); delete it and start again") from None


def drawn(n: int, bias: float, rng: np.random.Generator, image_size: int) -> Pictures:
    """Figures drawn at 128 pixels and scaled down, as generated images are."""
    parts: list[tuple[Tensor, np.ndarray, np.ndarray]] = []
    for size in [1000] * (n // 1000) + [n % 1000] * bool(n % 1000):  # 1,000 at 128 pixels are 200 MB
        images, shape, color = biased_shapes(size, bias, rng)
        parts.append((to_pixels(images, image_size), shape, color))
    images, shapes, colors = zip(*parts, strict=True)
    return Pictures(
        torch.cat(images), torch.from_numpy(np.concatenate(shapes)), torch.from_numpy(np.concatenate(colors))
    )


def biased_pictures(bias: float, seed: int, settings: Settings) -> Pictures:
    """The biased training images of a seed."""
    rng = stream(seed, Stream.DRAWING, BIASED)
    return drawn(settings.biased_images, bias, rng, settings.image_size)


def test_pictures(seed: int, settings: Settings) -> Pictures:
    """The test images of a seed, the same for every arm and bias."""
    return drawn(settings.test_images, BALANCED, stream(seed, Stream.DRAWING, TEST), settings.image_size)


def balanced_pictures(seed: int, settings: Settings) -> Pictures:
    """Balanced drawings: the ceiling."""
    return drawn(settings.images, BALANCED, stream(seed, Stream.DRAWING, DRAWN), settings.image_size)


def new_classifier(seed: int, settings: Settings, start: int = 0) -> ShapeClassifier:
    """The untrained classifier of a seed, with its first initial weights or later ones."""
    return ShapeClassifier(settings.image_size, generator=_torch_generator(seed, WEIGHTS + start))


def train_and_score(
    classifier: ShapeClassifier,
    pictures: Pictures,
    test: Pictures,
    *,
    seed: int,
    tuning: bool,
    settings: Settings,
    device: str,
) -> dict[str, float]:
    """Train in place, and score the last epochs on the test images.

    Returns:
        `accuracy`: mean of the four groups' accuracies; `worst_group`: the lowest of them; and one of each
        group. All are means over the last epochs, `worst_group` of each epoch's worst.
    """
    epochs = settings.epochs if tuning else settings.biased_epochs
    schedule: Schedule = "cosine" if tuning else "constant"
    on_device = test.images.to(device)
    scores: list[GroupAccuracy] = []

    def evaluate(epoch: Epoch) -> None:
        if epoch.number > epochs - settings.last:
            scores.append(score(predict(classifier, on_device), test))

    train_classifier(
        classifier.to(device),
        pictures.images.to(device),
        pictures.labels,
        epochs=epochs,
        generator=_torch_generator(seed, TUNING if tuning else BIASED),
        schedule=schedule,
        augment=rotate_randomly,
        precision=settings.precision,
        on_epoch=evaluate,
    )
    return _averaged(scores)


def score(logits: Tensor, test: Pictures) -> GroupAccuracy:
    """Accuracies by colour and shape."""
    groups = np.array(GROUPS)[(len(COLORS) * test.labels + test.colors).numpy()]
    return group_accuracy(((logits > 0) == test.labels.bool()).numpy(), groups)


def _averaged(scores: list[GroupAccuracy]) -> dict[str, float]:
    row = {
        "accuracy": float(np.mean([s.mean for s in scores])),
        "worst_group": float(np.mean([s.worst for s in scores])),
    }
    return row | {group: float(np.mean([s.by_group[group].value for s in scores])) for group in GROUPS}


def _torch_generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, index))
