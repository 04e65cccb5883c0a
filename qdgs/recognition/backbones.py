"""Residual networks that turn a face into an embedding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qdgs.recognition_config import BackboneConfig

UNITS: Mapping[str, tuple[int, int, int, int]] = {
    "ir18": (2, 2, 2, 2),
    "ir50": (3, 4, 14, 3),
    "ir101": (3, 13, 30, 3),
}
"""Residual units of each of the four stages."""


class Dropout(nn.Module):
    """Dropout whose masks come from a generator of its own, so that a resumed training drops the same.

    Args:
        share: Probability that a value becomes 0; the others are divided by 1 − share.

    Attributes:
        generator: Draws the masks, on the device of the values.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """The values, some of them 0 in training."""
        if not self.training or not self.share:
            return values
        if self.generator is None:
            raise RuntimeError("dropout: its generator is set before a training step")
        drawn = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * (drawn >= self.share).to(values.dtype) / (1 - self.share)


class ResidualUnit(nn.Module):
    """BN – conv – BN – PReLU – conv – BN, added to its input ("improved residual", IR).

    The second convolution has the stride. Where width changes the input goes through a 1×1 convolution, else
    only every stride-th pixel of it is taken.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the result.
        stride: 2 halves the size.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut: nn.Module
        if inputs == outputs:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs),
            _convolution(inputs, outputs, 3),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            _convolution(outputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of `outputs` channels."""
        total: Tensor = self.residual(features) + self.shortcut(features)
        return total


class IResNet(nn.Module):
    """Images `(batch_size, 3, s, s)` in [0, 1] → embeddings `(batch_size, embedding_dim)`, not normalised.

    Four stages of 1, 2, 4 and 8 times the width, each of which halves the size; then BN, dropout, a linear
    layer, and BN without scale or offset, so that in training embeddings have a mean squared norm of
    embedding_dim. How far an embedding's norm lies from the mean tells AdaFace how good the image is.

    Args:
        config: Which one; width 64 and embedding 512 are the published sizes.
        image_size: Height and width s of the images, a multiple of 16.
        generator: Draws the initial weights.

    References:
        Deng et al., CVPR 2019, arXiv 1801.07698, section 3.1 (IR units for faces); Duta et al., ICPR 2020,
        arXiv 2004.04989; Kim, Jain and Liu, CVPR 2022, arXiv 2204.00964, section 4.1 (the sizes).
    """

    def __init__(self, config: BackboneConfig, image_size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.image_size = image_size
        widths = [config.width * 2**stage for stage in range(4)]
        with torch.random.fork_rng(devices=[]):  # the layers draw weights of their own, from the global state
            self.stem = nn.Sequential(
                _convolution(3, config.width, 3), nn.BatchNorm2d(config.width), nn.PReLU(config.width)
            )
            self.units = nn.Sequential(*_units(config, widths))
            self.dropout = Dropout(config.dropout)
            self.head = nn.Sequential(
                nn.BatchNorm2d(widths[-1]),
                self.dropout,
                nn.Flatten(),
                nn.Linear(widths[-1] * (image_size // 16) ** 2, config.embedding),
                nn.BatchNorm1d(config.embedding, affine=False),
            )
        _initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings."""
        embeddings: Tensor = self.head(self.units(self.stem(2 * images - 1)))
        return embeddings


def _units(config: BackboneConfig, widths: list[int]) -> list[nn.Module]:
    units: list[nn.Module] = []
    inputs = config.width
    for outputs, number in zip(widths, UNITS[config.name], strict=True):
        for place in range(number):
            units.append(ResidualUnit(inputs, outputs, stride=1 if place else 2))
            inputs = outputs
    return units


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
