"""Drawn figures: the colour-biased triangles and squares, and everything between them and a blot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

RED = (216 / 255, 27 / 255, 96 / 255)
BLUE = (30 / 255, 136 / 255, 229 / 255)
COLORS = ("red", "blue")
SHAPES = ("triangle", "square")
SIZES = ("small", "large")

IMAGE_SIZE = 128
SIDE = 40 / 128
MIDDLE_AREA = SIDE**2
ZOOM_AREA = (0.5, 2.0)
OFFSET = 2 / 128

_TRIANGLE_APOTHEM = 27**-0.25
_SQUARE_APOTHEM = 0.5


@dataclass(frozen=True)
class Figures:
    """Parameters of n figures; lengths in fractions of the image's side, angles in radians.

    A figure is the set where (1 − morph)·d₃ + morph·d₄ + wobble is negative, d₃ and d₄ being the signed
    distances to an equilateral triangle and a square of the same area, centre and rotation.

    Attributes:
        color: `(n, 3)` in [0, 1].
        side: `(n,)` side of the square; a triangle has the square's area.
        rotation: `(n,)`.
        center: `(n, 2)` x and y, from the middle of the image.
        morph: `(n,)` 0 is a triangle, 1 a square, anything between is neither.
        softness: `(n,)` width of the edge's ramp; 1 / image size is a crisp edge.
        opacity: `(n,)` 1 is opaque.
        wobble: `(n,)` amplitude of a wave along the outline, in sides.
        waves: `(n,)` how many waves go round.
        stretch: `(n,)` factor along the figure's own x axis, its inverse along y.
        fade: `(n,)` 0 is even; 1 fades to nothing across the figure, along its own x axis.
        cut: `(n,)` where a straight cut falls along the figure's own x axis, in sides; beyond 1 none.
    """

    color: Tensor
    side: Tensor
    rotation: Tensor
    center: Tensor
    morph: Tensor
    softness: Tensor
    opacity: Tensor
    wobble: Tensor
    waves: Tensor
    stretch: Tensor
    fade: Tensor
    cut: Tensor

    def __len__(self) -> int:
        return len(self.morph)

    def __getitem__(self, rows: Any) -> Figures:
        """The figures of some rows."""
        return Figures(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def to(self, device: torch.device | str) -> Figures:
        """The same figures on another device."""
        return Figures(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


def clean_figures(
    shape: np.ndarray, color: np.ndarray, rng: np.random.Generator, *, image_size: int = IMAGE_SIZE
) -> Figures:
    """Crisp triangles and squares of random size, turn and place, wholly inside the image.

    The zoom is that of a crop with an area of 0.5 to 2 times the image (Chang et al. 2024, released code),
    uniform in its logarithm, so sides differ by a factor of two; the place is near the middle.

    Args:
        shape: `(n,)` 0 triangle, 1 square.
        color: `(n, 3)` in [0, 1].
        rng: Random numbers.
        image_size: Pixels that the figures will be drawn at; sets what a crisp edge is.
    """
    n = len(shape)
    low, high = np.log(ZOOM_AREA)
    values = {
        "side": SIDE * np.exp(0.5 * rng.uniform(low, high, n)),
        "rotation": rng.uniform(0, 2 * np.pi, n),
        "center": rng.uniform(-OFFSET, OFFSET, (n, 2)),
        "morph": np.asarray(shape, float),
        "softness": np.full(n, 1 / image_size),
        "opacity": np.ones(n),
        "wobble": np.zeros(n),
        "waves": np.zeros(n),
        "stretch": np.ones(n),
        "fade": np.zeros(n),
        "cut": np.full(n, 2.0),
    }
    return Figures(torch.tensor(color, dtype=torch.float32), **{k: _tensor(v) for k, v in values.items()})


def draw(figures: Figures, image_size: int = IMAGE_SIZE) -> Tensor:
    """Images `(n, 3, image_size, image_size)` of the figures on white, anti-aliased, on their device."""
    cover = coverage(figures, image_size)
    images: Tensor = 1 - cover * (1 - figures.color[:, :, None, None])
    return images


def coverage(figures: Figures, image_size: int) -> Tensor:
    """How much of each pixel a figure covers, `(n, 1, image_size, image_size)` in [0, 1]."""
    x, y = _own_coordinates(figures, image_size)
    f = {name: getattr(figures, name)[:, None, None] for name in Figures.__dataclass_fields__}
    apothem = torch.lerp(
        torch.full_like(f["morph"], _TRIANGLE_APOTHEM),
        torch.full_like(f["morph"], _SQUARE_APOTHEM),
        f["morph"],
    )
    distance = torch.lerp(_triangle(x, y), torch.maximum(x.abs(), y.abs()), f["morph"]) - apothem * f["side"]
    if figures.wobble.any():
        wave = torch.cos(f["waves"] * torch.atan2(y, x) + 7.0 * f["rotation"])
        distance = distance + f["wobble"] * f["side"] * wave
    cover = (0.5 - distance / f["softness"]).clamp(0, 1)
    along = x / f["side"]
    cover = cover * (1 - f["fade"] * (along + 0.5).clamp(0, 1))
    cover = cover * (0.5 - (along - f["cut"]) * f["side"] / f["softness"]).clamp(0, 1)
    opaque: Tensor = cover * f["opacity"]
    return opaque[:, None]


def biased_shapes(
    n: int, bias: float, rng: np.random.Generator, *, image_size: int = IMAGE_SIZE
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """The colour-biased task: half triangles and half squares on white.

    Args:
        n: How many images.
        bias: The share of triangles that are red and of squares that are blue, within 1 / n of exact.
        rng: Random numbers.
        image_size: Pixels.

    Returns:
        Images `(n, 3, image_size, image_size)`, shapes `(n,)` (0 triangle, 1 square) and colours `(n,)`
        (0 red, 1 blue), shuffled.

    References:
        Chang et al. 2024, released code, shapes experiment.
    """
    shape = np.arange(n) % 2
    usual = (np.arange(n) // 2) < round(bias * (n / 2))
    color = np.where(usual, shape, 1 - shape)
    order = rng.permutation(n)
    shape, color = shape[order], color[order]
    figures = clean_figures(shape, np.array([RED, BLUE])[color], rng, image_size=image_size)
    batches = [draw(figures[start : start + 250], image_size) for start in range(0, n, 250)]
    return torch.cat(batches), shape, color


def mix_colors(share_of_blue: np.ndarray) -> np.ndarray:
    """Colours `(n, 3)` on the straight line from red (0) to blue (1)."""
    share = np.asarray(share_of_blue)[:, None]
    colors: np.ndarray = (1 - share) * np.array(RED) + share * np.array(BLUE)
    return colors


def deform(figures: Figures, rng: np.random.Generator) -> Figures:
    """The same figures turned into what is no triangle and no square: each gets one or two faults.

    Faults: half-way between the shapes, wavy outline, stretched into a streak, faded, cut in half, all but
    transparent, or blurred until no edge is left.
    """
    n = len(figures)
    fault = rng.integers(0, 7, n)
    second = np.where(rng.random(n) < 0.3, rng.integers(0, 7, n), fault)

    def where(kind: int, faulty: np.ndarray, name: str) -> Tensor:
        chosen = torch.tensor((fault == kind) | (second == kind))
        return torch.where(chosen, _tensor(faulty), getattr(figures, name))

    sign = rng.choice([-1, 1], n)
    return replace(
        figures,
        morph=where(0, rng.uniform(0.3, 0.7, n), "morph"),
        wobble=where(1, rng.uniform(0.08, 0.3, n), "wobble"),
        waves=where(1, rng.integers(2, 8, n).astype(float), "waves"),
        stretch=where(2, rng.uniform(1.4, 3.0, n) ** sign, "stretch"),
        fade=where(3, rng.uniform(0.6, 1.0, n), "fade"),
        cut=where(4, rng.uniform(-0.2, 0.25, n), "cut"),
        opacity=where(5, rng.uniform(0.05, 0.5, n), "opacity"),
        softness=where(6, rng.uniform(0.18, 0.6, n), "softness"),
    )


def splatters(n: int, rng: np.random.Generator, *, image_size: int = IMAGE_SIZE) -> Tensor:
    """Images `(n, 3, image_size, image_size)` of soft blots and streaks of several colours on white."""
    axis = torch.linspace(-0.5, 0.5, image_size)
    images = torch.ones(n, 3, image_size, image_size)
    for _ in range(6):
        place = _tensor(rng.uniform(-0.4, 0.4, (n, 2, 1, 1)))
        turn = _tensor(rng.uniform(0, np.pi, (n, 1, 1)))
        length = _tensor(np.exp(rng.uniform(np.log(0.02), np.log(0.3), (n, 1, 1))))
        width = _tensor(np.exp(rng.uniform(np.log(0.02), np.log(0.15), (n, 1, 1))))
        strength = _tensor(rng.uniform(0, 1.3, (n, 1, 1)) * (rng.random((n, 1, 1)) < 0.7))
        color = _tensor(np.where(rng.random((n, 1)) < 0.5, mix_colors(rng.random(n)), rng.random((n, 3))))
        x, y = axis[None, None, :] - place[:, 0], axis[None, :, None] - place[:, 1]
        u, v = turn.cos() * x + turn.sin() * y, turn.cos() * y - turn.sin() * x
        cover = (strength * torch.exp(-((u / length) ** 2) - (v / width) ** 2)).clamp(0, 1)[:, None]
        images = images * (1 - cover) + color[:, :, None, None] * cover
    return images


def _own_coordinates(figures: Figures, image_size: int) -> tuple[Tensor, Tensor]:
    axis = (torch.arange(image_size, device=figures.side.device) + 0.5) / image_size - 0.5
    x = axis[None, None, :] - figures.center[:, 0, None, None]
    y = axis[None, :, None] - figures.center[:, 1, None, None]
    cos, sin = figures.rotation.cos()[:, None, None], figures.rotation.sin()[:, None, None]
    stretch = figures.stretch[:, None, None]
    return (cos * x + sin * y) / stretch, (cos * y - sin * x) * stretch


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    slope = 3**0.5 / 2
    return torch.maximum(y, torch.maximum(slope * x - 0.5 * y, -slope * x - 0.5 * y))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
