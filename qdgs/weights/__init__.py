"""Embedded weights: one folder a model, with a card that says where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from qdgs.errors import CorruptFileError
from qdgs.files import write_json

FOLDER = Path(__file__).parent
REMEDY = "install qdgs again"


def card(name: str) -> dict[str, Any]:
    """The card of embedded weights: source, licence, command that trains them again, sha256, figures."""
    card: dict[str, Any] = json.loads((FOLDER / name / "card.json").read_text())
    return card


def load_weights(name: str) -> dict[str, Tensor]:
    """The tensors of embedded weights, on the CPU.

    Raises:
        CorruptFileError: The file is missing, truncated or not the one that the card describes.
    """
    return read_weights(FOLDER / name)


def read_weights(folder: Path, remedy: str = REMEDY) -> dict[str, Tensor]:
    """The tensors of a folder of weights and their card, on the CPU.

    Args:
        folder: Holds `model.safetensors` and `card.json`.
        remedy: What to do where they are damaged.

    Raises:
        CorruptFileError: The file is missing, truncated or not the one that the card describes.
    """
    content = _checked(folder, "model.safetensors", remedy)
    try:
        return load(content)
    except SafetensorError:
        raise CorruptFileError(f"{folder / 'model.safetensors'}: is no safetensors file; {remedy}") from None


def write_weights(folder: Path, tensors: Mapping[str, Tensor], **facts: Any) -> None:
    """Write a folder that `read_weights` reads: the tensors, and a card of the facts and their sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    (folder / "model.safetensors").write_bytes(content)
    write_json(folder / "card.json", {**facts, "sha256": hashlib.sha256(content).hexdigest()})


def check_weights(name: str, file: str) -> bytes:
    """The content of a file of embedded weights, which is the one that their card describes.

    Raises:
        CorruptFileError: It is missing, truncated or another.
    """
    return _checked(FOLDER / name, file, REMEDY)


def _checked(folder: Path, file: str, remedy: str) -> bytes:
    path = folder / file
    try:
        content = path.read_bytes()
        expected = json.loads((folder / "card.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        raise CorruptFileError(f"{path}: the weights or their card cannot be read; {remedy}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptFileError(f"{path}: expected the sha256 of its card, got another; {remedy}")
    return content
