"""`qdgs recognition identities`: a set of N identities × M images, balanced over groups.

    OUT/<identity>/<identity>_<number>.png
    OUT/index.csv     file, identity and group of each image
    OUT/purity.json   whether the identities hold, by pixels and by a recogniser where one is given

Recognition programs once read MXNet's RecordIO. MXNet is no longer maintained, and a folder an identity with
a CSV is what they read now, and what every other program reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qdgs.errors import InputError
from qdgs.files import write_json
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.checkpoint import load_backbone
from qdgs.recognition.embedding import embed
from qdgs.recognition.images import IdentityImages, read_identities, read_image, write_index
from qdgs.recognition.purity import identity_purity, thumbnails

PURITY = "purity.json"
PIXELS_SIDE = 64


def choose_identities(images: IdentityImages, identities: int, each: int, *, seed: int) -> pd.DataFrame:
    """Which images make a set of a given size: as many identities of each group, as many images of each.

    Where the identities do not divide by the groups, groups first in the alphabet have one more.

    Args:
        images: What there is to choose from.
        identities: Wanted.
        each: Images of each.
        seed: Chooses among identities, and among their images.

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
    whole = shuffled.groupby("identity").filter(lambda rows: len(rows) >= each)
    names = sorted(table["group"].unique())
    chosen = []
    for place, group in enumerate(names):
        wanted = identities // len(names) + (place < identities % len(names))
        found = whole.loc[whole["group"] == group, "identity"].unique()
        if len(found) < wanted:
            raise InputError(
                f"identities: expected {wanted} of group {group!r} with {each} images or more, got "
                f"{len(found)}; take fewer, or make a larger dataset"
            )
        chosen += list(found[:wanted])
    kept = whole[whole["identity"].isin(chosen)].groupby("identity").head(each)
    return kept.sort_values(["identity", "file"]).reset_index(drop=True)


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
        InputError: The folder exists, or there are too few identities.
    """
    if out.exists():
        raise InputError(f"{out}: expected a new folder, got one that exists; choose another")
    rows = choose_identities(read_identities(source, min_images=each), identities, each, seed=seed)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    rows["file"] = [
        _copied(row, temporary, each) for row in rows.assign(number=rows.index).to_dict("records")
    ]
    write_index(temporary, {column: list(rows[column]) for column in ("file", "identity", "group")})
    purities = _purities(temporary, rows, judge, device, seed)
    write_json(temporary / PURITY, purities)
    temporary.replace(out)
    return purities


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


def _purities(folder: Path, rows: pd.DataFrame, judge: Path | None, device: str, seed: int) -> dict[str, Any]:
    numbers = pd.factorize(rows["identity"])[0].astype(np.int64)
    rng = stream(seed, Stream.BOOTSTRAP)
    purity = identity_purity(thumbnails(_pixels(folder, rows, PIXELS_SIDE)), numbers, rng)
    purities = {"pixels": purity.to_json()}
    if judge is not None:
        backbone = load_backbone(judge)
        embeddings = embed(backbone, _pixels(folder, rows, backbone.image_size), device=device)
        purities["recogniser"] = {"run": str(judge), **identity_purity(embeddings, numbers, rng).to_json()}
    return purities


def _pixels(folder: Path, rows: pd.DataFrame, image_size: int) -> Pixels:
    found = []
    for file in rows["file"]:
        pixels = read_image(folder / file, image_size)
        if pixels is None:
            raise InputError(f"{file}: expected an image, got one that cannot be read; run qdgs render again")
        found.append(pixels)
    return np.stack(found)
