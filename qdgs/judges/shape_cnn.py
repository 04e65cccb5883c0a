"""A judge of triangles and squares that learned from drawn figures alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.datasets.drawing import COLORS, MIDDLE_AREA, SHAPES, SIZES
from qdgs.weights import FOLDER, load_weights

INPUT_SIZE = 64


class ShapeNetwork(nn.Module):
    """Images `(batch_size, 3, 64, 64)` → `(batch_size, 5)`.

    Columns: logits of triangle, square and neither; the place of the colour between red (0) and blue (1);
    the logit of the colour lying on that line at all.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 24), (24, 48), (48, 64), (64, 96)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(96 * 16, 96), nn.ReLU(), nn.Linear(96, 5))

    def forward(self, images: Tensor) -> Tensor:
        """Logits and colour."""
        outputs: Tensor = self.head(self.features(2 * images - 1))
        return outputs


class ShapeCNN:
    """Reads `shape` and `color` with a small network trained on drawn figures only, and `size` off pixels.

    `shape_score` is the logit of square less the logit of triangle; `color_score` the place of the colour
    between red and blue; `size_score` the share of pixels at least half as dark as the figure, no outline
    needed, and large what is larger than a drawing without zoom. `quality` is the probability that the image
    shows one of the two shapes.

    `confusion` counts what it read on samples of `shapes-vae` labelled by an AI model from sheets.

    Args:
        device: Where the network runs.
    """

    attributes: Mapping[str, tuple[str, ...]] = {"color": COLORS, "shape": SHAPES, "size": SIZES}

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        self.network = ShapeNetwork()
        self.network.load_state_dict(load_weights("shape-cnn"))
        self.network.eval().requires_grad_(False).to(device)
        self.confusion = pd.read_csv(FOLDER / "shape-cnn" / "confusion.csv")

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        device = next(self.network.parameters()).device
        with torch.no_grad():
            small = functional.interpolate(images.to(device), size=INPUT_SIZE, mode="area")
            outputs = self.network(small).double().cpu()
        return _frame(outputs, _dark_share(images).double().cpu().numpy())


def _dark_share(images: Tensor) -> Tensor:
    """Share `(batch_size,)` of pixels at least half as far from white as the 2 % that are farthest."""
    ink = 1 - images.amin(dim=1).flatten(1)
    return (ink > ink.quantile(0.98, dim=1, keepdim=True) / 2).float().mean(dim=1)


def _frame(outputs: Tensor, dark: np.ndarray) -> pd.DataFrame:
    logits, color, on_line = outputs[:, :3], outputs[:, 3].numpy(), outputs[:, 4].sigmoid().numpy()
    figure = (1 - logits.softmax(1)[:, 2]).numpy()
    shape_score = (logits[:, 1] - logits[:, 0]).numpy()
    accepted = figure >= 0.5
    return pd.DataFrame(
        {
            "color": _values(COLORS, color >= 0.5, accepted & (on_line >= 0.5)),
            "color_score": color,
            "shape": _values(SHAPES, shape_score >= 0, accepted),
            "shape_score": shape_score,
            "size": _values(SIZES, dark >= MIDDLE_AREA, accepted),
            "size_score": dark,
            "accepted": accepted,
            "quality": figure,
        }
    )


def _values(names: tuple[str, ...], second: np.ndarray, readable: np.ndarray) -> list[str | None]:
    return [names[int(high)] if told else None for high, told in zip(second, readable, strict=True)]
