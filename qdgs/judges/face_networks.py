"""A small face detector and a small network that scores faces, by the authors of face-api."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# widths and heights of the five boxes that each place of the grid starts from, in places
ANCHORS = (
    (1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857),
    (9.041765, 10.66308),
)  # fmt: skip
DETECTOR_MEANS = (117.001, 114.697, 97.404)
FACE_MEANS = (122.782, 117.001, 104.298)
FACE_SIZE = 112


class Separable(nn.Module):
    """A 3×3 convolution of each channel alone, then one of 1×1 across them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features `(batch_size, outputs, height, width)`."""
        outputs: Tensor = self.pointwise(self.depthwise(features))
        return outputs


class Reduction(nn.Module):
    """Two separable convolutions and a maximum over neighbours, beside a shortcut; half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Separable(inputs, outputs)
        self.second = Separable(outputs, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Features `(batch_size, outputs, height / 2, width / 2)`."""
        deep = self.second(self.first(features.relu()).relu())
        pooled = functional.max_pool2d(_one_farther(deep, -torch.inf), 3, 2)
        reduced: Tensor = pooled + self.shortcut(features)
        return reduced


class Residual(nn.Module):
    """Three separable convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(Separable(channels, channels) for _ in range(3))

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        deep = features
        for convolution in self.convolutions:
            deep = convolution(deep.relu())
        return features + deep


class FaceDetector(nn.Module):
    """The likeliest face of square images; the tiny face detector of face-api.

    References:
        Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger", section 2 (boxes from anchors).
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 128, 256, 512)
        self.first = nn.Conv2d(3, widths[0], 3)
        self.blocks = nn.ModuleList(map(Separable, widths[:-1], widths[1:]))
        self.last = nn.Conv2d(widths[-1], 5 * len(ANCHORS), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Of images `(batch_size, 3, size, size)` in [0, 1], size a multiple of 32: `(batch_size, 5)`.

        Columns: the score in [0, 1]; left, top, right and bottom in shares of the side.
        """
        features = functional.leaky_relu(self.first(_centred(images, DETECTOR_MEANS)), 0.1)
        for block in self.blocks:
            features = functional.leaky_relu(block(functional.max_pool2d(features, 2, ceil_mode=True)), 0.1)
        features = functional.max_pool2d(_one_farther(features, -torch.inf), 2, 1)
        return _likeliest(self.last(features).unflatten(1, (len(ANCHORS), 5)))


class FaceNetwork(nn.Module):
    """How old and how feminine faces look; the age and gender network of face-api, a small Xception.

    References:
        Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions", section 3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, stride=2)
        self.entry = nn.Sequential(Reduction(32, 64), Reduction(64, 128))
        self.middle = nn.Sequential(Residual(128), Residual(128))
        self.exit = Reduction(128, 256)
        self.last = Separable(256, 512)
        self.age = nn.Linear(512, 1)
        self.presentation = nn.Linear(512, 2)

    def forward(self, faces: Tensor) -> Tensor:
        """Of faces `(batch_size, 3, 112, 112)` in [0, 1]: `(batch_size, 2)`.

        Columns: age in years; logarithm of the odds of feminine over masculine.
        """
        features = self.first(_one_farther(_centred(faces, FACE_MEANS), 0.0)).relu()
        features = self.exit(self.middle(self.entry(features)))
        pooled = self.last(features).relu().mean(dim=(2, 3))
        masculine, feminine = self.presentation(pooled).unbind(dim=1)
        return torch.stack([self.age(pooled)[:, 0], feminine - masculine], dim=1)


def _centred(images: Tensor, means: Sequence[float]) -> Tensor:
    centres = torch.tensor(means, dtype=images.dtype, device=images.device)[:, None, None]
    return (255 * images - centres) / 256


def _one_farther(features: Tensor, value: float) -> Tensor:
    """Features with a row below and a column to the right: the side that their authors' library pads."""
    return functional.pad(features, (0, 1, 0, 1), value=value)


def _likeliest(outputs: Tensor) -> Tensor:
    """Score and box `(batch_size, 5)` of outputs `(batch_size, anchors, 5, places, places)`."""
    places = outputs.shape[-1]
    grid = torch.arange(places, dtype=outputs.dtype, device=outputs.device)
    sizes = torch.tensor(ANCHORS, dtype=outputs.dtype, device=outputs.device)[None, :, :, None, None]
    width, height = (outputs[:, :, 2:4].exp() * sizes / places).unbind(dim=2)
    x = (outputs[:, :, 0].sigmoid() + grid) / places
    y = (outputs[:, :, 1].sigmoid() + grid[:, None]) / places
    scores = outputs[:, :, 4].sigmoid()
    columns = [scores, x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    candidates = torch.stack(columns, dim=-1).flatten(1, 3)
    best = candidates[:, :, 0].argmax(dim=1)
    return candidates[torch.arange(len(candidates), device=outputs.device), best]
