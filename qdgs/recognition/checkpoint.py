"""The files of a trained recogniser: its backbone for everyone, and what a training goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from qdgs.errors import CorruptFileError, InputError
from qdgs.recognition.backbones import IResNet
from qdgs.recognition.heads import MarginHead
from qdgs.recognition_config import BackboneConfig, RecognitionConfig

BACKBONE = "backbone.safetensors"
CHECKPOINT = "checkpoint.pt"


def save_backbone(path: Path, backbone: IResNet, norms: Mapping[str, float] | None = None) -> None:
    """Write a backbone with what tells which one it is; whole or not at all.

    Args:
        path: The file.
        backbone: Its weights are written.
        norms: What its head knows of its embeddings' norms, `MarginHead.norms`.

    Raises:
        InputError: A weight is not finite.
    """
    tensors = {name: value.contiguous().cpu() for name, value in backbone.state_dict().items()}
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise InputError(
            f"training: expected finite weights, got others in {broken[0]} after the last step; take a lower "
            "training.learning_rate, in a new folder"
        )
    told = {
        "backbone": backbone.config.model_dump(mode="json"),
        "image_size": backbone.image_size,
        "norms": dict(norms or {}),
    }
    unfinished = path.with_name(f".{path.name}.tmp")
    # save_file would write it for the owner alone
    unfinished.write_bytes(save(tensors, metadata={"qdgs": json.dumps(told)}))
    unfinished.replace(path)


def load_backbone(run: Path) -> IResNet:
    """The backbone of a trained run, on the CPU, in evaluation mode.

    Raises:
        InputError: There is none yet.
        CorruptFileError: Its file is damaged, or no backbone of ours.
    """
    return _loaded(run)[0]


def _loaded(run: Path) -> tuple[IResNet, dict[str, float]]:
    path = run / BACKBONE
    if not path.is_file():
        raise InputError(
            f"{run}: expected a trained recogniser, got no {BACKBONE}; train it to its end first"
        )
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})["qdgs"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = BackboneConfig.model_validate(told["backbone"])
        backbone = IResNet(config, int(told["image_size"]), generator=torch.Generator())
        backbone.load_state_dict(tensors)
        norms = {str(name): float(value) for name, value in told.get("norms", {}).items()}
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CorruptFileError(
            f"{path}: expected a backbone that qdgs saved, cannot read it: {reason}"
        ) from None
    backbone.eval()
    return backbone, norms


def begin_from(backbone: IResNet, head: MarginHead, run: Path) -> None:
    """Take the weights of a trained run, and what its head knew of its embeddings' norms.

    The directions of its identities are left behind: these are others.

    Raises:
        InputError: It trained another backbone.
    """
    other, norms = _loaded(run)
    wanted, got = (_described(one) for one in (backbone, other))
    if wanted != got:
        raise InputError(
            f"pretrained: expected a recogniser with {wanted}, got {run} with {got}; take its sizes"
        )
    backbone.load_state_dict(other.state_dict())
    head.take_norms(norms)


def save_checkpoint(path: Path, config: RecognitionConfig, state: Mapping[str, Any]) -> None:
    """Write what a training goes on from; the one before is replaced only once this one is whole."""
    unfinished = path.with_name(f".{path.name}.tmp")
    torch.save({"backbone_sizes": _sizes(config), **state}, unfinished)
    unfinished.replace(path)


def load_checkpoint(path: Path, config: RecognitionConfig) -> dict[str, Any]:
    """What `save_checkpoint` wrote; nothing but tensors, numbers and texts is read.

    Raises:
        InputError: It is of another backbone.
        CorruptFileError: It is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop("backbone_sizes")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # torch raises a dozen kinds for a damaged file, some of a bare number
        raise CorruptFileError(
            f"{path}: expected a checkpoint of this run, got a damaged file or another; delete it to begin "
            "again"
        ) from None
    if found != _sizes(config):
        raise InputError(
            f"{path}: expected a checkpoint of {_sizes(config)}, got one of {found}; delete it to begin again"
        )
    return state


def _described(backbone: IResNet) -> str:
    return _text(backbone.config, backbone.image_size)


def _sizes(config: RecognitionConfig) -> str:
    return _text(config.backbone, config.image_size)


def _text(config: BackboneConfig, image_size: int) -> str:
    return f"{config.name} of width {config.width}, embeddings of {config.embedding} and {image_size} pixels"
