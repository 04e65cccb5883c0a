"""A bank of random samples of a generator: embedded, judged and scored once, then read from a cache.

The numbers of an audit stand beside random samples (what a search really reached, how diverse a group is,
how near a near-duplicate), and rare groups need thousands of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.errors import QdgsError
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.fairness.intervals import Array
from qdgs.files import cache_folder
from qdgs.generators.base import Generator
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_bytes
from qdgs.guides.base import SearchGuide
from qdgs.judges.base import Judge, judge_batches
from qdgs.judges.panel import JudgePanel
from qdgs.randomness import Stream, stream
from qdgs.stages.frames import read_frame, write_frame
from qdgs.stages.identity import code, guide_key, identity
from qdgs.stages.judged_bank import known_rows
from qdgs.stages.scoring import Scorer

SHIPPED = Path(__file__).parent.parent / "weights" / "bank"
KEPT_BYTES = 2**30
BANK_SEED = 0  # one bank for all seeds of a run, so that it is made once


class Bank:
    """Random samples of one generator.

    Args:
        generator: What is sampled.
        samples: How many.
        micro_batch: Rows rendered at once.
        device: Where the generator works.
        folder: Where what was found out is kept.
        progress: Called with samples that were gone through and samples in all, whenever they have to be.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        samples: int,
        micro_batch: int,
        device: torch.device | str = "cpu",
        folder: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.generator = generator
        self.samples = samples
        self.latents = generator.sample_latents(samples, stream(BANK_SEED, Stream.BANK)).to(device)
        self.micro_batch = micro_batch
        self._folder = cache_folder() if folder is None else folder
        self._progress = progress
        self._pixels: list[Tensor] = []
        self._key = [identity(generator), code(generator), samples, micro_batch, torch.device(device).type]

    def images(self) -> Iterator[Tensor]:
        """The samples as they would be stored, batch by batch; rendered once where memory allows."""
        done = 0
        for images in self._images():
            yield images
            done += len(images)
            if self._progress is not None:
                self._progress(done, self.samples)

    def _images(self) -> Iterator[Tensor]:
        if self._pixels:
            yield from (pixels.float() / 255 for pixels in self._pixels)
            return
        kept = []
        small = self.samples * 3 * self.generator.image_size**2 <= KEPT_BYTES
        for pixels in generate_quickly(self.generator, self.latents, self.micro_batch, as_bytes):
            yield pixels.float() / 255
            if small:
                kept.append(pixels)
        self._pixels = kept

    def embedding(self) -> PixelEmbedding:
        """Principal components of the samples: one yardstick for everything that is compared."""
        path = self._file("embedding", ".npz")
        with suppress(QdgsError):
            return PixelEmbedding.load(path)
        embedding = PixelEmbedding.fit(self.images())
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            embedding.save(temporary)
            temporary.replace(path)
        return embedding

    def embeddings(self) -> Array:
        """Embeddings `(samples, embedding_dim)` of the samples."""
        frame = self._kept("embeddings", [], lambda: _columns(self.embedding().transform(self.images())))
        return frame.to_numpy(np.float64)

    def judged(self, judge: Judge) -> pd.DataFrame:
        """The judge's rows for the samples; of the shipped bank, where it has them of these very models."""
        if isinstance(judge, JudgePanel):
            return judge.joined([self.judged(one) for one in judge.judges])
        known = known_rows(
            self.generator,
            judge,
            self.samples,
            seed=BANK_SEED,
            micro_batch=self.micro_batch,
            device=self.latents.device.type,
        )
        return self._judged(judge) if known is None else known

    def _judged(self, judge: Judge) -> pd.DataFrame:
        return self._kept(
            "judged", [identity(judge), code(judge)], lambda: judge_batches(judge, self.images())
        )

    def scored(self, scorer: Scorer) -> pd.DataFrame:
        """Measures of the samples by their names, as the guide sees them."""
        guide = scorer.guide
        key = [*guide_key(guide), guide.config.model_dump(mode="json", include={"clip", "measures"})]
        return self._kept("scored", key, lambda: self._measured(guide))

    def _measured(self, guide: SearchGuide) -> pd.DataFrame:
        with torch.no_grad():
            measures = [guide.score(images).measures.cpu() for images in self.images()]
        return pd.DataFrame(torch.cat(measures).numpy(), columns=list(guide.measure_names))

    def _kept(self, kind: str, key: list[Any], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        path = self._file(kind, ".parquet", key)
        with suppress(QdgsError):
            frame = read_frame(path, "audit")
            if len(frame) == self.samples:
                return frame
        frame = make()
        with suppress(QdgsError, OSError):
            write_frame(path, frame)
        return frame

    def _file(self, kind: str, suffix: str, key: list[Any] | None = None) -> Path:
        name = hashlib.sha256(repr([kind, *self._key, *(key or [])]).encode()).hexdigest()[:24]
        shipped = SHIPPED / f"{kind}-{name}{suffix}"
        return shipped if shipped.is_file() else self._folder / shipped.name


def _columns(values: Array) -> pd.DataFrame:
    return pd.DataFrame(
        values.astype(np.float32), columns=[f"e{column:02d}" for column in range(values.shape[1])]
    )
