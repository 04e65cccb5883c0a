"""What a model does to an image before it looks at it, in tensors all the way, so that gradients flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from qdgs.compat import import_open_clip


@dataclass(frozen=True)
class Preprocessing:
    """Images in [0, 1] → the input of an image tower.

    Resized to the model's own size (antialiased, as PIL does it; not at all where the size is right already),
    clamped to [0, 1] as an 8-bit image would be, normalised.

    Attributes:
        size: Height and width in pixels.
        mean: One a channel.
        std: One a channel.
        interpolation: "bicubic" or "bilinear".
        resize_mode: "squash" (both sides to the size), "shortest" (the image covers the size, and is cut) or
            "longest" (it fits into the size, and is padded). To square images and sizes they are one.
        fill: What is padded with, in [0, 1].
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill: float = 0.0

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """The preprocessing that an open_clip model was trained with."""
        config: dict[str, Any] = import_open_clip().get_model_preprocess_cfg(model)
        size, mean, std = config["size"], config["mean"], config["std"]
        height, width = (size, size) if isinstance(size, int) else size
        return cls(
            (height, width),
            tuple(mean),
            tuple(std),
            "bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            config.get("resize_mode") or "shortest",
            config.get("fill_color", 0) / 255,
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Preprocess images `(batch_size, 3, height, width)` in [0, 1]."""
        images = images.float()
        resized = self._resized_size(*images.shape[-2:])
        if resized != tuple(images.shape[-2:]):
            images = F.interpolate(images, resized, mode=self.interpolation, antialias=True).clamp(0, 1)
        images = self._cut_or_padded(images)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before anything is cut off or padded."""
        wanted_height, wanted_width = self.size
        if self.resize_mode == "squash" or (height, width) == self.size:
            return self.size
        if self.resize_mode == "shortest" and wanted_height == wanted_width:  # the longer side is cut down
            shorter = min(height, width)
            return height * wanted_height // shorter, width * wanted_width // shorter
        choose = max if self.resize_mode == "longest" else min
        ratio = choose(height / wanted_height, width / wanted_width)
        return round(height / ratio), round(width / ratio)

    def _cut_or_padded(self, images: Tensor) -> Tensor:
        over = [there - wanted for there, wanted in zip(images.shape[-2:], self.size, strict=True)]
        if not any(over):
            return images
        top, left = (max(-rest, 0) // 2 for rest in over)
        bottom, right = ((max(-rest, 0) + 1) // 2 for rest in over)
        padded = F.pad(images, (left, right, top, bottom), value=self.fill)
        row, column = (round(max(rest, 0) / 2) for rest in over)
        return padded[..., row : row + self.size[0], column : column + self.size[1]]
