"""Reads NVIDIA's network pickles as data: nothing that a pickle names is imported, and nothing in it runs.

A pickle is a program that may call whatever it names. Here it gets inert stand-ins for the few names that a
network needs, and is refused at the first other one. A stand-in keeps nothing that it is given to keep: the
instruction BUILD can set attributes of whatever the pickle holds, so there are none to set.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.storage import TypedStorage

from qdgs.errors import CorruptFileError, InputError

TENSORFLOW = "dnnlib.tflib.network.Network"
LONGEST_NAME = 80


class Record(NamedTuple):
    """An object of a pickled class, as data.

    Attributes:
        class_name: What its class was called.
        state: Its attributes.
    """

    class_name: str
    state: Mapping[str, Any]


class ForeignName(Exception):
    """A pickle asks for something that no network needs."""


def read_inert(path: Path) -> Any:
    """What a pickle holds: containers, numbers, texts, tensors on the CPU, and records of everything else.

    Raises:
        InputError: There is no such file, or it names something that has no place in a network.
        CorruptFileError: It is no pickle, or truncated or damaged.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ForeignName as error:
        raise InputError(_refusal(path, str(error))) from None
    except Exception:  # a damaged pickle may raise anything
        raise CorruptFileError(
            f"{path}: expected a network pickle, got one that is truncated or damaged, or no pickle at all; "
            "fetch it again"
        ) from None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = f"{module}.{name}"
        if known not in _KNOWN:
            raise ForeignName(known)
        return _KNOWN[known]

    def persistent_load(self, pid: Any) -> Any:
        raise ForeignName("an object outside the file")


class _Function:
    """A function to be called, and nothing else."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class _Dtype:
    """The type of numpy numbers; BUILD tells its byte order."""

    __slots__ = ("_kind", "_order")

    def __init__(self, kind: Any) -> None:
        self._kind, self._order = str(kind), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = str(state[1])

    def resolved(self) -> np.dtype[Any]:
        if not re.fullmatch("[biufc][1-9][0-9]?", self._kind) or self._order not in "<>|=":
            raise ValueError(self._kind)
        return np.dtype(self._kind).newbyteorder("=" if self._order == "|" else self._order)  # type: ignore[arg-type]


class _Array:
    """A numpy array; BUILD tells its shape, type and bytes."""

    __slots__ = ("values",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        self.values = _array(content, dtype, shape, "F" if by_columns else "C")


def _array(content: Any, dtype: _Dtype, shape: Any, order: Any) -> Any:
    return np.frombuffer(content, dtype.resolved()).reshape(shape, order=order)


def _scalar(dtype: _Dtype, content: Any) -> Any:
    return _array(content, dtype, (), "C").item()


def _bytes(text: Any, encoding: Any) -> bytes:
    """How a pickle of protocol 2 spells bytes."""
    if encoding != "latin1":
        raise ValueError(encoding)
    return str(text).encode("latin1")


def _storage(content: Any) -> Tensor:
    """All numbers of a storage; its bytes are a pickle again, and torch reads that one as weights alone."""
    try:
        with warnings.catch_warnings():  # torch warns of what it then refuses
            warnings.simplefilter("ignore")
            storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ForeignName("more than numbers inside a tensor") from None
    if not isinstance(storage, TypedStorage):
        raise TypeError(type(storage))
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)


def _tensor(storage: Tensor, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage; torch refuses one that reaches beyond it."""
    return Tensor.as_strided(storage, size, stride, offset)


def _parameter(values: Any, *_: Any) -> Any:
    return values


def _persistent(meta: Any) -> Record:
    """An object of NVIDIA's persistent classes, whose source code, which lies beside it, is left alone."""
    if meta["type"] != "class" or not isinstance(meta["state"], dict):
        raise TypeError(meta["type"])
    return Record(str(meta["class_name"]), meta["state"])


_KNOWN: Mapping[str, Any] = {
    "__builtin__.set": set,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "collections.OrderedDict": OrderedDict,
    "dnnlib.EasyDict": dict,
    "dnnlib.util.EasyDict": dict,
    "_codecs.encode": _Function(_bytes),
    "numpy.dtype": _Function(lambda kind, *_: _Dtype(kind)),
    "numpy.ndarray": "numpy.ndarray",
    **{f"numpy.{core}.multiarray.scalar": _Function(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _Function(lambda *_: _Array()) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Function(_array) for core in ("core", "_core")},
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch.storage._load_from_bytes": _Function(_storage),
    "torch_utils.persistence._reconstruct_persistent_obj": _Function(_persistent),
}
"""What a pickle may name. The types among them are built in, so that nothing can be attached to them."""


def _refusal(path: Path, name: str) -> str:
    if name == TENSORFLOW:
        return (
            f"{path}: expected a pickle of stylegan2-ada-pytorch or stylegan3, got one of TensorFlow; "
            "convert it with legacy.py of stylegan2-ada-pytorch first"
        )
    shown = name.encode("unicode_escape").decode()[:LONGEST_NAME]
    found = f"one that asks for {shown}, which was not run"
    return f"{path}: expected a network pickle, got {found}; do not trust it"
