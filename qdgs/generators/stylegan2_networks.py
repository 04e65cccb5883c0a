"""The two networks of StyleGAN2, for inference: latents → styles (mapping) → image (synthesis).

Written from the papers in plain PyTorch: one path for CPU and CUDA, differentiable, no custom operators.

References:
    Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (S2).
    Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (ADA).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

SMALLEST, LARGEST = 32, 1024
FILTER = (1.0, 3.0, 3.0, 1.0)
"""Taps of the low-pass filter of every doubling, before they are normalised."""
SLOPE = 0.2
GAIN = math.sqrt(2)
EPSILON = 1e-8

Width = Annotated[int, Field(ge=1)]


class Architecture(BaseModel):
    """Which StyleGAN2 it is.

    Attributes:
        resolution: Height and width of an image.
        channels: Of the features at 4×4, 8×8, … up to the resolution.
        mapping: Widths of the mapping network: of z, of each hidden layer, of w.
        mapping_rate: Learning-rate multiplier of the mapping network, part of its runtime weights.
        clamp: Bound on what a convolution gives, in every precision, or None (ADA, implementation details).
        half_blocks: How many of the highest resolutions work in float16 on CUDA.
        noise: Whether layers have noise of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    resolution: int
    channels: Annotated[tuple[Width, ...], Field(strict=False)]
    mapping: Annotated[tuple[Width, ...], Field(strict=False, min_length=2)]
    mapping_rate: Annotated[float, Field(gt=0)]
    clamp: Annotated[float, Field(gt=0)] | None
    half_blocks: Annotated[int, Field(ge=0)]
    noise: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        resolution = self.resolution
        if not SMALLEST <= resolution <= LARGEST or resolution & (resolution - 1):
            raise ValueError(
                f"expected a resolution that is a power of two from {SMALLEST} to {LARGEST}, got {resolution}"
            )
        if 2 << len(self.channels) != resolution:
            raise ValueError(
                f"expected channels for 4×4 to {resolution}×{resolution}, got {len(self.channels)} numbers"
            )
        return self

    @property
    def z_dim(self) -> int:
        """Length of z."""
        return self.mapping[0]

    @property
    def w_dim(self) -> int:
        """Length of w."""
        return self.mapping[-1]

    @property
    def layers(self) -> int:
        """How many layers take a w: two a resolution, which is 18 for 1024×1024."""
        return 2 * len(self.channels)


class Network(nn.Module):
    """Both networks of an architecture, and the standard deviations of w, element by element.

    The names of the networks' tensors are those of the published models.
    """

    w_std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.register_buffer("w_std", torch.ones(architecture.w_dim))
        self.mapping = Mapping(architecture)
        self.synthesis = Synthesis(architecture)


class Mapping(nn.Module):
    """Latents z `(batch_size, z_dim)` → w `(batch_size, w_dim)`: z is normalised, then goes through an MLP.

    References:
        Karras et al. 2019, "A Style-Based Generator Architecture for GANs", figure 1b.
    """

    w_avg: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = itertools.pairwise(architecture.mapping)
        for index, (inputs, outputs) in enumerate(widths):
            self.add_module(f"fc{index}", Linear(inputs, outputs, rate=architecture.mapping_rate))
        self.register_buffer("w_avg", torch.zeros(architecture.w_dim))

    def forward(self, z: Tensor) -> Tensor:
        """Styles w."""
        x = z * (z.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()
        for layer in self.children():
            x = activated(layer(x))
        return x


class Linear(nn.Module):
    """y = g·x·Wᵀ + r·b with g = r / √inputs: weights are kept at unit variance and scaled when used.

    References:
        Karras et al. 2018, "Progressive Growing of GANs", section 4.1 (equalised learning rate).
    """

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`(batch_size, inputs)` → `(batch_size, outputs)`."""
        gain = self.rate / math.sqrt(self.weight.shape[1])
        return functional.linear(x, self.weight * gain, self.bias * self.rate)


class Synthesis(nn.Module):
    """Styles, one a layer, `(batch_size, layers, w_dim)` → images in [-1, 1] or a little beyond.

    Features double their size from block to block; every block adds its own RGB to the image so far,
    doubled likewise (S2, figure 7b: skip connections).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        inputs = 0
        for index, outputs in enumerate(architecture.channels):
            self.add_module(f"b{4 << index}", Block(inputs, outputs, 4 << index, architecture))
            inputs = outputs

    def forward(self, ws: Tensor, *, noise: bool = True, half: bool | None = None) -> Tensor:
        """Images `(batch_size, 3, resolution, resolution)`.

        Args:
            ws: Styles.
            noise: Add the constant noise of each layer (ADA calls it "const"), or none.
            half: Whether the highest resolutions work in float16; by default on CUDA.
        """
        half = ws.device.type == "cuda" if half is None else half
        blocks = list(self.children())
        full_blocks = len(blocks) - (self.architecture.half_blocks if half else 0)
        styles = ws.unbind(dim=1)
        features: Tensor | None = None
        image: Tensor | None = None
        for index, block in enumerate(blocks):
            # the smallest features stay in full precision, as in the published models
            dtype = ws.dtype if index < max(full_blocks, 1) else torch.float16
            first = max(2 * index - 1, 0)  # a block's RGB and the next block's first layer share a style
            features, rgb = block(features, styles[first : 2 * index + 2], noise=noise, dtype=dtype)
            image = rgb if image is None else doubled(image) + rgb
        assert image is not None
        return image


class Block(nn.Module):
    """One resolution: a layer that doubles (in the first block a constant), a plain one, and RGB."""

    def __init__(self, inputs: int, outputs: int, resolution: int, architecture: Architecture) -> None:
        super().__init__()
        if inputs:
            self.conv0 = Layer(inputs, outputs, resolution, architecture, doubles=True)
        else:
            self.const = nn.Parameter(torch.zeros(outputs, resolution, resolution))
        self.conv1 = Layer(outputs, outputs, resolution, architecture)
        self.torgb = ToRGB(outputs, architecture)

    def forward(
        self, features: Tensor | None, styles: Sequence[Tensor], *, noise: bool, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Features for the next block, and the RGB of this one."""
        *own, last = styles
        if features is None:
            x = self.const.to(dtype).expand(len(last), -1, -1, -1)
        else:
            x = self.conv0(features.to(dtype), own[0], noise=noise)
        x = self.conv1(x, own[-1], noise=noise)
        return x, self.torgb(x, last)


class Layer(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU, clamp (S2, figure 2d)."""

    noise_const: Tensor

    def __init__(
        self, inputs: int, outputs: int, resolution: int, architecture: Architecture, *, doubles: bool = False
    ) -> None:
        super().__init__()
        self.affine = Linear(architecture.w_dim, inputs)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if architecture.noise:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise_const", torch.zeros(resolution, resolution))
        self.doubles = doubles
        self.clamp = architecture.clamp
        self.noise = architecture.noise

    def forward(self, x: Tensor, w: Tensor, *, noise: bool) -> Tensor:
        """`(batch_size, inputs, height, width)` → `(batch_size, outputs, resolution, resolution)`."""
        x = modulated(x, self.weight, self.affine(w), doubles=self.doubles)
        if noise and self.noise:
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        return clamped(activated(x + self.bias.to(x.dtype)[:, None, None]), self.clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to three channels, without demodulation (S2, section 2 and figure 7b)."""

    def __init__(self, inputs: int, architecture: Architecture) -> None:
        super().__init__()
        self.affine = Linear(architecture.w_dim, inputs)
        self.weight = nn.Parameter(torch.zeros(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.clamp = architecture.clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """`(batch_size, inputs, height, width)` → `(batch_size, 3, height, width)`."""
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])
        x = functional.conv2d(scaled(x, styles), self.weight.to(x.dtype))
        return clamped(x + self.bias.to(x.dtype)[:, None, None], self.clamp)


def modulated(x: Tensor, weight: Tensor, styles: Tensor, *, doubles: bool = False) -> Tensor:
    """Convolution with w″_oik = w′_oik / √(Σ_ik w′_oik² + ε), where w′_oik = s_i·w_oik, a row its own s.

    Not the weights are scaled but, which is the same, what goes in by s_i and what comes out by
    1 / √(Σ_i s_i² Σ_k w_oik² + ε): one convolution serves the whole batch.

    Args:
        x: `(batch_size, inputs, height, width)`.
        weight: `(outputs, inputs, size, size)`, size odd.
        styles: s `(batch_size, inputs)`.
        doubles: Double height and width on the way: transposed convolution, then the low-pass filter.

    References:
        S2, section 2.2, equations 1 and 3. Float16 needs weights and styles of bounded size, as in ADA's
        implementation; demodulation makes good for it.
    """
    if x.dtype is torch.float16:
        weight = weight / (weight.abs().amax((1, 2, 3), keepdim=True) * math.sqrt(weight[0].numel()))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    scales = (styles.square() @ weight.square().sum(dim=(2, 3)).T + EPSILON).rsqrt()
    x, weight = scaled(x, styles), weight.to(x.dtype)
    if doubles:
        x = smoothed(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
    else:
        x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return scaled(x, scales)


def smoothed(x: Tensor) -> Tensor:
    """The low-pass filter after a doubling; height and width lose a pixel."""
    return functional.conv2d(x, _kernel(x), padding=1, groups=x.shape[1])


def doubled(images: Tensor) -> Tensor:
    """Images of twice the height and width: zeros between the pixels, then the low-pass filter."""
    return functional.conv_transpose2d(images, _kernel(images), stride=2, padding=1, groups=images.shape[1])


def scaled(x: Tensor, scales: Tensor) -> Tensor:
    """Each channel of each row times its own number of `(batch_size, channels)`."""
    return x * scales.to(x.dtype)[:, :, None, None]


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU times √2, which keeps the variance."""
    return functional.leaky_relu(x, SLOPE) * GAIN


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """Within ± bound, where there is one."""
    return x if bound is None else x.clamp(-bound, bound)


def _kernel(like: Tensor) -> Tensor:
    """The filter for each channel; its sum of four makes up for the zeros that doubling puts in between."""
    taps = like.new_tensor(FILTER) * (2 / sum(FILTER))
    return taps.outer(taps).expand(like.shape[1], 1, -1, -1)
