"""What is not generator and guide: bookkeeping of a large search, and the way from images to PNG files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.datasets.render import render
from qdgs.generators.base import MICRO_BATCH
from qdgs.search.loop import illuminate
from qdgs.search.state import Search
from speed_task import Task

FACES_CELLS = (50, 25, 5, 25)
"""The grid of the published faces: 156,250 cells."""

FACES_LATENTS = 512


class Projection:
    """A score that costs next to nothing, and tells how long it took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        rng = np.random.default_rng(0)
        matrix = rng.standard_normal((FACES_LATENTS, 1 + len(FACES_CELLS))) / FACES_LATENTS**0.5
        self._matrix = torch.from_numpy(matrix.astype(np.float32))
        self.seconds = 0.0

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Objective and measures."""
        begun = self._clock()
        values = latents @ self._matrix
        self.seconds += self._clock() - begun
        return 100 + values[:, 0], values[:, 1:]


def bookkeeping(algorithm: str, iterations: int, clock: Callable[[], float]) -> list[float]:
    """Seconds outside of the score of each iteration: 156,250 cells, 512 latents, 8 emitters of 32.

    The first iterations, in which pyribs compiles, are left out.
    """
    measures = [MeasureConfig(name=f"m{index}", low=["a"], high=["b"], cells=cells)
                for index, cells in enumerate(FACES_CELLS)]  # fmt: skip
    score = Projection(clock)
    search = Search.begin(
        SearchConfig(algorithm=algorithm, emitters=8, batch_size=32, evaluations=10**6),  # type: ignore[arg-type]
        measures,
        score,
        latent_dim=FACES_LATENTS,
        differentiable=True,
        sample_prior=lambda n, rng: rng.standard_normal((n, FACES_LATENTS)).astype(np.float32),
        seed=0,
    )
    seconds, warm_up = [], 2
    loop = illuminate(search, 10**6)
    for _ in range(warm_up + iterations):
        score.seconds, begun = 0.0, clock()
        next(loop)
        seconds.append(clock() - begun - score.seconds)
    return seconds[warm_up:]


def rendered_per_second(task: Task, images: int, index: int) -> float:
    """Images a second from latents to PNG files."""
    latents = task.latents(images, index).cpu().numpy()
    manifest = pd.DataFrame(latents, columns=[f"latent_{column:04d}" for column in range(latents.shape[1])])
    names = [f"{number:06d}" for number in range(images)]
    manifest = manifest.assign(id=names, file=[f"train/a/{name}.png" for name in names], label="a")
    with tempfile.TemporaryDirectory() as folder:
        begun = task.clock()
        render(manifest, task.engine.generator, Path(folder), micro_batch=MICRO_BATCH, device=task.device)
        return images / (task.clock() - begun)


def generated_per_second(task: Task, images: int, index: int, batch: int) -> float:
    """Images a second of the generator alone, at one batch size."""
    latents = task.latents(images, index)
    begun = task.clock()
    with torch.no_grad():
        for start in range(0, images, batch):
            task.generator(latents[start : start + batch])
    task.wait()
    return images / (task.clock() - begun)
