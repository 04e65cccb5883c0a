"""Candidates for a dataset as the stages see them: rendered, judged, moved a little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from qdgs.datasets.identities import Rescore
from qdgs.datasets.manifest import latents_of
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.fairness.intervals import Array
from qdgs.generators.base import Generator
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge
from qdgs.search.evaluation import ObjectiveScale
from qdgs.stages.scoring import Scorer, scores_of


class Candidates:
    """Renders candidates once, for the gate and for the near-duplicates alike.

    Args:
        generator: Renders.
        embedding: The yardstick of near-duplicates.
        gate: Tells what is whole; sees no attribute here, only its `accepted` is asked for.
        micro_batch: Rows rendered at once.
        device: Where the generator works.
    """

    def __init__(
        self,
        generator: Generator,
        embedding: PixelEmbedding,
        gate: Judge | None,
        *,
        micro_batch: int,
        device: str,
    ) -> None:
        self._generator = generator
        self._embedding = embedding
        self._gate = gate
        self._micro_batch = micro_batch
        self._device = device
        self._embedded: dict[Any, Array] = {}

    def accept(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows the gate accepts, `(n,)`; their embeddings are kept for `embed`."""
        images = self.images(rows)
        self._embedded = dict(zip(rows.index, self._embedding.transform(images), strict=True))
        return self._accepted(images)

    def are_whole(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows the gate accepts, `(n,)`."""
        return self._accepted(self.images(rows))

    def embed(self, rows: pd.DataFrame) -> Array:
        """Embeddings `(n, embedding_dim)` of the rows' images."""
        if all(index in self._embedded for index in rows.index):
            return np.stack([self._embedded[index] for index in rows.index])
        return self._embedding.transform(self.images(rows))

    def images(self, rows: pd.DataFrame) -> torch.Tensor:
        """Images `(n, 3, height, width)` of the rows as they would be stored."""
        latents = latents_of(rows, self._device)
        return torch.cat(list(generate_quickly(self._generator, latents, self._micro_batch, as_stored)))

    def _accepted(self, images: torch.Tensor) -> NDArray[np.bool_]:
        assert self._gate is not None, "without a gate nobody asks"
        return self._gate.judge(images)["accepted"].to_numpy(bool)


def rescorer(scorer: Scorer, scale: ObjectiveScale | None, *, micro_batch: int, device: str) -> Rescore:
    """Objective and measures of rows' latents as the search would have put them into its archive.

    Args:
        scorer: Scores latents.
        scale: The archive's, None where it has the guide's own.
        micro_batch: Rows scored at once.
        device: Where the generator works.
    """

    def rescore(rows: pd.DataFrame) -> pd.DataFrame:
        told = scores_of(scorer, latents_of(rows, device), micro_batch)
        if scale is None:
            return told
        objective = torch.from_numpy(told["objective"].to_numpy(np.float32).copy())
        return told.assign(objective=scale(objective).numpy())

    return rescore
