"""What a classifier's logits say of an image, as the rows of a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.errors import ConfigError


def read_logits(
    attributes: Mapping[str, tuple[str, ...]],
    logits: Mapping[str, Tensor],
    *,
    confidence: float,
    wholeness: Tensor | None = None,
) -> pd.DataFrame:
    """Rows of a judge.

    Of two values the score is the difference of their logits; of more, the place Σᵢ i·pᵢ among them. A value
    less probable than `confidence` is missing.

    Args:
        attributes: Attribute → its values.
        logits: Attribute → `(n, values)`.
        confidence: Probability from which on a value is told.
        wholeness: Probability `(n,)` that an image is whole, accepted from a half; without one every image is
            accepted, and the quality is the mean over attributes of the told value's probability.
    """
    columns: dict[str, object] = {}
    told = []
    for attribute, values in attributes.items():
        scores = logits[attribute].detach().double().cpu()
        probabilities = scores.softmax(dim=1)
        best = probabilities.amax(dim=1)
        names = np.array(values, dtype=object)[probabilities.argmax(dim=1).numpy()]
        columns[attribute] = np.where((best >= confidence).numpy(), names, None)
        columns[f"{attribute}_score"] = _place(scores, probabilities).numpy()
        told.append(best)
    quality = torch.stack(told).mean(dim=0) if wholeness is None else wholeness.detach().double().cpu()
    accepted = torch.ones_like(quality, dtype=torch.bool) if wholeness is None else quality >= 0.5
    return pd.DataFrame({**columns, "accepted": accepted.numpy(), "quality": quality.numpy()})


def check_confidence(place: str, confidence: object) -> float:
    """A probability that a value must have to be told.

    Raises:
        ConfigError: It is none.
    """
    number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if not number or not 0 <= float(confidence) < 1:  # type: ignore[arg-type]
        raise ConfigError(f"{place}.confidence: expected a number from 0 to below 1, got {confidence!r}")
    return float(confidence)  # type: ignore[arg-type]


def check_values(place: str, attributes: object) -> dict[str, tuple[str, ...]]:
    """Attribute → its values, at least two different ones.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(attributes, Mapping) or not attributes:
        raise ConfigError(
            f"{place}.attributes: expected a mapping of attributes to values, got {attributes!r}"
        )
    for attribute, values in attributes.items():
        listed = (
            list(values) if isinstance(values, Sequence | Mapping) and not isinstance(values, str) else []
        )
        if len(set(map(str, listed))) < 2 or not all(isinstance(value, str) for value in listed):
            raise ConfigError(
                f"{place}.attributes.{attribute}: expected at least two different values, got {values!r}"
            )
    return {str(attribute): tuple(values) for attribute, values in attributes.items()}


def _place(logits: Tensor, probabilities: Tensor) -> Tensor:
    if logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    return probabilities @ torch.arange(logits.shape[1], dtype=torch.float64)
