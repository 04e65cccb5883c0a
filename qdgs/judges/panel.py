"""Several judges in one role: each tells the attributes that it was named for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from qdgs.judges.base import Judge


class JudgePanel:
    """Judges by attribute.

    Accepted is what each of them accepts; `quality` is that of the first, as the scales differ. What a judge
    tells beside its attributes stays: of one name that of the first.

    Args:
        by_attribute: Attribute → who tells it; one judge may tell several.
    """

    def __init__(self, by_attribute: Mapping[str, Judge]) -> None:
        self.judges = tuple({id(judge): judge for judge in by_attribute.values()}.values())
        self.attributes: Mapping[str, tuple[str, ...]] = {
            attribute: judge.attributes[attribute] for attribute, judge in by_attribute.items()
        }
        self._told_by = {attribute: self.judges.index(judge) for attribute, judge in by_attribute.items()}

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        return self.joined([judge.judge(images) for judge in self.judges])

    def joined(self, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """The rows of `judges`, in their order, as the panel's own."""
        columns = {
            name: frames[place][name]
            for attribute, place in self._told_by.items()
            for name in (attribute, f"{attribute}_score")
        }
        for judge, frame in zip(self.judges, frames, strict=True):
            own = {part for name in judge.attributes for part in (name, f"{name}_score")}
            beside = [str(name) for name in frame if name not in own | set(columns)]
            columns |= {name: frame[name] for name in beside}
        accepted = np.logical_and.reduce([frame["accepted"].to_numpy(bool) for frame in frames])
        return pd.DataFrame({**columns, "accepted": accepted, "quality": frames[0]["quality"]})
