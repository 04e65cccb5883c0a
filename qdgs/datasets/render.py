"""From a manifest to images: the same pixels every time, on one machine or in shards on many."""

import hashlib
import json
import os
import socket
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from qdgs.datasets.manifest import ROW_GROUP, StoredManifest, latent_columns, latents_of, write_failure
from qdgs.datasets.metadata import label_names, write_metadata
from qdgs.datasets.png import encoded
from qdgs.errors import InputError, QdgsError, is_out_of_memory
from qdgs.generators.base import Generator, images_of, padded_batches
from qdgs.generators.quick import WORTH_TRYING, QuickGenerator
from qdgs.generators.stored import as_bytes
from qdgs.side_by_side import AT_ONCE, overlapping, side_by_side

SOFTWARE = "qdgs"
RECIPE = "qdgs-recipe"
STALE_SECONDS = 3600.0
"""Age at which half an image must be one that a killed process left behind."""

TOGETHER = 8
"""Images that a thread is handed at a time: each hand-over holds up the process that makes the images."""


@dataclass(frozen=True)
class Rendered:
    """What rendering did.

    Attributes:
        written: Images written.
        reused: Images that were already there, made from the same recipe.
        removed: Images of an earlier manifest that this one does not have.
    """

    written: int
    reused: int
    removed: int


def render(
    manifest: pd.DataFrame | StoredManifest,
    generator: Generator,
    root: Path,
    *,
    micro_batch: int,
    shard: tuple[int, int] | None = None,
    metadata: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int = 2,
    device: torch.device | str = "cpu",
) -> Rendered:
    """Write the images of a manifest as PNG, and `train/metadata.parquet` with their labels.

    Micro-batches are the same whatever the shard, so that shards rendered apart and copied into one folder
    equal the whole; the first one writes the metadata and removes what is left of an earlier manifest, as
    the whole does. A manifest that stays on disk is read in parts. Every file appears whole or not at all.
    An image that is already there is kept where its recipe (latent, generator, micro-batch, device) is the
    same, so that an interrupted rendering goes on where it stopped.

    Args:
        manifest: One row an image, here or on disk.
        generator: What rendered it.
        root: The dataset's folder; files go to `root / manifest.file`.
        micro_batch: Rows generated at once.
        shard: (i, n): only the i-th of n parts, i from 0 to n − 1; None is everything.
        metadata: The manifest's; where None, every image is rendered again.
        labels: Names of the label in the order of their numbers; where None, as `metadata` has them, or
            sorted.
        progress: Called with images done and images in all, after each micro-batch.
        threads: Threads that encode while the generator goes on.
        device: Where the generator wants its latents.

    Raises:
        InputError: The manifest does not fit the generator, or the shard does not exist.
        QdgsError: A file cannot be written.
        GeneratorError: The generator broke its contract.
    """
    whole = _Rows(manifest)
    _check_fit(whole.between(0, min(1, len(whole))), generator)
    starts = shard_starts(len(whole), micro_batch, shard)
    total = sum(min(micro_batch, len(whole) - start) for start in starts)
    reused = written = 0
    writer = _Writer(root, threads, limit=4 * micro_batch)
    trying = len(starts) > WORTH_TRYING
    maker = _Maker(generator, writer, micro_batch, metadata, torch.device(device), trying=trying)
    with writer:
        batches = (whole.between(start, min(start + micro_batch, len(whole))) for start in starts)
        for rows, new in overlapping(maker, batches, maker.at_once):
            reused, written = (reused, written + rows) if new else (reused + rows, written)
            if progress is not None:
                progress(reused + written, total)
    if shard is not None and shard[0]:
        return Rendered(written, reused, 0)
    names = {label for part in whole.parts(["label"]) for label in part["label"].unique()}
    if labels is None:
        labels = label_names(pd.DataFrame({"label": sorted(names)}), metadata)
    write_metadata(whole.parts(), root, labels)
    return Rendered(written, reused, _remove_foreign(root, whole.parts(["file"])))


def shard_starts(images: int, micro_batch: int, shard: tuple[int, int] | None) -> list[int]:
    """First rows of the micro-batches of a shard: one run of neighbouring micro-batches, sizes within one.

    Raises:
        InputError: The shard does not exist.
    """
    starts = list(range(0, images, micro_batch))
    if shard is None:
        return starts
    index, count = shard
    if count < 1 or not 0 <= index < count:
        raise InputError(f"shard: expected i/N with i from 0 to N - 1, got {index}/{count}")
    return starts[len(starts) * index // count : len(starts) * (index + 1) // count]


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Images `(n, 3, height, width)` in [0, 1] → pixels `(n, height, width, 3)`, rounded to nearest."""
    return _on_the_cpu(_as_pixels(images))


def _as_pixels(images: torch.Tensor) -> torch.Tensor:
    """The same as a tensor, where the images are."""
    return as_bytes(images.permute(0, 2, 3, 1))


def _on_the_cpu(pixels: torch.Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.cpu().numpy())


class _Rows:
    """The rows of a manifest; of one on disk the part that is being worked on is kept."""

    def __init__(self, manifest: pd.DataFrame | StoredManifest) -> None:
        self._manifest = manifest
        self._start, self._part = 0, pd.DataFrame()

    def __len__(self) -> int:
        return len(self._manifest)

    def between(self, start: int, stop: int) -> pd.DataFrame:
        if isinstance(self._manifest, pd.DataFrame):
            return self._manifest.iloc[start:stop]
        if not self._start <= start <= stop <= self._start + len(self._part):
            self._start = start
            self._part = self._manifest.rows(start, min(start + ROW_GROUP, len(self)))
        return self._part.iloc[start - self._start : stop - self._start]

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        if isinstance(self._manifest, StoredManifest):
            yield from self._manifest.parts(columns)
            return
        rows = self._manifest if columns is None else self._manifest[list(columns)]
        for start in range(0, max(len(rows), 1), ROW_GROUP):
            yield rows.iloc[start : start + ROW_GROUP]


class _Maker:
    """Makes the images of a micro-batch's rows and has them written, unless they are there already.

    Where the generator was found to work in portions side by side, the thread that makes a portion also
    writes its images; else others write while the next ones are made.
    """

    def __init__(
        self,
        generator: Generator,
        writer: "_Writer",
        micro_batch: int,
        metadata: Mapping[str, Any] | None,
        device: torch.device,
        *,
        trying: bool,
    ) -> None:
        self._generator = generator
        self._writer = writer
        self._micro_batch = micro_batch
        self._metadata = metadata
        self._device = device
        self._quick = QuickGenerator(generator, _as_pixels, trying=trying)
        self.at_once = self._quick.at_once

    def __call__(self, rows: pd.DataFrame) -> tuple[int, bool]:
        """How many rows, and whether their images had to be written."""
        latents = latents_of(rows)
        recipes = _recipes(latents, self._metadata, self._micro_batch, self._device.type)
        if self._metadata is not None and _all_there(self._writer.root, rows, recipes):
            return len(rows), False
        batch, _ = next(padded_batches(latents.to(self._device), self._micro_batch))
        files, size = rows["file"].tolist(), self._quick.portion(self._micro_batch)
        if size is None:
            self._writer.write(files, self._pixels(batch, len(files)), recipes)
            return len(rows), True
        self._writer.make_folders(files)
        try:
            self._in_portions(batch, size, files, recipes)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            pixels = self._pixels(batch, len(files))  # in ever smaller portions
            _write_pngs(self._writer.root, files, pixels, recipes)
        return len(rows), True

    def _pixels(self, batch: torch.Tensor, real: int) -> NDArray[np.uint8]:
        return _on_the_cpu(self._quick(batch)[:real])

    def _in_portions(
        self, batch: torch.Tensor, size: int, files: Sequence[str], recipes: Sequence[str]
    ) -> None:
        def write(start: int) -> None:
            some = slice(start, min(start + size, len(files)))
            pixels = to_pixels(images_of(self._generator, batch[start : start + size]))
            _write_pngs(self._writer.root, files[some], pixels[: len(files[some])], recipes[some])

        # also those that hold padding alone: a way was probed with as many portions
        for _ in side_by_side(write, range(0, len(batch), size), AT_ONCE):
            pass


class _Writer:
    """Encodes and writes images in threads; errors surface at the next call or at the end."""

    def __init__(self, root: Path, threads: int, limit: int) -> None:
        self.root = root
        self.limit = limit // TOGETHER
        self.folders: set[str] = set()
        self.pool = ThreadPoolExecutor(max_workers=threads)
        self.waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._drain(0)

    def make_folders(self, files: Sequence[str]) -> None:
        for folder in {os.path.dirname(file) for file in files} - self.folders:
            _make(self.root / folder)
            self.folders.add(folder)

    def write(self, files: Sequence[str], pixels: NDArray[np.uint8], recipes: Sequence[str]) -> None:
        self.make_folders(files)
        for start in range(0, len(files), TOGETHER):
            some = slice(start, start + TOGETHER)
            parts = files[some], pixels[some], recipes[some]
            self.waiting.append(self.pool.submit(_write_pngs, self.root, *parts))
        self._drain(self.limit)

    def _drain(self, limit: int) -> None:
        while len(self.waiting) > limit:
            self.waiting.popleft().result()


def _write_pngs(root: Path, files: Sequence[str], pixels: NDArray[np.uint8], recipes: Sequence[str]) -> None:
    # Two processes may render the same image where a shard that was thought lost was begun again. Names are
    # strings: paths of pathlib would take half as long as the files do.
    process = f"{socket.gethostname()}-{os.getpid()}"
    for file, image, recipe in zip(files, pixels, recipes, strict=True):
        folder, name = os.path.split(file)
        path, temporary = os.path.join(root, file), os.path.join(root, folder, f".{name}.{process}.tmp")
        data = encoded(image, {"Software": SOFTWARE, RECIPE: recipe})
        try:
            with open(temporary, "wb") as stream:
                stream.write(data)
            os.replace(temporary, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise _unwritten(Path(path), error) from None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(folder, error) from None


def _unwritten(path: Path, error: OSError) -> QdgsError:
    return QdgsError(
        f"{path}: cannot be written: {write_failure(error)}; the images written so far are kept, and "
        "rendering again goes on from them"
    )


def _recipes(
    latents: torch.Tensor, metadata: Mapping[str, Any] | None, micro_batch: int, device: str
) -> list[str]:
    """Hash of everything that an image's pixels come from, one a row; `device` is where they are made."""
    shared = {key: (metadata or {}).get(key) for key in ("generator", "image_size", "version")}
    shared["device"] = device
    common = json.dumps([shared, micro_batch], sort_keys=True).encode()
    return [hashlib.sha256(common + row.tobytes()).hexdigest() for row in latents.numpy().astype("<f4")]


def _all_there(root: Path, rows: pd.DataFrame, recipes: Sequence[str]) -> bool:
    return all(_recipe_of(root / file) == recipe for file, recipe in zip(rows["file"], recipes, strict=True))


def _recipe_of(path: Path) -> str | None:
    """The recipe that an intact PNG of ours was made from, else None."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            recipe = image.info.get(RECIPE)
            image.verify()  # checks the checksum of every chunk
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, zlib.error):
        return None
    return recipe if isinstance(recipe, str) else None


def _remove_foreign(root: Path, parts: Iterable[pd.DataFrame]) -> int:
    """Remove images of ours that the manifest does not have; other files are left alone.

    Of each name 64 bits are kept: a foreign image may stay by a chance of one in 10¹¹, none goes wrongly.
    """
    known = np.sort(np.concatenate([_hashes(part["file"].tolist()) for part in parts]))
    removed = 0
    for folder in sorted(path for path in (root / "train").iterdir() if path.is_dir()):
        for names in _names(folder):
            hashes = _hashes([f"train/{folder.name}/{name}" for name in names])
            foreign = ~np.isin(hashes, known)
            removed += sum(_remove(folder / names[index]) for index in np.flatnonzero(foreign))
        if removed and not any(folder.iterdir()):
            folder.rmdir()
    return removed


def _names(folder: Path) -> Iterator[list[str]]:
    """Names of the images in a folder, `ROW_GROUP` at a time."""
    names = (entry.name for entry in os.scandir(folder) if entry.name.endswith((".png", ".tmp")))
    while part := list(islice(names, ROW_GROUP)):
        yield part


def _remove(path: Path) -> int:
    """Remove an image of ours, or what a killed process left of one an hour ago; 1 where it was an image."""
    if path.suffix == ".tmp":
        with suppress(FileNotFoundError):
            if path.name.startswith(".") and time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        return 0
    if _recipe_of(path) is None:
        return 0
    path.unlink()
    return 1


def _hashes(names: list[str]) -> NDArray[np.uint64]:
    return pd.util.hash_array(np.array(names, dtype=object), categorize=False)


def _check_fit(manifest: pd.DataFrame, generator: Generator) -> None:
    width = len(latent_columns(manifest))
    if width != generator.latent_dim:
        raise InputError(
            f"manifest: expected latents of length {generator.latent_dim} for this generator, got {width}; "
            "render with the generator that the manifest names"
        )
