"""What the auditor reads off the dataset's images: at once, or part by part, by whoever has time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from qdgs.ahead import ahead
from qdgs.cluster import device_of
from qdgs.config import RunConfig
from qdgs.datasets.manifest import StoredManifest, write_parquet
from qdgs.datasets.render import shard_starts
from qdgs.errors import CorruptFileError, QdgsError
from qdgs.fairness.audit import JudgedImages
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.judges.base import Judge
from qdgs.parts import load_judge
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.flatten import MANIFEST, open_bank
from qdgs.stages.identity import code, identity
from qdgs.stages.scoring import load_scorer
from qdgs.stages.shards import in_shards

BATCH = 256
PARTS = "readings"
"""Folder of the readings of shards, by first row and the row after the last."""

KEY = b"qdgs-readings"
EMBEDDED = "embedding_"


class Readings:
    """Reads the images of a run's dataset.

    A shard's readings are kept beside the hash of the images' files and of who read them, so that reading a
    shard again is safe, and nothing stale is ever taken.

    Args:
        run: The run, rendered.
        auditor: The judge.
        embedding: Of images.
        device: Where the judge works.
        watch: Told after each batch.
    """

    def __init__(
        self, run: Run, auditor: Judge, embedding: PixelEmbedding, *, device: str, watch: Watch = unwatched
    ) -> None:
        self._folder = run.path / "dataset"
        self._parts = run.path / PARTS
        self._manifest = StoredManifest(run.path / MANIFEST)
        self._auditor = auditor
        self._embedding = embedding
        self._who = f"{run.config.judges.auditor!r} {identity(auditor)} {code(auditor)} {identity(embedding)}"
        self._device = device
        self._watch = watch
        self._done = 0

    def keep(self, shard: tuple[int, int]) -> None:
        """Read one of several shards, unless that is done, and keep what is read.

        Raises:
            InputError: The shard does not exist.
            CorruptFileError: An image is missing or damaged.
        """
        starts = shard_starts(len(self._manifest), BATCH, shard)
        if not starts:
            return
        start, stop = starts[0], min(starts[-1] + BATCH, len(self._manifest))
        if self._kept(start, stop) is None:
            self._write(start, stop, self._read(start, stop))

    def all(self) -> JudgedImages:
        """What is read of every image, by the shards or now."""
        found = [self._kept(*span) or self._read(*span) for span in self._cut()]
        labels = [label for part in self._manifest.parts(["label"]) for label in part["label"]]
        judged = pd.concat([part.judged for part in found], ignore_index=True)
        return JudgedImages(judged, np.concatenate([part.embeddings for part in found]), labels)

    def _cut(self) -> Iterator[tuple[int, int]]:
        """The whole cut where kept parts begin and end; what lies between them in one piece."""
        position = 0
        for start, stop in sorted(_span(path) for path in self._parts.glob("*.parquet")):
            if position <= start < stop <= len(self._manifest):
                if position < start:
                    yield position, start
                yield start, stop
                position = stop
        if position < len(self._manifest):
            yield position, len(self._manifest)

    def _read(self, start: int, stop: int) -> JudgedImages:
        judged, embedded = [], []
        files = self._manifest.rows(start, stop)["file"].tolist()
        batches = read_images(self._folder, files, self._manifest.metadata["image_size"])
        for images in ahead(batch.to(self._device) for batch in batches):
            judged.append(self._auditor.judge(images))
            embedded.append(self._embedding.transform(images))
            self._tell(len(images))
        return JudgedImages(pd.concat(judged, ignore_index=True), np.concatenate(embedded))

    def _kept(self, start: int, stop: int) -> JudgedImages | None:
        """What a shard has read, where images and readers are still the same."""
        path = self._parts / _name(start, stop)
        try:
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException):
            return None
        if (table.schema.metadata or {}).get(KEY) != self._key(start, stop):
            return None
        frame: pd.DataFrame = table.to_pandas()
        embedded = [column for column in map(str, frame) if column.startswith(EMBEDDED)]
        self._tell(stop - start)
        return JudgedImages(frame.drop(columns=embedded), frame[embedded].to_numpy())

    def _write(self, start: int, stop: int, read: JudgedImages) -> None:
        columns = [f"{EMBEDDED}{index:03d}" for index in range(read.embeddings.shape[1])]
        frame = pd.concat([read.judged, pd.DataFrame(read.embeddings, columns=columns)], axis=1)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        schema = {**(table.schema.metadata or {}), KEY: self._key(start, stop)}
        write_parquet(self._parts / _name(start, stop), table.replace_schema_metadata(schema))

    def _key(self, start: int, stop: int) -> bytes:
        digest = hashlib.sha256(self._who.encode())
        for file in self._manifest.rows(start, stop)["file"]:
            digest.update(hashlib.sha256(_content(self._folder / file)).digest())
        return digest.hexdigest().encode()

    def _tell(self, images: int) -> None:
        self._done += images
        self._watch(Step("audit", self._done, len(self._manifest), "images"))


@dataclass(frozen=True)
class ReadShard:
    """Reads shards of a run's dataset in a process of Ray.

    Attributes:
        folder: The run's; every machine sees it at this place.
        config: The run's configuration.
        device: Where the judge works.
    """

    folder: Path
    config: RunConfig
    device: str

    def __call__(self, index: int, count: int) -> None:
        """Read one of `count` shards."""
        keep_shard(Run(self.folder, self.config), (index, count), device=self.device)


def keep_shard(run: Run, shard: tuple[int, int], *, device: str) -> None:
    """Let the auditor read one of several shards of a run's dataset, and keep what it reads.

    Raises:
        InputError: The shard does not exist.
        QdgsError: There is no auditor.
    """
    if run.config.judges.auditor is None:
        raise QdgsError(f"{run.path}: expected a judge in the role of auditor, got none; nothing is read")
    auditor = load_judge(run.config.judges.auditor, device=device)
    embedding = open_bank(run, load_scorer(run, device=device), device=device).embedding()
    Readings(run, auditor, embedding, device=device).keep(shard)


def read_apart(run: Run, watch: Watch) -> None:
    """Let workers of Ray read the dataset, a shard each."""
    workers, images = run.config.workers, len(StoredManifest(run.path / MANIFEST))
    shards = max(1, min(workers.count, -(-images // BATCH)))
    work = ReadShard(run.path.resolve(), run.config, device_of(workers))
    in_shards(workers, work, shards, stage="audit", images=images, watch=watch)


def read_images(folder: Path, files: Sequence[str], size: int) -> Iterator[Tensor]:
    """The images of a rendered dataset `(at most BATCH, 3, height, width)`, in the order of the files."""
    for start in range(0, len(files), BATCH):
        pixels = np.stack([_pixels(folder / file, size) for file in files[start : start + BATCH]])
        yield torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _pixels(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        raise CorruptFileError(f"{path}: is missing or damaged; run qdgs render again") from None
    if pixels.shape != (size, size, 3):
        raise CorruptFileError(
            f"{path}: expected {size}×{size} pixels, got {pixels.shape[1]}×{pixels.shape[0]}; "
            "run qdgs render again"
        )
    return pixels


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise CorruptFileError(f"{path}: is missing or damaged; run qdgs render again") from None


def _name(start: int, stop: int) -> str:
    return f"{start:010d}-{stop:010d}.parquet"


def _span(path: Path) -> tuple[int, int]:
    start, _, stop = path.stem.partition("-")
    return (int(start), int(stop)) if start.isdigit() and stop.isdigit() else (0, 0)
