"""The datasets that are merged, and which of their images look the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from qdgs.config import RunConfig
from qdgs.datasets.duplicates import DuplicateFilter
from qdgs.datasets.manifest import Manifest
from qdgs.datasets.merging import SOURCE
from qdgs.parts import load_generator
from qdgs.report.run_files import read_image
from qdgs.run import Step, Watch
from qdgs.stages.bank import Bank

BATCH = 256


@dataclass(frozen=True)
class Source:
    """The dataset of a run.

    Attributes:
        name: Distinguishes it among those that are merged.
        path: The run folder.
        config: Its configuration.
        manifest: Its manifest.
    """

    name: str
    path: Path
    config: RunConfig
    manifest: Manifest

    @property
    def generator(self) -> str:
        """What tells its generator from others."""
        return str(self.manifest.metadata["generator"].get("sha256"))


def look_like_none_before(
    candidates: pd.DataFrame, sources: Sequence[Source], *, device: str, watch: Watch
) -> NDArray[np.bool_]:
    """Which candidates look like none before them, `(n,)`.

    Left out is what has the pixels of another, and what is a near-duplicate of one of the same generator, by
    the larger of the distances that the runs dropped theirs by.

    Args:
        candidates: Rows with `source` and `file`.
        sources: Where they come from.
        device: Where generators work, whose random samples are the yardstick.
        watch: Told after each batch.
    """
    filters = _filters(sources, device=device)
    of = {source.name: source for source in sources}
    seen: set[bytes] = set()
    parts = []
    for start in range(0, len(candidates), BATCH):
        rows = candidates.iloc[start : start + BATCH]
        files = zip(rows[SOURCE], rows["file"], strict=True)
        images = [read_image(of[name].path / "dataset" / file) for name, file in files]
        kept = np.array([_is_new(image, seen) for image in images])
        generators = rows[SOURCE].map(lambda name: of[name].generator).to_numpy()
        for generator, near in filters.items():
            mine = np.flatnonzero(kept & (generators == generator))
            kept[mine] = near(np.stack([images[place] for place in mine])) if len(mine) else kept[mine]
        parts.append(kept)
        watch(Step("compare", start + len(rows), len(candidates), "images"))
    return np.concatenate(parts)


def _is_new(pixels: NDArray[np.uint8], seen: set[bytes]) -> bool:
    """Whether no image before has these pixels; the image counts from now on."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    new = digest not in seen
    seen.add(digest)
    return new


def _filters(sources: Sequence[Source], *, device: str) -> dict[str, _Near]:
    """A filter of near-duplicates for each generator that several sources have."""
    found = {}
    for one in sources:
        same = [source for source in sources if source.generator == one.generator]
        distances = [
            (source.manifest.metadata.get("report") or {}).get("min_distance", 0.0) for source in same
        ]
        if len(same) > 1 and max(distances) > 0 and one.generator not in found:
            found[one.generator] = _Near(one, max(distances), device)
    return found


class _Near:
    """Tells images that are not near-duplicates of earlier ones.

    Args:
        source: A source of the generator, whose random samples are the yardstick.
        distance: Below which two images are near-duplicates.
        device: Where the generator works.
    """

    def __init__(self, source: Source, distance: float, device: str) -> None:
        bank = Bank(
            load_generator(source.config.generator, device=device),
            samples=source.config.audit.samples,
            micro_batch=source.manifest.metadata["micro_batch"],
            device=device,
        )
        self._embedding = bank.embedding()
        self._filter = DuplicateFilter(distance)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of images `(n, height, width, 3)` are no near-duplicates, `(n,)`."""
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return self._filter.keep(self._embedding.transform(images))
