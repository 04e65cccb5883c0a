"""What a run folder holds, as far as its report reads it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from qdgs.config import MeasureConfig, RunConfig
from qdgs.datasets.gaps import TOP_UP
from qdgs.datasets.merging import MERGED
from qdgs.errors import CorruptFileError
from qdgs.generators.base import Generator, generate
from qdgs.randomness import Stream, stream
from qdgs.report.archive import MeasureAxis
from qdgs.report.labelling import read_certificate
from qdgs.report.sheets import Pixels, as_pixels


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds, as far as pictures need it; None where a stage has not run.

    Attributes:
        folder: The run folder.
        config: Its configuration.
        summary: summary.json; empty where there is none.
        audit: audit.json; empty where there is none.
        ranges: Range of each measure, as the search settled them.
        cuts: Cut points of each grouped measure, as the flattening settled them.
        archive: Elites.
        metrics: How the search went.
        manifest: The dataset.
        shares: The audit by group.
        elite_readings: What the auditor reads off each elite.
        image_readings: What the auditor reads off each image of the dataset.
        random_readings: What it reads off each random sample, with the guide's `group`.
        certificate: What labels of a person say of the dataset.
        top_up: What the images of a user hold and lack, where the run fills their gaps.
        merged: Which runs the images come from, where it is the dataset of several.
    """

    folder: Path
    config: RunConfig
    summary: Mapping[str, Any]
    audit: Mapping[str, Any]
    ranges: Sequence[tuple[float, float]] | None
    cuts: Mapping[str, Sequence[float]] | None
    archive: pd.DataFrame | None
    metrics: pd.DataFrame | None
    manifest: pd.DataFrame | None
    shares: pd.DataFrame | None
    elite_readings: pd.DataFrame | None
    image_readings: pd.DataFrame | None
    random_readings: pd.DataFrame | None
    certificate: Mapping[str, Any] | None
    top_up: Mapping[str, Any] | None
    merged: Mapping[str, Any] | None

    @classmethod
    def read(cls, folder: Path, config: RunConfig) -> "RunFiles":
        """Read the files of a run folder; an audit of an earlier dataset is none.

        Raises:
            CorruptFileError: One is damaged.
        """
        settled = _json(folder / "search" / "settled.json")
        manifest = _frame(folder / "dataset" / "manifest.parquet")
        audited = _is_audited(folder)
        return cls(
            folder=folder,
            config=config,
            summary=_json(folder / "summary.json") or {},
            audit=(_json(folder / "audit.json") if audited else None) or {},
            ranges=None if settled is None else [tuple(ends) for ends in settled["calibration"]["ranges"]],
            cuts=_cuts(_json(folder / "dataset" / "flatten.json"), config),
            archive=_frame(folder / "search" / "archive.parquet"),
            metrics=_frame(folder / "search" / "metrics.csv"),
            manifest=manifest if manifest is not None and len(manifest) else None,
            shares=_frame(folder / "audit.csv") if audited else None,
            elite_readings=_frame(folder / "search" / "audit_elites.parquet") if audited else None,
            image_readings=_frame(folder / "audit_images.parquet") if audited else None,
            random_readings=_frame(folder / "audit_random.parquet") if audited else None,
            certificate=read_certificate(folder / "certificate.json", manifest),
            top_up=_json(folder / TOP_UP),
            merged=_json(folder / MERGED),
        )

    @cached_property
    def there(self) -> pd.DataFrame:
        """Rows of the manifest whose images are rendered."""
        if self.manifest is None:
            return pd.DataFrame({"file": []})
        found = [(self.folder / "dataset" / file).is_file() for file in self.manifest["file"]]
        return self.manifest[found]

    @property
    def rendered(self) -> bool:
        """Whether there are images of the dataset."""
        return len(self.there) > 0

    def images(self, rows: pd.DataFrame) -> Iterator[Pixels]:
        """The dataset's images of some rows of its manifest."""
        return (read_image(self.folder / "dataset" / file) for file in rows["file"])


class Renderer:
    """Pictures of latents, by a run's generator.

    Args:
        generator: The generator.
        device: Where it works.
    """

    def __init__(self, generator: Generator, device: torch.device | str = "cpu") -> None:
        self._generator = generator
        self._device = device
        self.image_size = generator.image_size

    def __call__(self, latents: Tensor) -> Iterator[Pixels]:
        """Pictures `(height, width, 3)` of latents `(n, latent_dim)`."""
        for images in generate(self._generator, latents.to(self._device)):
            yield from as_pixels(images)

    def elites(self, archive: pd.DataFrame) -> Iterator[Pixels]:
        """Pictures of some elites."""
        latents = archive.filter(regex=r"^latent_\d+$").to_numpy(dtype=np.float32, copy=True)
        return self(torch.from_numpy(latents))

    def random_samples(self, n: int, seed: int) -> list[Pixels]:
        """The first of those that the audit compares with."""
        return list(self(self._generator.sample_latents(n, stream(seed, Stream.RANDOM_SAMPLES))))


def measure_axes(files: RunFiles, solutions: pd.DataFrame) -> list[MeasureAxis]:
    """The measures of a run as axes; where a range is not settled, it is what the solutions span."""
    measures = files.config.guide.measures
    settled = files.ranges if files.ranges and len(files.ranges) == len(measures) else [None] * len(measures)
    return [
        _measure_axis(measure, solutions, known) for measure, known in zip(measures, settled, strict=True)
    ]


def read_image(path: Path) -> Pixels:
    """A PNG as `(height, width, 3)`.

    Raises:
        CorruptFileError: It is damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError):
        raise CorruptFileError(f"{path}: is missing or damaged; run qdgs render again") from None


def _is_audited(folder: Path) -> bool:
    """Whether what an audit left is of the dataset that is there: flattening again takes the audit's mark."""
    marks = folder / "stages.json"
    return not marks.exists() or "audit" in (_json(marks) or {})


def _frame(path: Path) -> pd.DataFrame | None:
    read: Callable[[Path], pd.DataFrame] = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
    try:
        return read(path) if path.exists() else None
    except (OSError, pa.ArrowException, ValueError):
        raise CorruptFileError(
            f"{path}: is damaged and cannot be read; run the stage that wrote it again"
        ) from None


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise CorruptFileError(f"{path}: is not JSON; run the stage that wrote it again") from None


def _cuts(flattened: Mapping[str, Any] | None, config: RunConfig) -> Mapping[str, Sequence[float]] | None:
    if flattened is not None and flattened.get("cuts"):
        return dict(flattened["cuts"])
    given = {name: group.cuts for name, group in config.dataset.groups.items()}
    return None if None in given.values() else {name: cuts or [] for name, cuts in given.items()}


def _measure_axis(
    measure: MeasureConfig, solutions: pd.DataFrame, settled: tuple[float, float] | None
) -> MeasureAxis:
    low, high = settled or (measure.range if measure.range != "auto" else _span(solutions[measure.name]))
    return MeasureAxis(measure.name, low, high, measure.cells, *measure.ends)


def _span(values: "pd.Series[float]") -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0
