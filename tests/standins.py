"""A generator and judges small enough for tests of whole runs; `register` makes them known by name."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor, nn

from qdgs.generators.base import GENERATORS
from qdgs.judges.base import JUDGES

SIZE = 32


class Patches(nn.Module):
    """A patch on white: latents are its colour (red to blue), height, width and place."""

    latent_dim = 5
    image_size = SIZE
    differentiable = True
    prior_norm = 5**0.5

    def __init__(self, fault: str | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.fault = fault
        self.register_buffer("axis", torch.linspace(-1, 1, SIZE, device=device))

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((n, self.latent_dim)).astype(np.float32))

    def forward(self, latents: Tensor) -> Tensor:
        blue, height, width, x, y = latents.unbind(dim=1)
        rows = self._inside(0.5 + 0.3 * height.tanh(), 0.2 * y.tanh())
        columns = self._inside(0.5 + 0.3 * width.tanh(), 0.2 * x.tanh())
        mask = (rows[:, :, None] * columns[:, None, :])[:, None]
        share = (2 * blue).sigmoid()
        color = torch.stack([1 - share, torch.zeros_like(share), share], dim=1)[:, :, None, None]
        return self._spoilt(1 - mask * (1 - color))

    def _inside(self, half: Tensor, centre: Tensor) -> Tensor:
        return (20 * (half[:, None] - (self.axis[None] - centre[:, None]).abs())).sigmoid()

    def _spoilt(self, images: Tensor) -> Tensor:
        if self.fault == "nan":
            return images * torch.nan
        if self.fault == "shape":
            return images[:, :1]
        if self.fault == "range":
            return images * 255
        return images


class PixelJudge:
    """Reads colour and the patch's longer side off the pixels."""

    attributes: ClassVar = {"color": ("red", "blue"), "shape": ("tall", "wide")}

    def __init__(self, smallest: float = 0.02) -> None:
        self.smallest = smallest

    def judge(self, images: Tensor) -> pd.DataFrame:
        ink = 1 - images[:, 1]
        blue = ((images[:, 2] - images[:, 0]) * ink).sum((1, 2)) / ink.sum((1, 2)).clamp_min(1e-6)
        wide = ink.amax(1).sum(1) - ink.amax(2).sum(1)
        frame = pd.DataFrame({"color_score": blue.cpu().numpy(), "shape_score": wide.cpu().numpy()})
        frame["color"] = np.where(frame["color_score"] > 0, "blue", "red")
        frame["shape"] = np.where(frame["shape_score"] > 0, "wide", "tall")
        frame["quality"] = ink.mean((1, 2)).cpu().numpy()
        frame["accepted"] = frame["quality"] > self.smallest
        return frame


class OtherJudge(PixelJudge):
    """Another judge: it sees more errors."""


class RedOnly(PixelJudge):
    """A judge of colour alone."""

    attributes: ClassVar = {"color": ("red", "blue")}


def register() -> None:
    GENERATORS["patches"] = "standins:Patches"
    JUDGES["pixels"] = "standins:PixelJudge"
    JUDGES["red-only"] = "standins:RedOnly"
    JUDGES["other-pixels"] = "standins:OtherJudge"


def write_config(path: Path, clip: Path, **search: object) -> Path:
    """A configuration of a run that takes seconds."""
    data = {
        "generator": "patches",
        "guide": {
            "clip": {"model": f"local-dir:{clip}"},
            "objective": {"positive": "a shape", "negative": "half-formed"},
            "measures": [
                {"name": "color", "low": "a red shape", "high": "a blue shape", "cells": 10},
                {"name": "edges", "low": "a triangle with 3 edges", "high": "a square", "cells": 10},
            ],
            "weights": {"latent_norm": 0.5},
        },
        "search": {
            "algorithm": "cma_mae",
            "emitters": 2,
            "batch_size": 16,
            "evaluations": 640,
            "range_samples": 64,
            "prior_starts": 64,
            **search,
        },
        "dataset": {
            "images": 40,
            "label": "edges",
            "groups": {
                "color": {"cut": "auto", "low": "red", "high": "blue", "audit": "color"},
                "edges": {"cut": 0.0, "low": "tall", "high": "wide", "audit": "shape"},
            },
        },
        "judges": {"gate": "pixels", "auditor": "other-pixels"},
        "audit": {"samples": 256},
    }
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path
