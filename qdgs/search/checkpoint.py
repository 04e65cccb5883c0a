"""A search saved whole, so that a resumed run equals an unbroken one, bit for bit.

A file is `MAGIC`, the length of a JSON header, the header (who wrote it, and the configuration), a pickle of
the search, and the SHA-256 of everything before. Nothing is unpickled before the hash agrees: it guards
against truncation and decay. The pickle may name nothing but the parts of a search, so that a file from
elsewhere cannot run code of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import ribs
import torch
from numpy.typing import NDArray
from ribs.archives import ArrayStore
from torch import Tensor

from qdgs.errors import CorruptFileError, InputError, QdgsError
from qdgs.search.ranges import SamplePrior
from qdgs.search.state import Search
from qdgs.search.workers import RememberingScore, Score, Workers

MAGIC = b"qdgs-checkpoint-1\n"
_LENGTH_BYTES = 8
_HASH_BYTES = 32
_READ_BYTES = 2**20

MAY_DIFFER = frozenset({"search.evaluations", "search.seconds", "search.checkpoint_seconds"})
"""Keys that may change when a search is resumed: how far it goes and how often it is saved."""

_CLASSES = (
    "ribs.",
    "qdgs.search.",
    "qdgs.config",
    "qdgs.guide_config",
    "qdgs.search_config",
    "qdgs.speed_config",
)
_NAMES = frozenset(
    {
        "numpy.dtype",
        "numpy.float64",
        "numpy.ndarray",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer",
        "numpy.random._pcg64.PCG64",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random.bit_generator.SeedSequence",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "scipy.spatial._kdtree.KDTree",
        "qdgs.search.checkpoint._restore_store",
        "qdgs.search.checkpoint._restore_tensor",
    }
)
"""What a pickle may name: classes defined in modules that begin with `_CLASSES`, and these."""


def save(search: Search, path: Path, config: Mapping[str, Any] | None = None) -> None:
    """Replace the checkpoint at `path`, or leave it untouched where that fails.

    Args:
        search: A search between two iterations.
        path: The file.
        config: What the run was configured with, for JSON; `load` compares.

    Raises:
        QdgsError: The search is inside an iteration, or the file cannot be written.
    """
    if not search.between_iterations:
        raise QdgsError(
            "checkpoint: expected a search between two iterations; the last one saved is still good"
        )
    score = search.evaluator.score
    state = {
        "search": search,
        "score": score.state_dict() if isinstance(score, RememberingScore) else None,
    }
    header = json.dumps({"ribs": ribs.__version__, "config": config}).encode()
    with _replacing(path) as file:
        file.write(MAGIC + len(header).to_bytes(_LENGTH_BYTES, "big") + header)
        _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(state)
        file.write(file.hash.digest())


def load(
    path: Path,
    *,
    score: Score,
    sample_prior: SamplePrior,
    device: torch.device | str = "cpu",
    config: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
) -> Search:
    """The search as it was saved.

    Args:
        path: The file.
        score: The function of latents that is searched.
        sample_prior: Draws latents from the generator's prior.
        device: Where the score wants its latents.
        config: What the run is configured with now; None skips the comparison.
        workers: Who scores from here on; by default this process.

    Raises:
        CorruptFileError: The file is missing, truncated or damaged, is no checkpoint, or names what is no
            part of a search.
        InputError: The configuration differs from the checkpoint's, or another pyribs wrote it.
    """
    try:
        with path.open("rb") as file:
            state = _state(path, file, config)
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read: {error.strerror}") from None
    search: Search = state["search"]
    if state["score"] is not None and isinstance(score, RememberingScore):
        score.load_state_dict(state["score"])
    search.attach(score, sample_prior, device, workers)
    return search


def _state(path: Path, file: BinaryIO, config: Mapping[str, Any] | None) -> dict[str, Any]:
    header = _checked_header(path, file)
    if header["ribs"] != ribs.__version__:
        raise InputError(
            f"{path}: expected a checkpoint of ribs {ribs.__version__}, got one of ribs {header['ribs']}; "
            f"install ribs=={header['ribs']} to resume it"
        )
    if config is not None:
        _compare(path, header["config"], json.loads(json.dumps(config)))
    try:
        state: dict[str, Any] = _Unpickler(file).load()
    except _ForeignName as name:
        raise CorruptFileError(
            f"{path}: expected a checkpoint that qdgs wrote, got one that asks for {name}; do not trust it"
        ) from None
    except Exception as error:
        raise CorruptFileError(
            f"{path}: the checkpoint is whole, and yet this version of qdgs cannot read it "
            f"({type(error).__name__}); resume with the version that wrote it"
        ) from error
    return state


class _HashedFile:
    """Hashes what it writes, so that the pickle of a large archive is never held in memory as a whole."""

    def __init__(self, file: BinaryIO) -> None:
        self.hash = hashlib.sha256()
        self._file = file

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return self._file.write(data)


class _Pickler(pickle.Pickler):
    """Pickles of an archive's store only the cells that hold something, and tensors as arrays."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ArrayStore):
            return _restore_store, (obj.field_desc, obj.capacity, np.array(obj.occupied_list), obj.data())
        if isinstance(obj, Tensor):
            return _restore_tensor, (obj.numpy(force=True),)
        return NotImplemented


class _ForeignName(pickle.UnpicklingError):
    """A pickle names what is no part of a search."""


class _Unpickler(pickle.Unpickler):
    """Refuses everything but the parts of a search."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _NAMES:
            return super().find_class(module, name)
        if "." not in name and module.startswith(_CLASSES):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise _ForeignName(full)


def _restore_store(
    field_desc: dict[str, Any], capacity: int, occupied: NDArray[np.int32], data: dict[str, Any]
) -> Any:
    """A store with the same rows, in the same order: `sample_elites` draws positions of that order."""
    store = ArrayStore(field_desc, capacity)
    store.add(occupied, {name: values for name, values in data.items() if name != "index"})
    store._props["occupied_list"][: len(occupied)] = occupied  # add() has sorted them
    return store


def _restore_tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values)


@contextmanager
def _replacing(path: Path) -> Iterator[_HashedFile]:
    """A file that takes the place of `path` once it is written whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield _HashedFile(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise QdgsError(
            f"{path}: cannot be written: {error.strerror}; what was saved before is untouched"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked_header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The header of a file whose hash agrees, which is read up to the pickle."""
    if file.read(len(MAGIC)) != MAGIC:
        raise CorruptFileError(
            f"{path}: expected a checkpoint of qdgs, got something else; start the search anew"
        )
    hashed, left = hashlib.sha256(MAGIC), path.stat().st_size - len(MAGIC) - _HASH_BYTES
    while left > 0 and (part := file.read(min(left, _READ_BYTES))):
        hashed.update(part)
        left -= len(part)
    if left or hashed.digest() != file.read():
        raise CorruptFileError(f"{path}: the checkpoint is truncated or damaged; start the search anew")
    file.seek(len(MAGIC))
    header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(_LENGTH_BYTES), "big")))
    return header


def _compare(path: Path, saved: Any, given: Any) -> None:
    """Raise for the first key whose value differs, in the order of the saved configuration."""
    before, now = dict(_flat(saved)), dict(_flat(given))
    for key in (*before, *now):
        old, new = before.get(key, "nothing"), now.get(key, "nothing")
        if old != new and key not in MAY_DIFFER:
            raise InputError(
                f"{key}: expected {json.dumps(old)} as in the checkpoint {path}, got {json.dumps(new)}; "
                "resume with the configuration of that run, or search into another folder"
            )


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    children: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    if not children:
        yield place, value
    for key, child in children:
        yield from _flat(child, f"{place}.{key}" if place else str(key))
