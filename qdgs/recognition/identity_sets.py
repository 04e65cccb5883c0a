"""`qdgs recognition identities`: a set of N identities × M images, balanced over groups.

    OUT/<identity>/<identity>_<number>.png
    OUT/index.csv       file, identity and group of each image
    OUT/purity.json     whether the identities hold, by pixels and by a recogniser where one is given
    OUT/unreadable.txt  images that could not be read, where there were any

Recognition programs once read MXNet's RecordIO. MXNet is no longer maintained, and a folder an identity with
a CSV is what they read now, and what every other program reads.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qdgs.errors import InputError
from qdgs.files import write_json
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.backbones import IResNet
from qdgs.recognition.checkpoint import load_backbone
from qdgs.recognition.embedding import embed
from qdgs.recognition.images import (
    IdentityImages,
    left_out,
    read_identities,
    read_image,
    write_index,
    write_unreadable,
)
from qdgs.recognition.purity import identity_purity, thumbnails

PURITY = "purity.json"
PIXELS_SIDE = 64


class UnreadableWarning(UserWarning):
    """Images that could not be read were left out."""


def choose_identities(
    images: IdentityImages,
    identities: int,
    each: int,
    *,
    seed: int,
    readable: Callable[[str], bool] = lambda file: True,
) -> pd.DataFrame:
    """Which images make a set of a given size: as many identities of each group, as many images of each.

    Where the identities do not divide by the groups, groups first in the alphabet have one more.

    Args:
        images: What there is to choose from.
        identities: Wanted.
        each: Images of each.
        seed: Chooses among identities, and among their images.
        readable: Asked of each image before it is taken; another is taken in its place.

    Returns:
        Rows with file, identity and group, one identity after the other.

    Raises:
        InputError: A group has too few identities with as many images, or an identity is of two groups.
    """
    groups = images.groups if images.groups is not None else np.full(len(images), "all")
    table = pd.DataFrame(
        {"file": images.files, "identity": np.array(images.names)[images.labels], "group": groups}
    )
    of = table.groupby("identity")["group"].nunique()
    if (of > 1).any():
        raise InputError(f"identities: expected one group for each, got several for {of.idxmax()!r}")
    rng = stream(seed, Stream.FLATTEN)
    shuffled = table.iloc[rng.permutation(len(table))]
    names = sorted(table["group"].unique())
    chosen = []
    for place, group in enumerate(names):
        wanted = identities // len(names) + (place < identities % len(names))
        found = list(islice(_whole(shuffled[shuffled["group"] == group], each, readable), wanted))
        if len(found) < wanted:
            raise InputError(
                f"identities: expected {wanted} of group {group!r} with {each} images or more that can be "
                f"read, got {len(found)}; take fewer, or make a larger dataset"
            )
        chosen += found
    return pd.concat(chosen).sort_values(["identity", "file"]).reset_index(drop=True)


def _whole(rows: pd.DataFrame, each: int, readable: Callable[[str], bool]) -> Iterator[pd.DataFrame]:
    """Identities in turn, of each as many images as are wanted; those that have fewer are passed over."""
    for _, own in rows.groupby("identity", sort=False):
        if len(own) >= each:
            kept = list(islice((place for place, file in own["file"].items() if readable(file)), each))
            if len(kept) == each:
                yield own.loc[kept]


def write_identity_set(
    source: Path,
    out: Path,
    identities: int,
    each: int,
    *,
    seed: int = 0,
    judge: Path | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Copy a set of a given size out of a dataset with identities, and measure how pure it is.

    Args:
        source: A qdgs run, or any folder of images by identity.
        out: A new folder; it appears whole or not at all.
        identities: Wanted.
        each: Images of each.
        seed: Chooses.
        judge: Run of a recogniser whose embedding is asked too.
        device: Where that works.

    Returns:
        What purity.json holds: purities by embedding.

    Raises:
        InputError: The folder exists, there are too few identities, or the judge is none.
    """
    if out.exists():
        raise InputError(f"{out}: expected a new folder, got one that exists; choose another")
    backbone = None if judge is None else load_backbone(judge)
    images = read_identities(source, min_images=each)
    unreadable: list[str] = []

    def readable(file: str) -> bool:
        found = read_image(file, PIXELS_SIDE) is not None
        if not found:
            unreadable.append(file)
        return found

    rows = choose_identities(images, identities, each, seed=seed, readable=readable)
    with _appearing(out) as temporary:
        rows["file"] = [
            _copied(row, temporary, each) for row in rows.assign(number=rows.index).to_dict("records")
        ]
        write_index(temporary, {column: list(rows[column]) for column in ("file", "identity", "group")})
        purities = _purities(temporary, rows, backbone, device, seed)
        if judge is not None:
            purities["recogniser"] = {"run": str(judge), **purities["recogniser"]}
        write_json(temporary / PURITY, purities)
        write_unreadable(temporary, sorted(unreadable))
    if unreadable:
        warnings.warn(left_out(sorted(unreadable), "unreadable images"), UnreadableWarning, stacklevel=2)
    return purities


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Another folder to write into, which takes this one's place in the end, or goes."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copied(row: Mapping[Any, Any], folder: Path, each: int) -> str:
    source = Path(row["file"])
    if Path(row["identity"]).name != row["identity"] or row["identity"] == "..":
        raise InputError(f"identities: expected names that a folder can have, got {row['identity']!r}")
    file = f"{row['identity']}/{row['identity']}_{row['number'] % each:04d}{source.suffix.lower()}"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, folder / file)
    except OSError as error:
        raise InputError(f"{source}: cannot be copied: {error.strerror}; run qdgs render again") from None
    return file


def _purities(
    folder: Path, rows: pd.DataFrame, backbone: IResNet | None, device: str, seed: int
) -> dict[str, Any]:
    numbers = pd.factorize(rows["identity"])[0].astype(np.int64)
    rng = stream(seed, Stream.BOOTSTRAP)
    purity = identity_purity(thumbnails(_pixels(folder, rows, PIXELS_SIDE)), numbers, rng)
    purities = {"pixels": purity.to_json()}
    if backbone is not None:
        embeddings = embed(backbone, _pixels(folder, rows, backbone.image_size), device=device)
        purities["recogniser"] = identity_purity(embeddings, numbers, rng).to_json()
    return purities


def _pixels(folder: Path, rows: pd.DataFrame, image_size: int) -> Pixels:
    found = []
    for file in rows["file"]:
        pixels = read_image(folder / file, image_size)
        if pixels is None:
            raise InputError(f"{file}: expected an image, got one that cannot be read; run qdgs render again")
        found.append(pixels)
    return np.stack(found)
