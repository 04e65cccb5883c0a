"""Saves trained weights beside their card."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor


def save_weights(folder: Path, tensors: dict[str, Tensor], **facts: Any) -> None:
    """Write `model.safetensors` and `card.json` (the facts, and the sha256 of the weights)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    (folder / "model.safetensors").write_bytes(content)
    card = {**facts, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
