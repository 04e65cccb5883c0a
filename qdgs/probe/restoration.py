"""Models from images to images: what of a person or thing is still there in what they give back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from qdgs.errors import InputError
from qdgs.fairness.intervals import LEVEL, wilson_interval
from qdgs.probe.answers import Answers, Reader
from qdgs.probe.models import Probed
from qdgs.probe.samples import Parts, ProbeSet, group_names
from qdgs.probe_config import ProbedConfig

UNREADABLE = "unreadable"


class Restorer:
    """A model from images to images, as a classifier: its answer is what is read of an image afterwards.

    An answer is a value of every attribute, or "unreadable" where the judges reject the image, tell nothing
    of that attribute, or differ on it: a face whose age is lost may look as light as before.

    What it gets is the image as its configuration says: resized to `image_size`, which for super-resolution
    is the small one, and in `range`. What it gives may have any size, in the same range.

    Args:
        model: The model.
        config: How images come to it.
        parts: The judges.

    References:
        Tan, Shen and Zhou (2020), Improving the Fairness of Deep Generative Models without Retraining (fair
        samples as probes of super-resolution).
    """

    def __init__(self, model: Probed, config: ProbedConfig, parts: Parts) -> None:
        self._model, self._config, self._parts = model, config, parts
        self._told = {name: (*values, UNREADABLE) for name, values in parts.attributes.items()}
        self.values = group_names(self._told)

    @property
    def reader(self) -> Reader:
        """Asks the model for groups; images that it raises at are told as a classifier's are."""
        config = ProbedConfig(
            target="restorer:model", outputs="probabilities", batch_size=self._config.batch_size
        )
        return Reader(Probed(self.groups, config, key=self._model.key), config, self.values)

    @property
    def right(self) -> NDArray[np.int64]:
        """Position among `values` of each group that images were of before `(K,)`."""
        return np.array([self.values.index(name) for name in group_names(self._parts.attributes)])

    def groups(self, images: Tensor) -> Tensor:
        """What is read of each restored image `(n, 3, height, width)`, one-hot `(n, values)`."""
        outputs = self._outputs(images)
        read = self._parts.judge.judge(self._pixels(outputs, images))
        accepted = read["accepted"].to_numpy(bool)
        places = np.zeros(len(read), dtype=np.int64)
        for name, values in self._told.items():
            found = pd.Index(values).get_indexer(pd.Index(read[name], dtype=object))
            places = places * len(values) + np.where(accepted & (found >= 0), found, len(values) - 1)
        told = torch.eye(len(self.values))[torch.from_numpy(places)]
        told[~outputs.isfinite().flatten(1).all(dim=1).cpu()] = torch.nan
        return told

    def restored(self, images: Tensor) -> Tensor:
        """What the model makes of images `(n, 3, height, width)`, in [0, 1], of their size.

        Raises:
            InputError: It gives something other than images.
        """
        return self._pixels(self._outputs(images), images)

    def _outputs(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            outputs = self._model(images)
        if not isinstance(outputs, Tensor) or outputs.ndim != 4 or outputs.shape[:2] != images.shape[:2]:
            got = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise InputError(
                f"model: expected of a restorer images ({len(images)}, 3, height, width), got {got}; "
                "name another model.task"
            )
        return outputs.float()

    def _pixels(self, outputs: Tensor, images: Tensor) -> Tensor:
        low, high = self._config.range
        pixels = ((outputs.nan_to_num() - low) / (high - low)).clamp(0, 1)
        if pixels.shape[-2:] != images.shape[-2:]:
            size = (int(images.shape[-2]), int(images.shape[-1]))
            pixels = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        return (pixels * 255).round() / 255

    def before_after(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Images and what became of them; those that the model raises at are left out."""
        pairs = [(images, self.restored(images)) for images in batches]
        return torch.cat([before for before, _ in pairs]), torch.cat([after for _, after in pairs])


def changes_table(answers: Answers, probe_set: ProbeSet, *, level: float = LEVEL) -> pd.DataFrame:
    """What every attribute became: `attribute, from, to, images, share, low, high`.

    Shares are of the images with the value `from` that the model answered; "unreadable" is what the judges
    reject afterwards, or of which they do not tell the attribute, or differ on it.

    Args:
        answers: What is read after restoration.
        probe_set: Groups before.
        level: Coverage of the intervals.
    """
    after = pd.Series(np.array(answers.values, dtype=object)[answers.given]).str.split("/", expand=True)
    there, rows = ~answers.failed, []
    for at, (attribute, values) in enumerate(probe_set.attributes.items()):
        before = probe_set.rows[f"group_{attribute}"].to_numpy(object)
        for value in values:
            of = there & (before == value)
            for became in (*values, UNREADABLE):
                count = int((after[at].to_numpy(object)[of] == became).sum())
                low, high = wilson_interval(count, int(of.sum()), level)
                share = count / of.sum() if of.any() else np.nan
                rows.append((attribute, value, became, count, share, float(low), float(high)))
    return pd.DataFrame(rows, columns=["attribute", "from", "to", "images", "share", "low", "high"])
