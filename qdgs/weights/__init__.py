"""Embedded weights: one folder a model, with a card that says where they come from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from qdgs.errors import CorruptFileError

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
    content = check_weights(name, "model.safetensors")
    try:
        return load(content)
    except SafetensorError:
        path = FOLDER / name / "model.safetensors"
        raise CorruptFileError(f"{path}: is no safetensors file; {REMEDY}") from None


def check_weights(name: str, file: str) -> bytes:
    """The content of a file of embedded weights, which is the one that their card describes.

    Raises:
        CorruptFileError: It is missing, truncated or another.
    """
    path = FOLDER / name / file
    try:
        content = path.read_bytes()
        expected = card(name)["sha256"]
    except (OSError, ValueError, KeyError):
        raise CorruptFileError(f"{path}: the weights or their card cannot be read; {REMEDY}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptFileError(f"{path}: expected the sha256 of its card, got another; {REMEDY}")
    return content
