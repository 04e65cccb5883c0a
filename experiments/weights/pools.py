"""Pictures that a guide is trained on, and what the teacher judge says of them."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn import functional

from captions import OTHER_COLORS, Facts
from qdgs.datasets.drawing import clean_figures, deform, draw, mix_colors, splatters
from qdgs.generators.base import generate
from qdgs.generators.shapes_vae import ShapesVAE
from qdgs.judges.shape_geometry import ShapeGeometry

SIZE = 64
Pool = tuple[np.ndarray, pd.DataFrame]


class Pools:
    """Pools by name, made once and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = time.time()

    def get(self, name: str, make: Callable[[], Pool]) -> Pool:
        """The pool of a name: pictures `(n, 3, 64, 64)` as uint8, and the teacher's rows."""
        path = self._folder / name
        if not path.with_suffix(".npy").exists():
            pictures, frame = make()
            frame.to_parquet(path.with_suffix(".parquet"))
            np.save(path.with_suffix(".npy"), pictures)
        frame = pd.read_parquet(path.with_suffix(".parquet"))
        accepted = frame["accepted"].mean()
        print(
            f"{time.time() - self._began:.0f}s pool {name}: {len(frame)}, accepted {accepted:.3f}", flush=True
        )
        return np.load(path.with_suffix(".npy")), frame


def small(images: Tensor) -> np.ndarray:
    """The guide's own size, uint8."""
    resized = functional.interpolate(images, size=SIZE, mode="bicubic", antialias=True)
    return (resized.clamp(0, 1) * 255).round().byte().numpy()


def judged(images: Tensor) -> tuple[np.ndarray, pd.DataFrame]:
    """The pictures in the guide's size and what the teacher says of them."""
    return small(images), ShapeGeometry().judge(images)


def drawn_pool(n: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Drawings: half clean or slightly soft, a third spoiled, the rest splatters."""
    pictures, frames = [], []
    names = list(OTHER_COLORS)
    for _ in range(0, n, 200):
        place = np.where(rng.random(200) < 0.4, rng.integers(0, 2, 200).astype(float), rng.random(200))
        other = np.where(rng.random(200) < 0.2, rng.integers(0, len(names), 200), -1)
        palette = np.array([OTHER_COLORS[name] for name in names])
        rgb = np.where((other >= 0)[:, None], palette[other], mix_colors(place)) + rng.normal(
            0, 0.03, (200, 3)
        )
        figures = clean_figures(rng.integers(0, 2, 200), rgb.clip(0, 1), rng)
        soft = torch.tensor(rng.uniform(1, 5, 200) / 128, dtype=torch.float32)
        figures = replace(figures, softness=soft)
        images = draw(figures)
        images[100:170] = draw(deform(figures[100:170], rng))
        images[170:] = splatters(30, rng)
        picture, frame = judged(images)
        frame["other"] = np.where(np.arange(200) < 170, other, -1)
        pictures.append(picture)
        frames.append(frame)
    return np.concatenate(pictures), pd.concat(frames, ignore_index=True)


def latents_pool(latents: Tensor) -> tuple[np.ndarray, pd.DataFrame]:
    """The generator's pictures of latents."""
    pairs = [judged(images) for images in generate(ShapesVAE(), latents, 250)]
    frame = pd.concat([pair[1] for pair in pairs], ignore_index=True).assign(other=-1)
    return np.concatenate([pair[0] for pair in pairs]), frame


def prior_pool(n: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Samples of the generator: half from the prior, half up to twice as far out."""
    latents = ShapesVAE().sample_latents(n, rng)
    scale = np.where(np.arange(n) % 2, 1.0, rng.uniform(0.3, 2.0, n))
    return latents_pool(latents * torch.tensor(scale, dtype=torch.float32)[:, None])


def facts_of(frame: pd.DataFrame) -> Facts:
    """The teacher's opinion as facts that captions are written from."""
    good = expit((frame["quality"].to_numpy(float) - 0.05) / 0.05)
    score = np.nan_to_num(frame["shape_score"].to_numpy(float))
    other = frame["other"].to_numpy(int)
    blue = np.where(other >= 0, np.nan, frame["color_score"].to_numpy(float))
    return Facts(
        good, np.clip(score / 0.7 + 0.5, 0, 1), blue, other, frame["size_score"].fillna(0).to_numpy(float)
    )
