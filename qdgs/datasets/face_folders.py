"""Folders of real faces with attributes, as their publishers lay them out: CelebA, FairFace, UTKFace."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from qdgs.datasets.image_folder import read_square
from qdgs.datasets.labelled import LabelledImages
from qdgs.errors import InputError
from qdgs.registry import nearest

CELEBA_SPLITS = {"train": 0, "validation": 1, "test": 2}
UTKFACE_RACES = ("White", "Black", "Asian", "Indian", "Others")
UTKFACE_NAME = re.compile(r"^(\d{1,3})_([01])_([0-4])_\d+")
DECADES = (
    "0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70",
)  # fmt: skip
UTKFACE_TEST = 5
"""Every fifth image of UTKFace, which has no split of its own, is for testing."""


def read_faces(
    kind: str,
    folder: Path,
    attributes: Mapping[str, tuple[str, ...]],
    *,
    split: str,
    image_size: int,
    rng: np.random.Generator,
    limit: int | None = None,
) -> LabelledImages:
    """Faces of a folder with the attributes asked for.

    Args:
        kind: "celeba", "fairface" or "utkface".
        folder: Where it lies.
        attributes: Attribute → its values; images with another value are left out. Of CelebA any column of
            its attribute list, with the values "no" and "yes"; of FairFace `age`, `gender`, `race`; of
            UTKFace `gender` ("Male", "Female"), `race`, and `age` in decades as FairFace has them.
        split: "train" or "test".
        image_size: The middle square of each image is scaled to it.
        rng: Chooses which images, where there are more than `limit`.
        limit: At most so many.

    Raises:
        InputError: A file or an attribute is missing, or no image has the values.
        CorruptFileError: An image cannot be read.
    """
    readers: Mapping[str, Callable[[Path, str], pd.DataFrame]] = {
        "celeba": celeba_table, "fairface": fairface_table, "utkface": utkface_table,
    }  # fmt: skip
    if kind not in readers:
        raise InputError(f"data.source: unknown {kind!r}{nearest(kind, readers)}")
    table = readers[kind](folder, split)
    for name, values in attributes.items():
        if name not in table:
            told = nearest(name, (str(column) for column in table if column != "file"))
            raise InputError(f"{folder}: expected an attribute that it tells, got {name!r}{told}")
        table = table[table[name].isin(values)]
    if not len(table):
        raise InputError(f"{folder}: expected images of the {split} split with the groups' values, got none")
    rows = np.arange(len(table))
    if limit is not None and limit < len(table):
        rows = np.sort(rng.choice(len(table), limit, replace=False))
    chosen = table.iloc[rows].reset_index(drop=True)
    images = torch.stack([read_square(folder / str(file), image_size) for file in chosen["file"]])
    return LabelledImages(images, chosen[list(attributes)])


def celeba_table(folder: Path, split: str) -> pd.DataFrame:
    """Files and attributes of CelebA: `list_attr_celeba.txt`, `list_eval_partition.txt`, `img_align_celeba/`.

    References:
        Liu, Luo, Wang and Tang (2015), Deep learning face attributes in the wild.
    """
    listed = _existing(folder / "list_attr_celeba.txt")
    names = "".join(listed.read_text(errors="replace").splitlines()[1:2]).split()
    table = _table(listed, sep=r"\s+", skiprows=2, names=["file", *names])
    parts = _table(
        _existing(folder / "list_eval_partition.txt"), sep=r"\s+", header=None, names=["file", "part"]
    )
    joined = table.merge(parts, on="file")
    joined = joined[joined["part"] == CELEBA_SPLITS[split]].drop(columns="part")
    told = joined[names].map(lambda value: "yes" if value == 1 else "no")
    return told.assign(file="img_align_celeba/" + joined["file"])


def fairface_table(folder: Path, split: str) -> pd.DataFrame:
    """Files and attributes of FairFace: `fairface_label_train.csv`, and `fairface_label_val.csv` to test.

    References:
        Kärkkäinen and Joo (2021), FairFace: face attribute dataset for balanced race, gender, and age.
    """
    name = "train" if split == "train" else "val"
    table = _table(_existing(folder / f"fairface_label_{name}.csv"), dtype=str)
    missing = [column for column in ("file", "age", "gender", "race") if column not in table]
    if missing:
        raise InputError(f"{folder}: expected a column {missing[0]!r} in fairface_label_{name}.csv, got none")
    return table


def utkface_table(folder: Path, split: str) -> pd.DataFrame:
    """Files and attributes of UTKFace, out of names like `25_0_1_20170109.jpg` (age, gender, race).

    References:
        Zhang, Song and Qi (2017), Age progression/regression by conditional adversarial autoencoder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected the folder of UTKFace, got none")
    rows = []
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        found = UTKFACE_NAME.match(path.name)
        testing = number % UTKFACE_TEST == 0
        if found is None or testing != (split == "test"):
            continue
        age, gender, race = (int(part) for part in found.groups())
        rows.append(
            {
                "file": path.relative_to(folder).as_posix(),
                "age": DECADES[min(age // 10, len(DECADES) - 1)],
                "gender": ("Male", "Female")[gender],
                "race": UTKFACE_RACES[race],
            }
        )
    return pd.DataFrame(rows, columns=["file", "age", "gender", "race"])


def _table(path: Path, **reading: Any) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pd.read_csv(path, **reading)
    except ValueError as error:  # pandas' own errors and those of decoding are ValueErrors
        raise InputError(f"{path}: expected the list as it was published, got {error}") from error
    return table


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: expected a file of the published data set, got none; see its README")
    return path
