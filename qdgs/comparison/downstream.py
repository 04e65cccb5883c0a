"""The downstream task: a biased classifier tuned on a set of images, or repaired without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qdgs.compare_config import DownstreamConfig
from qdgs.comparison.data import TaskData
from qdgs.comparison.measures import Number, Numbers
from qdgs.datasets.labelled import LabelledImages
from qdgs.errors import InputError
from qdgs.fairness.classification import classification_metrics
from qdgs.fairness.intervals import Array, percentile_interval
from qdgs.guides.base import SearchGuide
from qdgs.randomness import Stream, integer_seed
from qdgs.samplers.base import Problem
from qdgs.samplers.costs import Cost
from qdgs.training.augmentation import flip_randomly, rotate_hues, rotate_randomly, without_color
from qdgs.training.classifier import ShapeClassifier, responding_share
from qdgs.training.deployed import load_classifier, save_classifier
from qdgs.training.group_weights import GroupDRO, Reweighting
from qdgs.training.loop import Augmentation, Epoch, Weigh, predict, train_classifier
from qdgs.training.pixels import to_pixels, to_unit, unit_batches

WEIGHTS, BIASED, TUNING = range(3)
RESPONDING, STARTS = 0.25, 5
"""Share of a biased classifier's hidden units that are to respond to some test image, and how many initial
weights are tried for it, and orders of the images where a tuned one is dead."""

Logits = tuple[Array, Array]
"""On the test images of the last epochs `(last, n)`, and on the usual ones of the last `(1, m)`."""


@dataclass(frozen=True, eq=False)
class Task:
    """One seed's classifier, and what it is tested on.

    Args:
        problem: Its label has two values; every other attribute is protected.
        data: Images.
        config: Sizes.
        seed: Of the comparison.
        biased: Where the biased classifier is kept.
        drawn: Whether the images are drawn shapes, which may be turned by any angle; others are mirrored.
        resamples: Of the bootstraps.
    """

    problem: Problem
    data: TaskData
    config: DownstreamConfig
    seed: int
    biased: Path
    drawn: bool
    resamples: int

    def __post_init__(self) -> None:
        values = self.problem.attributes[self.problem.label]
        if len(values) != 2:
            raise InputError(
                f"downstream: expected a label of two values, got {self.problem.label!r} with {len(values)}"
            )

    def prepare(self) -> None:
        """Train the biased classifier where it is not there yet."""
        self._biased()

    def tuned_on(self, images: Tensor, labels: np.ndarray, rng: np.random.Generator) -> Numbers:
        """Numbers of the biased classifier after it was tuned on a set.

        Args:
            images: `(n, 3, height, width)`, uint8.
            labels: 0 or 1, −1 where there is none: those images are left out.
            rng: Source of the resamples.

        Raises:
            InputError: No image has a label.
        """
        known = np.flatnonzero(labels >= 0)
        if not len(known):
            raise InputError("downstream: expected images with a label to train on, got none")
        kept, targets = images[torch.from_numpy(known)], torch.from_numpy(labels[known])
        return self.told(self._tuned(kept, targets), rng)

    def untuned(self, rng: np.random.Generator) -> Numbers:
        """Numbers of the biased classifier as it is."""
        return self.told(self._tested(self._biased()), rng)

    def arm(self, name: str, guide: Callable[[], SearchGuide], rng: np.random.Generator) -> Numbers | None:
        """Numbers of a classifier that needs no generated image; None where this task has no such arm."""
        training, turn = self.data.training, self._turn
        targets = torch.from_numpy(self.labels(training))
        groups = torch.from_numpy(self.problem.codes_of(training.values))
        if name == "drawn":
            ceiling = self.data.ceiling
            return None if ceiling is None else self.tuned_on(ceiling.images, self.labels(ceiling), rng)
        if name == "biased":
            return self.untuned(rng)
        if name == "zero-shot":
            return self.told(self._zero_shot(guide()), rng)
        if name in ("reweighting", "group-dro"):
            weigh: Weigh = Reweighting(groups) if name == "reweighting" else GroupDRO(groups)
            return self.told(self._tuned(training.images, targets, weigh=weigh), rng)
        if name == "color-jitter":
            return self.told(
                self._tuned(training.images, targets, augment=lambda x, g: rotate_hues(turn(x, g), g)), rng
            )
        grey = self._tuned(
            training.images, targets, augment=lambda x, g: without_color(turn(x, g), g), look=_grey
        )
        return self.told(grey, rng)

    def arm_cost(self, name: str) -> Cost:
        """What an arm needs beside the biased classifier and its tuning, which is nobody's cost.

        Balanced drawings are brought; reweighting and GroupDRO need the group of every training image.
        """
        training, scored = len(self.data.training), 2 * len(self.data.test)
        brought = {"drawn": self.problem.images, "reweighting": training, "group-dro": training}
        if name == "zero-shot":
            return Cost(guide_scores=scored, forwards=scored)
        return Cost(reference_images=brought.get(name, 0))

    def epochs_for(self, images: int) -> int:
        """Epochs of tuning on so many images: on fewer than asked for as many steps are taken."""
        return max(self.config.epochs, round(self.config.epochs * self.problem.images / images))

    def labels(self, images: LabelledImages) -> np.ndarray:
        """0 or 1 of each image."""
        second = self.problem.attributes[self.problem.label][1]
        labels: np.ndarray = (images.values[self.problem.label] == second).to_numpy(np.int64)
        return labels

    def told(self, logits: Logits, rng: np.random.Generator) -> Numbers:
        """Accuracies by group on the test images, and AP, DEO, BA and KL on the usual ones.

        The share of the last epochs that classify an image right is its accuracy; a group's is the mean over
        its images. The bootstrap resamples images within groups. AP and the others are of the last epoch.
        """
        test, usual = self.data.test, self.data.usual
        right = ((logits[0] > 0) == (self.labels(test) == 1)).mean(axis=0)
        numbers = self._accuracies(right, self.problem.codes_of(test.values), rng)
        others = [name for name in self.problem.attributes if name != self.problem.label]
        sensitive = usual.values[others].agg("/".join, axis=1).to_numpy()
        metrics = classification_metrics(
            self.labels(usual), logits[1][0], sensitive, rng, resamples=self.resamples
        )
        return numbers | {name: Number(value, len(usual)) for name, value in metrics.items()}

    def _accuracies(self, right: Array, codes: np.ndarray, rng: np.random.Generator) -> Numbers:
        found = np.unique(codes[codes >= 0])
        groups = [right[codes == code] for code in found]
        means = np.array([rows.mean() for rows in groups])
        drawn = np.array(
            [
                [rows[rng.integers(0, len(rows), len(rows))].mean() for rows in groups]
                for _ in range(self.resamples)
            ]
        )
        n = sum(map(len, groups))
        names = [f"accuracy of {self.problem.groups[code]}" for code in found]
        told = (percentile_interval(float(mean), values) for mean, values in zip(means, drawn.T, strict=True))
        by_group = zip(names, told, groups, strict=True)
        return {
            **{name: Number(accuracy, len(rows)) for name, accuracy, rows in by_group},
            "mean_accuracy": Number(percentile_interval(float(means.mean()), drawn.mean(axis=1)), n),
            "worst_group_accuracy": Number(percentile_interval(float(means.min()), drawn.min(axis=1)), n),
        }

    def _biased(self) -> ShapeClassifier:
        if not self.biased.exists():
            test = to_pixels(self.data.test.images, self.config.image_size).to(self._device)
            for start in range(STARTS):
                classifier = self._new_biased(start)
                if responding_share(classifier, test) >= RESPONDING:
                    break
            save_classifier(classifier.cpu(), self.biased)
        return load_classifier(self.biased, device=self._device)

    def _new_biased(self, start: int) -> ShapeClassifier:
        classifier = ShapeClassifier(self.config.image_size, generator=self._numbers(WEIGHTS + 10 * start))
        train_classifier(
            classifier.to(self._device),
            to_pixels(self.data.training.images, self.config.image_size).to(self._device),
            torch.from_numpy(self.labels(self.data.training)),
            epochs=self.config.biased_epochs,
            generator=self._numbers(BIASED),
            augment=self._turn,
            precision=self.config.precision,
        )
        return classifier

    def _tuned(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        augment: Augmentation | None = None,
        weigh: Weigh | None = None,
        look: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> Logits:
        """Tune the biased classifier; one that then answers every image alike is tuned in another order.

        Adam now and then kills all units of it, whatever it is tuned on, balanced drawings as well.
        """
        told: list[Array]
        for start in range(STARTS):
            classifier, told = self._biased(), []
            self._tune(classifier, told, images, targets, start, augment=augment, weigh=weigh, look=look)
            if np.ptp(told[-1]) > 0:
                break
        return np.concatenate(told), self._answers(classifier, self.data.usual, look)

    def _tune(
        self,
        classifier: ShapeClassifier,
        told: list[Array],
        images: Tensor,
        targets: Tensor,
        start: int,
        *,
        augment: Augmentation | None,
        weigh: Weigh | None,
        look: Callable[[Tensor], Tensor],
    ) -> None:
        """Tune in place, and add the logits on the test images of the last epochs."""
        epochs = self.epochs_for(len(images))

        def evaluate(epoch: Epoch) -> None:
            if epoch.number > epochs - self.config.last:
                told.append(self._answers(classifier, self.data.test, look))

        train_classifier(
            classifier,
            to_pixels(images, self.config.image_size).to(self._device),
            targets,
            epochs=epochs,
            batch_size=self.config.batch_size,
            generator=self._numbers(TUNING + 10 * start),
            schedule="cosine",
            augment=augment or self._turn,
            precision=self.config.precision,
            weigh=weigh,
            on_epoch=evaluate,
        )

    def _tested(self, classifier: ShapeClassifier) -> Logits:
        test, usual = (self._answers(classifier, images) for images in (self.data.test, self.data.usual))
        return test, usual

    def _answers(
        self,
        classifier: ShapeClassifier,
        images: LabelledImages,
        look: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> Array:
        pixels = look(to_pixels(images.images, self.config.image_size)).to(self._device)
        logits: Array = predict(classifier, pixels).double().numpy()[None]
        return logits

    def _zero_shot(self, guide: SearchGuide) -> Logits:
        groups = self.problem.run.dataset.groups if self.problem.run else {}
        measure = next(name for name, group in groups.items() if group.audit == self.problem.label)
        column = guide.measure_names.index(measure)

        def scores(images: Tensor) -> Array:
            with torch.no_grad():
                batches = (part.to(self._device) for part in unit_batches(images))
                told = [guide.score(part).measures[:, column].cpu() for part in batches]
            values: Array = torch.cat(told).double().numpy()[None]
            return values

        return scores(self.data.test.images), scores(self.data.usual.images)

    @property
    def _device(self) -> str:
        return self.problem.device

    @property
    def _turn(self) -> Augmentation:
        return rotate_randomly if self.drawn else flip_randomly

    def _numbers(self, index: int) -> torch.Generator:
        return torch.Generator().manual_seed(integer_seed(self.seed, Stream.COMPARISON, 100 + index))


def _grey(images: Tensor) -> Tensor:
    return to_pixels(to_unit(images).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1))
