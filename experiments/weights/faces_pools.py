"""Pictures of faces that a guide is trained on, what the judges say of them, and ways of spoiling them."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from qdgs.generators.base import Generator, generate
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge, judge_batches
from qdgs.parts import load_judge
from qdgs.stages.judged_bank import JudgedBank

SIZE = 64
TEACHERS = ("faces-dlib", "face-light")
AUDITOR = "faces-xception"
READ_AT_ONCE = 256
Pool = tuple[np.ndarray, pd.DataFrame]
"""Pictures `(n, 3, 64, 64)` as uint8, and rows `<judge>/<column>` with `spoiled` in [0, 1]."""


class Pools:
    """Pools by name, made once and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._began = time.time()

    def get(self, name: str, make: Callable[[], Pool]) -> Pool:
        """The pool of a name; its pictures are written last, and at once."""
        pictures_at, rows_at = (self._folder / f"{name}.{suffix}" for suffix in ("npy", "parquet"))
        if not pictures_at.exists():
            pictures, rows = make()
            rows.to_parquet(rows_at)
            partial = self._folder / f".{name}.{os.getpid()}.npy"
            np.save(partial, pictures)
            partial.replace(pictures_at)
        rows = pd.read_parquet(rows_at)
        accepted = rows["faces-dlib/accepted"].mean()
        print(
            f"{time.time() - self._began:.0f}s pool {name}: {len(rows)}, accepted {accepted:.3f}", flush=True
        )
        return np.load(pictures_at, mmap_mode="r"), rows


def bank_pool(bank: JudgedBank, generator: Generator, rows: range) -> Pool:
    """Samples of the bank, rendered again; their judges' rows are those of the bank."""
    judged = {name: bank.judged(name).iloc[rows.start : rows.stop] for name in (*TEACHERS, AUDITOR)}
    return pictures_of(generator, bank.latents(generator, rows)), _joined(judged)


def beyond_pool(generator: Generator, n: int, rng: np.random.Generator) -> Pool:
    """Half beyond the prior's shell, by up to twice its radius, half between the latents of two images.

    What lies far out counts as spoiled, whatever the judges find in it.
    """
    latents = generator.sample_latents(n, rng)
    far = np.arange(n) % 2 == 0
    scale = np.where(far, rng.uniform(1.15, 2.0, n), 1.0)
    others = generator.sample_latents(n, rng)
    share = torch.tensor(np.where(far, 0.0, rng.uniform(0.3, 0.7, n)), dtype=torch.float32)[:, None]
    mixed = torch.lerp(latents, others, share) * torch.tensor(scale, dtype=torch.float32)[:, None]
    pictures, rows = latents_pool(generator, mixed, judges=TEACHERS)
    return pictures, rows.assign(spoiled=np.clip((scale - 1.15) / 0.6, 0, 1))


def latents_pool(generator: Generator, latents: Tensor, judges: Sequence[str] = (*TEACHERS, AUDITOR)) -> Pool:
    """The generator's pictures of latents, judged now."""
    pictures = pictures_of(generator, latents)
    images = [batch.float() / 255 for batch in torch.from_numpy(pictures).split(READ_AT_ONCE)]
    return pictures, _joined({name: _judged(load_judge(name), images) for name in judges})


def pictures_of(generator: Generator, latents: Tensor) -> np.ndarray:
    """Pictures of latents as they would be stored."""
    batches = (as_stored(images) for images in generate(generator, latents))
    return np.concatenate([(images * 255).round().byte().numpy() for images in batches])


def _judged(judge: Judge, batches: Iterable[Tensor]) -> pd.DataFrame:
    return judge_batches(judge, batches)


def _joined(judged: dict[str, pd.DataFrame]) -> pd.DataFrame:
    frames = [frame.reset_index(drop=True).add_prefix(f"{name}/") for name, frame in judged.items()]
    return pd.concat(frames, axis=1).assign(spoiled=0.0)


def spoiled(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Every image spoiled in one of the ways below, at random.

    Args:
        images: `(n, 3, 64, 64)`.
        rng: Chooses.
    """
    parts = [part for part in torch.arange(len(images)).tensor_split(len(WAYS)) if len(part)]
    result = images.clone()
    for part, way in zip(parts, rng.permutation(len(WAYS)), strict=False):
        result[part] = WAYS[way](images[part], images, rng)
    return result.clamp(0, 1)


def shuffled(images: Tensor, _: Tensor, rng: np.random.Generator) -> Tensor:
    """Patches of a quarter of the side, changed places."""
    n, patch = len(images), SIZE // 4
    parts = images.reshape(n, 3, 4, patch, 4, patch).permute(2, 4, 0, 1, 3, 5).reshape(16, n, 3, patch, patch)
    mixed = parts[torch.from_numpy(rng.permutation(16))].reshape(4, 4, n, 3, patch, patch)
    return mixed.permute(2, 3, 0, 4, 1, 5).reshape(n, 3, SIZE, SIZE)


def blurred(images: Tensor, _: Tensor, rng: np.random.Generator) -> Tensor:
    """Made small and large again."""
    small = functional.interpolate(images, size=int(rng.integers(9, 21)), mode="area")
    return functional.interpolate(small, size=SIZE, mode="bicubic")


def discolored(images: Tensor, _: Tensor, rng: np.random.Generator) -> Tensor:
    """Channels changed places, inverted, or one of them taken away."""
    kind = rng.integers(0, 3)
    if kind == 0:
        return 1 - images
    if kind == 1:
        return images[:, [[1, 2, 0], [2, 0, 1], [2, 1, 0], [1, 0, 2]][rng.integers(0, 4)]]
    tint = torch.ones(3)
    tint[int(rng.integers(0, 3))] = float(rng.uniform(0, 0.3))
    return images * tint[:, None, None]


def doubled(images: Tensor, others: Tensor, rng: np.random.Generator) -> Tensor:
    """Two faces on top of each other."""
    share = float(rng.uniform(0.35, 0.65))
    return share * images + (1 - share) * _of(others, len(images), rng)


def halved(images: Tensor, others: Tensor, rng: np.random.Generator) -> Tensor:
    """The upper or left half of one and the other half of another."""
    result, other = images.clone(), _of(others, len(images), rng)
    side = slice(0, SIZE // 2)
    if rng.random() < 0.5:
        result[:, :, side] = other[:, :, side]
    else:
        result[:, :, :, side] = other[:, :, :, side]
    return result


def stained(images: Tensor, _: Tensor, rng: np.random.Generator) -> Tensor:
    """Blots of any colour."""
    coarse = torch.from_numpy(rng.random((len(images), 4, 7, 7), dtype=np.float32))
    large = functional.interpolate(coarse, size=SIZE, mode="bicubic")
    cover = ((large[:, 3:] - 0.5) * 6).sigmoid()
    return images * (1 - cover) + large[:, :3] * cover


WAYS = (shuffled, blurred, discolored, doubled, halved, stained)


def _of(others: Tensor, n: int, rng: np.random.Generator) -> Tensor:
    return others[torch.from_numpy(rng.integers(0, len(others), n))]


def moved(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The batch mirrored at random and moved by up to two pixels: no caption speaks of that."""
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
    down, right = (int(place) for place in rng.integers(0, 5, 2))
    images = padded[:, :, down : down + SIZE, right : right + SIZE]
    return images.flip(3) if rng.random() < 0.5 else images
