"""The folder that a StyleGAN2 is kept in: its tensors, and a card that says what they are."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from qdgs.errors import CorruptFileError, InputError, MissingModelError
from qdgs.files import read_json, write_json
from qdgs.generators.stylegan2_networks import Architecture

CARD, WEIGHTS = "card.json", "model.safetensors"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Part):
    """The file that a model was converted from."""

    file: str
    sha256: str


class Statistics(_Part):
    """Of w, over latents z drawn from a seed.

    Attributes:
        latents: How many.
        seed: Seed of their generator.
        norm: Mean norm of the whitened w, (w − w_avg) / w_std.
    """

    latents: int
    seed: int
    norm: float


class Card(_Part):
    """What a converted StyleGAN2 is.

    Attributes:
        format: Of the folder.
        architecture: Of the networks.
        sha256: Of the tensors' file.
        source: Where they come from.
        statistics: Of w.
    """

    format: Literal["qdgs-stylegan2-1"] = "qdgs-stylegan2-1"
    architecture: Architecture
    sha256: str
    source: Source
    statistics: Statistics


def read_folder(folder: Path) -> tuple[Card, dict[str, Tensor]]:
    """The card and the tensors, on the CPU.

    Raises:
        MissingModelError: There is no such folder.
        InputError: It is something else.
        CorruptFileError: A file in it is damaged.
    """
    command = f"qdgs convert stylegan2 FILE.pkl {folder}"
    if not folder.exists():
        raise MissingModelError(f"generator.path: the folder {folder} is not here; make it with {command}")
    if folder.is_file():
        raise InputError(
            f"generator.path: expected a folder, got the file {folder}; make one of it with qdgs convert "
            f"stylegan2 {folder} FOLDER"
        )
    if not (folder / CARD).is_file():
        raise InputError(
            f"generator.path: expected a folder made with {command}, got {folder} without {CARD}"
        )
    card = _card(folder / CARD)
    path = folder / WEIGHTS
    remedy = "convert the pickle again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise CorruptFileError(f"{path}: expected the sha256 of its card, got another; {remedy}")
    try:
        return card, load(content)
    except SafetensorError:
        raise CorruptFileError(f"{path}: is no safetensors file; {remedy}") from None


def check_vacant(folder: Path) -> None:
    """See that a folder can be written.

    Raises:
        InputError: Something is there already.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        kind = "a folder with files in it" if folder.is_dir() else "a file"
        raise InputError(f"{folder}: expected a new folder, got {kind}; choose another name")


def write_folder(
    folder: Path,
    tensors: Mapping[str, Tensor],
    architecture: Architecture,
    source: Source,
    statistics: Statistics,
) -> Card:
    """Write card and tensors: the folder appears once it is whole, or not at all.

    Raises:
        InputError: Something is there already.
    """
    check_vacant(folder)
    content = save(dict(tensors))
    card = Card(
        architecture=architecture,
        sha256=hashlib.sha256(content).hexdigest(),
        source=source,
        statistics=statistics,
    )
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        with (temporary / WEIGHTS).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        write_json(temporary / CARD, card.model_dump(mode="json"))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def _card(path: Path) -> Card:
    try:
        return Card.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CorruptFileError(f"{path}: {place}: {first['msg']}; convert the pickle again") from None
