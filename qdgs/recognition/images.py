"""Images by identity: which there are, and reading them for training.

The field's older sets are MXNet RecordIO files. MXNet is retired and its reader does not install beside
today's numpy, so those who train today unpack them into a folder an identity; that folder, with a CSV beside
it, is what is read and written here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qdgs.datasets.manifest import read_manifest
from qdgs.errors import InputError
from qdgs.files import write_text
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels, augment
from qdgs.recognition.tables import read_table
from qdgs.recognition_config import AugmentationConfig

INDEX = "index.csv"
MANIFEST = "manifest.parquet"
UNREADABLE = "unreadable.txt"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What images are read as, whatever their names: among Pillow's other formats some start other programs."""
AUGMENT, ORDER, DROPOUT, WEIGHTS = range(4)
"""What random numbers of a training are for."""

Key = tuple[int, int]
"""Epoch and row."""


@dataclass(frozen=True)
class IdentityImages:
    """Images whose identities are known.

    Attributes:
        files: Path of each image.
        labels: Number of its identity, `(n,)`.
        names: Name of each identity, by its number.
        left_out: Identities with too few images.
        groups: Group of each image `(n,)`, where groups are known.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    groups: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.files)


def read_identities(folder: Path, *, min_images: int = 2) -> IdentityImages:
    """The images of a folder: of `index.csv`, of a qdgs run with identities, or of a folder an identity.

    Args:
        folder: As `data.folder` of a configuration.
        min_images: Identities with fewer are left out.

    Raises:
        InputError: There is no such folder, or it holds fewer than two such identities.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images by identity, got none")
    table = _listed(folder)
    counts = table.groupby("identity")["file"].transform("size")
    kept = table[counts >= min_images]
    names = sorted(kept["identity"].unique())
    if len(names) < 2:
        raise InputError(
            f"{folder}: expected at least two identities with {min_images} images or more, got {len(names)} "
            f"among {table['identity'].nunique()} identities"
        )
    numbers = {name: number for number, name in enumerate(names)}
    return IdentityImages(
        tuple(kept["file"]),
        kept["identity"].map(numbers).to_numpy(np.int64),
        tuple(names),
        tuple(sorted(table.loc[counts < min_images, "identity"].unique())),
        kept["group"].to_numpy(str) if "group" in kept else None,
    )


def _listed(folder: Path) -> pd.DataFrame:
    """Columns file, identity and perhaps group."""
    _check_name(folder)
    for dataset in (folder, folder / "dataset"):
        if (dataset / MANIFEST).is_file():
            return _of_manifest(dataset)
    if (folder / INDEX).is_file():
        return _of_index(folder)
    found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    for path in found:
        _check_name(path)
    return pd.DataFrame(
        {"file": [str(path) for path in found], "identity": [path.parent.name for path in found]}
    )


def _check_name(path: Path) -> None:
    """Tables, configurations and lists of files are in UTF-8, and so are the names in them."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"images: expected names in UTF-8, got a file or folder {os.fsencode(path)!r}; rename it"
        ) from None


def _of_manifest(dataset: Path) -> pd.DataFrame:
    rows = read_manifest(dataset / MANIFEST).rows
    if "identity" not in rows:
        raise InputError(f"{dataset}: expected a dataset with identities, got none; set dataset.identities")
    return rows[["file", "identity", "group"]].assign(file=[str(dataset / file) for file in rows["file"]])


def _of_index(folder: Path) -> pd.DataFrame:
    path = folder / INDEX
    rows = read_table(path)
    for column in ("file", "identity"):
        if column not in rows:
            raise InputError(f"{path}: expected columns file and identity, got {', '.join(rows.columns)}")
    if (rows["identity"] == "").any():
        line = int(np.argmax(rows["identity"] == "")) + 2
        raise InputError(f"{path}: expected an identity in every row, got none on line {line}")
    return rows.assign(file=[str(folder / file) for file in rows["file"]])


def read_image(path: str | Path, image_size: int) -> Pixels | None:
    """Pixels `(image_size, image_size, 3)` of a file, None where it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return pixels_of(image, image_size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def pixels_of(image: Image.Image, image_size: int) -> Pixels:
    """Pixels `(image_size, image_size, 3)`, scaled where the image has another size."""
    image = image.convert("RGB")
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.array(image)


class Faces(Dataset[tuple[Tensor, int, list[str]]]):
    """Augmented images by epoch and row; the same key gives the same image, whoever asks and when.

    The place of an image that cannot be read is taken by the next that can, so that every step has as many
    images as any other; where none can, it is black.

    Args:
        images: What there is.
        image_size: Height and width that images are scaled to.
        augmentation: How often they are made worse.
        seed: Seed of the run.
    """

    def __init__(
        self, images: IdentityImages, image_size: int, augmentation: AugmentationConfig, *, seed: int
    ) -> None:
        self.images = images
        self._image_size = image_size
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, int, list[str]]:
        """Image `(3, s, s)` in bytes, its label, and the files that could not be read on the way to it."""
        epoch, row = key
        unreadable: list[str] = []
        for place in range(len(self.images)):
            taken = (row + place) % len(self.images)
            pixels = read_image(self.images.files[taken], self._image_size)
            if pixels is not None:
                rng = stream(self._seed, Stream.TRAINING, numbered(AUGMENT, epoch, row))
                changed = augment(pixels, self._augmentation, rng)
                return torch.from_numpy(changed).permute(2, 0, 1), int(self.images.labels[taken]), unreadable
            unreadable.append(self.images.files[taken])
        side = self._image_size
        return torch.zeros(3, side, side, dtype=torch.uint8), int(self.images.labels[row]), unreadable


class Batches(Sampler[list[Key]]):
    """Keys of every step from one on, for one of several processes; each epoch has its own order.

    What is left over at the end of an epoch is not trained on in that epoch.

    Args:
        rows: Images in all.
        batch_size: Images a step, over all processes.
        epochs: How many.
        seed: Seed of the run.
        first: Step to begin with.
        rank: Which process this is.
        world: Number of processes.
    """

    def __init__(
        self, rows: int, batch_size: int, epochs: int, *, seed: int, first: int = 0, rank: int, world: int
    ) -> None:
        self.steps = rows // batch_size
        self._rows, self._batch_size, self._epochs = rows, batch_size, epochs
        self._seed, self._first = seed, first
        self._part = batch_size // world
        self._rank = rank

    def __len__(self) -> int:
        return max(self.steps * self._epochs - self._first, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        if not self.steps:
            return
        for epoch in range(self._first // self.steps, self._epochs):
            order = stream(self._seed, Stream.TRAINING, numbered(ORDER, epoch)).permutation(self._rows)
            begin = max(self._first - epoch * self.steps, 0)
            for step in range(begin, self.steps):
                start = step * self._batch_size + self._rank * self._part
                yield [(epoch, int(row)) for row in order[start : start + self._part]]


class Batch(NamedTuple):
    """Images of a step: `(batch_size, 3, s, s)` in bytes, labels `(batch_size,)`, files found unreadable."""

    images: Tensor
    labels: Tensor
    unreadable: list[str]


def load(faces: Faces, batches: Iterable[list[Key]], *, workers: int, device: str) -> Iterable[Batch]:
    """Batches of images as they are needed, read by `workers` processes, by this one where there are none."""
    return DataLoader(
        faces,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collated,
        generator=torch.Generator(),  # it would draw a seed from the global one, which nobody uses
        pin_memory=device.startswith("cuda"),
        prefetch_factor=4 if workers else None,
    )


def numbered(purpose: int, epoch: int = 0, item: int = 0) -> int:
    """Index of a training's random stream."""
    return (purpose << 64) + (epoch << 40) + item


def write_index(folder: Path, rows: Mapping[str, Sequence[object]]) -> None:
    """Write `index.csv`: columns file and identity, and whatever else is known of each image."""
    pd.DataFrame(rows).to_csv(folder / INDEX, index=False, lineterminator="\n")


def write_unreadable(folder: Path, files: Sequence[str]) -> None:
    """Write which images could not be read, where there were any."""
    if files:
        write_text(folder / UNREADABLE, "".join(f"{name}\n" for name in files))


def left_out(names: Sequence[str], what: str) -> str:
    """A sentence with how many were left out, and the first three."""
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names):,} {what} were left out: {shown}"


def _collated(items: list[tuple[Tensor, int, list[str]]]) -> Batch:
    images, labels, unreadable = zip(*items, strict=True)
    return Batch(torch.stack(images), torch.tensor(labels), [file for files in unreadable for file in files])
