"""Images of known attributes: what a user brings beside a generator."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from qdgs.errors import InputError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of known attributes that the user brings.

    Attributes:
        images: `(n, 3, height, width)`, uint8.
        values: One column an attribute, one row an image; missing where it is not known.
    """

    images: Tensor
    values: pd.DataFrame

    def __post_init__(self) -> None:
        if len(self.images) != len(self.values):
            raise InputError(
                "images: expected one row of values for each image, "
                f"got {len(self.images)} images and {len(self.values)} rows"
            )
        if self.images.dtype != torch.uint8:
            raise InputError(f"images: expected uint8, got {self.images.dtype}")

    def __len__(self) -> int:
        return len(self.values)
