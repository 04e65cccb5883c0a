"""Whether a model is the same as another: a hash of its weights and settings."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.config import PROMPTS
from qdgs.guides.base import SearchGuide

DEPTH = 4
"""How deep objects within objects are looked into."""


def identity(model: object) -> str:
    """SHA-256 of what tells a model from another: its kinds, its weights, and settings.

    Of a torch module count the tensors of its state dict and its own attributes that are numbers: texts,
    switches and paths do not. Of any other object count all attributes, objects within objects down to
    `DEPTH`; a path as text counts there, a `Path` does not. An object whose attributes are not all its own
    tells those that are by `identified_by`. Code does not count (see `code`).
    """
    digest = hashlib.sha256()
    for part in _parts(model, DEPTH):
        digest.update(part)
    return digest.hexdigest()


def code(model: object) -> str:
    """SHA-256 of the source of the module that a model is defined in; empty where there is none to read."""
    module = inspect.getmodule(type(model))
    try:
        return hashlib.sha256(inspect.getsource(module).encode()).hexdigest() if module else ""
    except (OSError, TypeError):
        return ""


def guide_key(guide: SearchGuide) -> list[str]:
    """What tells a guide from another; of one that a user brought its code counts too."""
    if guide.config.name == PROMPTS:
        return [identity(guide.encoder)]
    return [guide.config.who, identity(guide.encoder), code(guide.encoder)]


def _parts(value: object, depth: int) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        values = value.detach().cpu()
        yield values.to(torch.float32 if values.dtype is torch.bfloat16 else values.dtype).numpy().tobytes()
    elif isinstance(value, np.ndarray):
        yield value.tobytes()
    elif isinstance(value, str | int | float | bool | None):
        yield repr(value).encode()
    elif isinstance(value, Mapping):
        yield from _parts_of_mapping(value, depth)
    elif isinstance(value, list | tuple):
        yield from (part for item in value for part in _parts(item, depth))
    elif depth:
        yield from _parts_of_object(value, depth - 1)


def _parts_of_mapping(values: Mapping[Any, object], depth: int) -> Iterator[bytes]:
    for key, item in values.items():
        yield repr(key).encode()
        yield from _parts(item, depth)


def _parts_of_object(value: object, depth: int) -> Iterator[bytes]:
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if isinstance(value, nn.Module):
        yield from _parts_of_mapping(dict(value.state_dict()), depth)
        settings = {key: item for key, item in vars(value).items() if not key.startswith("_")}
        yield from _parts({key: item for key, item in settings.items() if _is_number(item)}, depth)
    elif hasattr(value, "__dict__") and not isinstance(value, type | FunctionType | ModuleType):
        yield from _parts_of_mapping(getattr(value, "identified_by", vars(value)), depth)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
