"""The tasks of the paired-latents study: an attribute of drawn figures that goes with their colour."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.datasets.drawing import BLUE, COLORS, MIDDLE_AREA, RED, SHAPES, SIZES, clean_figures, draw
from qdgs.judges.base import Judge
from qdgs.judges.shape_geometry import ShapeGeometry
from qdgs.training.pixels import to_pixels

TURNS = ("left", "right")
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "color": COLORS, "shape": SHAPES, "size": SIZES, "turn": TURNS,
}  # fmt: skip
TARGETS = ("shape", "size", "turn")
AT_ONCE = 500


@dataclass(frozen=True)
class Pictures:
    """Labelled images in memory.

    Attributes:
        images: `(n, 3, s, s)`, uint8.
        targets: `(n,)`, 0 or 1.
        colors: `(n,)`, 0 red, 1 blue; −1 where it does not matter.
    """

    images: Tensor
    targets: Tensor
    colors: Tensor

    def followed_by(self, other: "Pictures") -> "Pictures":
        """These and then the others."""
        return Pictures(
            torch.cat([self.images, other.images]),
            torch.cat([self.targets, other.targets]),
            torch.cat([self.colors, other.colors]),
        )


class TurningJudge(ShapeGeometry):
    """Also reads which way a figure is turned from lying on a side, by the shorter way round.

    With z the places of the figure's pixels around their mean as complex numbers and n its corners, the
    phase of Σ zⁿ turns n times as fast as the figure; `turn_score` is its sine, by which a figure that lies
    on a side, or stands on a corner, is between left and right.
    """

    attributes: Mapping[str, tuple[str, ...]] = {name: ATTRIBUTES[name] for name in ATTRIBUTES}

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `qdgs.Judge`."""
        read = super().judge(images)
        ink = 1 - images.detach().float().clamp(0, 1).amin(dim=1)
        corners = torch.tensor([4 if shape == "square" else 3 for shape in read["shape"]])
        scores = turn_scores(ink.cpu(), corners).numpy()
        values = np.array(TURNS, dtype=object)[(scores >= 0).astype(int)]
        told = pd.Series(values).where(read["shape"].notna().to_numpy(), None)
        return read.assign(turn=told, turn_score=scores)


class Remembering:
    """A judge who reads no batch of images twice: all arms of a seed learn from the same samples.

    What was read lies on disk. Thousands of small tables that stay, made between large arrays that go, would
    keep the C library from giving the memory of those back: 25 MB a batch.

    Args:
        judge: Who reads what is new.
        folder: An existing one, for what was read.
    """

    def __init__(self, judge: Judge, folder: Path) -> None:
        self.attributes = judge.attributes
        self._judge, self._folder = judge, folder

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`."""
        name = hashlib.blake2b(images.contiguous().numpy().data.cast("B"), digest_size=16).hexdigest()
        path = self._folder / f"{name}.pickle"
        if not path.is_file():
            self._judge.judge(images).to_pickle(path)
        return pd.read_pickle(path)


def turn_scores(ink: Tensor, corners: Tensor) -> Tensor:
    """Sine of the phase of Σ zⁿ `(batch_size,)` for ink `(batch_size, height, width)` and n corners each."""
    size = ink.shape[-1]
    axis = torch.arange(size, dtype=torch.float64) / size
    x, y = axis[None, None, :], -axis[None, :, None]
    mass = ink.double()
    whole = mass.sum(dim=(1, 2)).clamp_min(1e-9)
    z = torch.complex(
        (x - (mass * x).sum(dim=(1, 2)).div(whole)[:, None, None]).expand_as(mass).contiguous(),
        (y - (mass * y).sum(dim=(1, 2)).div(whole)[:, None, None]).expand_as(mass).contiguous(),
    )
    moments = (mass * z ** corners[:, None, None]).sum(dim=(1, 2))
    # a triangle on its base has a corner at a quarter turn, so the phase of its moment is that of (−i)
    upright = torch.where(corners == 3, torch.tensor(-1j), torch.tensor(-1.0 + 0j))
    scores: Tensor = (moments / upright).angle().sin().float()
    return scores


@dataclass(frozen=True)
class PairedTask:
    """A target that goes with colour: of `bias` of the images the second value is blue, the first red.

    Attributes:
        target: One of `TARGETS`.
        bias: That share.
        image_size: Pixels.
    """

    target: str
    bias: float
    image_size: int
    known: ClassVar[tuple[str, ...]] = TARGETS

    def pictures(self, n: int, rng: np.random.Generator) -> Pictures:
        """Draw n images, half of each target's value."""
        parts = [self._some(min(AT_ONCE, n - at), rng) for at in range(0, n, AT_ONCE)]
        images, targets, colors = zip(*parts, strict=True)
        return Pictures(torch.cat(images), torch.cat(targets), torch.cat(colors))

    def _some(self, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        shape = rng.integers(0, 2, n)
        figures = clean_figures(shape, np.zeros((n, 3)), rng)
        if self.target == "shape":
            targets = torch.from_numpy(shape)
        elif self.target == "size":
            targets = (figures.side**2 >= MIDDLE_AREA).long()
        else:
            targets = (turn_scores(1 - draw(figures)[:, 0], torch.from_numpy(3 + shape)) >= 0).long()
        usual = torch.from_numpy(rng.random(n) < self.bias)
        colors = torch.where(usual, targets, 1 - targets)
        colored = replace(figures, color=torch.tensor(np.array([RED, BLUE]), dtype=torch.float32)[colors])
        return to_pixels(draw(colored), self.image_size), targets, colors
