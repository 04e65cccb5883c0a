"""What is not generator and guide: bookkeeping of a large search, and the way from images to PNG files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.datasets.render import render
from qdgs.generators.base import MICRO_BATCH, is_thread_safe
from qdgs.search import checkpoint
from qdgs.search.loop import illuminate
from qdgs.search.state import Search
from qdgs.side_by_side import side_by_side
from qdgs.stages.live import write_live
from qdgs.stages.search import LIVE_SECONDS, SAVING_SHARE
from speed_task import ENGINES, Task

FACES_CELLS = (50, 25, 5, 25)
"""The grid of the published faces: 156,250 cells."""

FACES_LATENTS = 512
FAMILIES = 1000


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


@dataclass(frozen=True)
class Outside:
    """What a large search takes beside its score: 156,250 cells, 512 latents, 8 emitters of 32.

    Attributes:
        seconds: Of each iteration, restarts among them.
        showing: Of what is written for whoever watches.
        saving: Of a checkpoint.
        checkpoint_gib: Its file.
    """

    seconds: list[float]
    showing: float
    saving: float
    checkpoint_gib: float

    def share(self, scoring: float) -> float:
        """Share of a search's time where an iteration's score takes these seconds, checkpoints included."""
        working = scoring / (scoring + mean(self.seconds)) * LIVE_SECONDS / (LIVE_SECONDS + self.showing)
        pause = max(SearchConfig().checkpoint_seconds, self.saving / SAVING_SHARE)
        return 1 - working * pause / (pause + self.saving)


def outside(algorithm: str, iterations: int, clock: Callable[[], float]) -> Outside:
    """Time a search whose archives are full; all emitters restart in one of five iterations.

    The first, in which pyribs compiles, are left out.
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
    _fill(search)
    seconds, warm_up = [], 2
    loop = illuminate(search, 10**6)
    for _ in range(warm_up + iterations):
        score.seconds, begun = 0.0, clock()
        next(loop)
        seconds.append(clock() - begun - score.seconds)
    with tempfile.TemporaryDirectory() as folder:
        file, begun = Path(folder) / "checkpoint.bin", clock()
        checkpoint.save(search, file)
        saving, begun = clock() - begun, clock()
        write_live(Path(folder), search)
        return Outside(seconds[warm_up:], clock() - begun, saving, file.stat().st_size / 2**30)


def _fill(search: Search) -> None:
    """Put a poor solution into every cell of the archives and of the reservoir."""
    annealed, elitist = search.scheduler.archive, search.archive
    rng = np.random.default_rng(0)
    corners = np.stack([elitist.lower_bounds, elitist.upper_bounds - elitist.lower_bounds])
    steps = (np.indices(FACES_CELLS).reshape(len(FACES_CELLS), -1).T + 0.5) / FACES_CELLS
    centres = (corners[0] + steps * corners[1]).astype(np.float32)
    for some in np.array_split(centres, 64):
        latents = rng.standard_normal((len(some), FACES_LATENTS), dtype=np.float32)
        poor = np.ones(len(some), np.float32)
        lineage = rng.integers(0, FAMILIES, len(some), dtype=np.int32)
        for archive in {id(archive): archive for archive in (annealed, elitist)}.values():
            archive.add(latents, poor, some, lineage=lineage)
        search.reservoir.add(elitist.index_of(some).astype(np.int64), latents, poor, some, lineage)


def rendered_per_second(task: Task, images: int, index: int, folder: Path) -> float:
    """Images a second from latents to PNG files in a new folder.

    It stays: on some file systems files are made more slowly while others have just been deleted.
    """
    latents = task.latents(images, index).cpu().numpy()
    manifest = pd.DataFrame(latents, columns=[f"latent_{column:04d}" for column in range(latents.shape[1])])
    names = [f"{number:06d}" for number in range(images)]
    manifest = manifest.assign(id=names, file=[f"train/a/{name}.png" for name in names], label="a")
    begun = task.clock()
    render(manifest, task.engine.generator, folder, micro_batch=MICRO_BATCH, device=task.device)
    return images / (task.clock() - begun)


def generated_per_second(task: Task, images: int, index: int, batch: int, layout: str) -> float:
    """Images a second of the generator alone, at one batch size and layout; as qdgs runs it in threads."""
    generator = task.scorer(layout).generator
    portions = task.latents(images, index).split(batch)
    through = side_by_side if layout == ENGINES and is_thread_safe(generator) else map
    begun = task.clock()
    with torch.no_grad():
        for _ in through(generator, portions):
            pass
    task.wait()
    return images / (task.clock() - begun)
