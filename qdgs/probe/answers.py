"""What a model answers of images: probabilities of its answers, or that it failed, one row an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs.errors import ConfigError, InputError, QdgsError
from qdgs.fairness.intervals import Array
from qdgs.probe.models import Probed
from qdgs.probe_config import ProbedConfig
from qdgs.registry import nearest
from qdgs.targets import told_of

MISSED, FOUND = "missed", "found"
FLOOR = 1e-6
"""Least probability that a loss is taken of."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered of n images.

    Attributes:
        values: The answers it can give.
        probabilities: `(n, values)`; NaN where it failed.
        reasons: Why it failed `(n,)`, None where it did not.
    """

    values: tuple[str, ...]
    probabilities: Array
    reasons: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Where it raised, or gave what is no number, `(n,)`."""
        failed: NDArray[np.bool_] = np.array([reason is not None for reason in self.reasons], dtype=bool)
        return failed

    @property
    def given(self) -> NDArray[np.int64]:
        """Position of the answer `(n,)`, −1 where it failed."""
        best = np.where(self.failed[:, None], 0.0, self.probabilities).argmax(axis=1)
        return np.where(self.failed, -1, best).astype(np.int64)

    def of_truth(self, truth: NDArray[np.int64]) -> Array:
        """Probability `(n,)` of the right answer; NaN where it failed or there is none (−1)."""
        rows = self.probabilities[np.arange(len(self)), np.maximum(truth, 0)]
        return np.where(truth < 0, np.nan, rows)

    def loss(self, truth: NDArray[np.int64]) -> Array:
        """−log of the probability of the right answer `(n,)`, at most −log 1e-6."""
        losses: Array = -np.log(np.maximum(self.of_truth(truth), FLOOR))
        return losses

    @property
    def constant(self) -> bool:
        """Whether it answers the same, to four digits, of every image."""
        told = self.probabilities[~self.failed]
        return len(told) > 1 and bool((np.ptp(told, axis=0) < 1e-4).all())

    @property
    def only(self) -> str | None:
        """The answer that it gives of every image; None where it gives several, or of one image alone."""
        given = self.given[~self.failed]
        return self.values[given[0]] if len(given) > 1 and (given == given[0]).all() else None

    @property
    def failures(self) -> dict[str, int]:
        """Reason → images, the most frequent first."""
        told = pd.Series(self.reasons[self.failed], dtype=object).value_counts()
        return {str(reason): int(count) for reason, count in told.items()}

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """The answers of batches, one after the other."""
        return cls(
            parts[0].values,
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.reasons for part in parts]),
        )


class Reader:
    """Asks a model, and turns its outputs into answers.

    Args:
        model: The model.
        config: What its outputs mean.
        values: Values of the judged attribute that a classifier is to tell, in the judge's order.

    Attributes:
        values: The answers it can give.

    Raises:
        ConfigError: The model's values are not those of the attribute.
    """

    def __init__(self, model: Probed, config: ProbedConfig, values: Sequence[str] = ()) -> None:
        self.model = model
        self.config = config
        self.columns, self.values = _columns(config, model.values, tuple(values))

    def read(self, batches: Iterable[Tensor]) -> Answers:
        """Answers of batches of images `(batch_size, 3, height, width)` in [0, 1]."""
        parts = [
            self._read(part) for images in batches for part in torch.split(images, self.config.batch_size)
        ]
        if not parts:
            return Answers(self.values, np.zeros((0, len(self.values))), np.zeros(0, dtype=object))
        return Answers.joined(parts)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `(n, values)`, with gradients where the model has them.

        Raises:
            InputError: The outputs are not what the task takes.
        """
        return self._interpreted(self.model(images), len(images))

    def _read(self, images: Tensor) -> Answers:
        """Answers of a batch; where the model raises, of its halves, down to the images that it raises at."""
        try:
            with torch.no_grad():
                outputs = self.model(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever the user's model raises
            if isinstance(error, InputError) and not isinstance(error, ConfigError):
                raise  # what it gives does not fit its task, whatever the image
            if len(images) > 1:
                half = len(images) // 2
                return Answers.joined([self._read(images[:half]), self._read(images[half:])])
            return self._failed(error)
        return self._answers(self._interpreted(outputs, len(images)))

    def _answers(self, probabilities: Tensor) -> Answers:
        told = probabilities.detach().double().cpu().numpy()
        lost = ~np.isfinite(told).all(axis=1)
        reasons = np.array(["gave no finite output" if nothing else None for nothing in lost], dtype=object)
        return Answers(self.values, np.where(lost[:, None], np.nan, told), reasons)

    def _failed(self, error: Exception) -> Answers:
        reason = str(error) if isinstance(error, QdgsError) else told_of(error)
        nothing = np.full((1, len(self.values)), np.nan)
        return Answers(self.values, nothing, np.array([" ".join(reason.split())], dtype=object))

    def _interpreted(self, outputs: Any, n: int) -> Tensor:
        if self.config.task == "detector":
            return _detections(outputs, n, self.config.threshold)
        return self._classes(outputs, n)

    def _classes(self, outputs: Any, n: int) -> Tensor:
        logits = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
        logits = getattr(logits, "logits", logits)
        if not isinstance(logits, Tensor):
            self._refuse(f"a {type(logits).__name__}", n)
        if logits.shape in ((n,), (n, 1)) and self.columns is None and len(self.values) == 2:
            return self._two(logits.reshape(n).float())
        most = max(max(columns) for columns in self.columns or [[len(self.values) - 1]]) + 1
        wrong = logits.ndim != 2 or len(logits) != n or logits.shape[1] < most
        if wrong or (self.columns is None and logits.shape[1] != len(self.values)):
            self._refuse(str(tuple(logits.shape)), n, most)
        return self._several(logits.float())

    def _two(self, logits: Tensor) -> Tensor:
        second = self._checked(logits) if self.config.outputs == "probabilities" else logits.sigmoid()
        return torch.stack([1 - second, second], dim=1)

    def _several(self, logits: Tensor) -> Tensor:
        scores = self._checked(logits) if self.config.outputs == "probabilities" else logits.softmax(dim=1)
        if self.columns is None:
            return scores
        told = torch.stack([scores[:, columns].sum(dim=1) for columns in self.columns], dim=1)
        return told / told.sum(dim=1, keepdim=True)

    def _checked(self, scores: Tensor) -> Tensor:
        low, high = float(scores.detach().min()), float(scores.detach().max())
        if low < -1e-4 or high > 1 + 1e-4:
            raise InputError(
                f"model.outputs: expected probabilities in [0, 1], got {low:.3g} to {high:.3g}; set "
                "model.outputs to logits"
            )
        return scores

    def _refuse(self, got: str, n: int, most: int | None = None) -> NoReturn:
        k = most or len(self.values)
        shapes = f"({n}, {k})" if k > 2 or self.columns else f"({n},), ({n}, 1) or ({n}, {k})"
        shapes = f"{shapes} or more columns" if self.columns else shapes
        raise InputError(
            f"model: expected outputs {shapes} for {n} images and the answers {', '.join(self.values)}, got "
            f"{got}; say in model.values which answer each column is, or name another model.task"
        )


def _detections(outputs: Any, n: int, threshold: float) -> Tensor:
    """Missed and found `(n, 2)`, from scores `(n,)` or `(n, 1)`, or a list of what was found in each."""
    if isinstance(outputs, Tensor) and outputs.shape in ((n,), (n, 1)):
        scores = outputs.reshape(n).float()
        found = torch.where(scores.isnan(), scores, (scores >= threshold).float())
    elif isinstance(outputs, list | tuple) and len(outputs) == n and all(map(_sized, outputs)):
        found = torch.tensor([float(_count(boxes) > 0) for boxes in outputs])
    else:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise InputError(
            f"model: expected of a detector scores ({n},) or a list of what was found in each of {n} "
            f"images, got {got}; name another model.task"
        )
    return torch.stack([1 - found, found], dim=1)


def _sized(boxes: Any) -> bool:
    return isinstance(boxes, dict) or hasattr(boxes, "__len__")


def _count(boxes: Any) -> int:
    """How many there are; torchvision's detectors give a dictionary of boxes, labels and scores."""
    return len(boxes["boxes"]) if isinstance(boxes, dict) and "boxes" in boxes else len(boxes)


def _columns(
    config: ProbedConfig, own: tuple[str, ...] | None, values: tuple[str, ...]
) -> tuple[list[list[int]] | None, tuple[str, ...]]:
    """Columns of each answer (None: one each, in order), and the answers."""
    if config.task != "classifier":
        return None, (MISSED, FOUND)
    if config.values is None:
        if own is None or own == values:
            return None, values
        missing = [value for value in values if value not in own]
        if missing:
            raise ConfigError(
                f"model.values: expected a model that answers {', '.join(values)}, got one that answers "
                f"{', '.join(own)}; say in model.values which column is which"
            )
        return [[own.index(value)] for value in values], values
    _check_known(config.values, values)
    if isinstance(config.values, dict):
        given = {name: [at] if isinstance(at, int) else at for name, at in config.values.items()}
        return [given[value] for value in values], values
    return None, tuple(config.values)


def _check_known(given: Iterable[str], values: tuple[str, ...]) -> None:
    """See that the prompts' groups define every answer, and that there is an answer for each of them."""
    for name in given:
        if name not in values:
            raise ConfigError(f"model.values: unknown {name!r}{nearest(name, values)}")
    missing = [value for value in values if value not in given]
    if missing:
        raise ConfigError(f"model.values: expected an answer for every value, got none for {missing[0]!r}")
