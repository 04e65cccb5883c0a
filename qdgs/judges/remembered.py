"""Readings of images kept on disk, so that no image is read twice."""

from __future__ import annotations

import hashlib
import inspect
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qdgs.files import cache_folder

if TYPE_CHECKING:  # the processes that read start faster without torch
    from torch import Tensor

Pixels = NDArray[np.uint8]
Readings = NDArray[np.float64]

TOGETHER = 500
"""Images asked for in one query; SQLite takes at least 999 parameters."""
PATIENCE = 10.0
"""Seconds to wait for another process that writes."""


def remembered(
    pixels: Pixels,
    read: Callable[[Pixels], Readings],
    *,
    columns: int,
    key: str,
    folder: Path | None = None,
) -> Readings:
    """Readings of images by their content: those known from before, and the rest read now.

    A cache that cannot be read or written costs time, never a result.

    Args:
        pixels: `(n, height, width, 3)`.
        read: Reads `(m, height, width, 3)` to `(m, columns)`, each row from its image alone.
        columns: Length of a reading.
        key: What tells this way of reading from others.
        folder: Where readings are kept, instead of the user's cache folder.

    Returns:
        `(n, columns)`.
    """
    path = (cache_folder() if folder is None else folder) / f"readings-{key[:24]}.sqlite"
    names = [content_of(image) for image in pixels]
    known = _look_up(path, names, columns)
    new = {name: row for row, name in enumerate(names) if name not in known}
    if new:
        fresh = dict(zip(new, read(pixels[list(new.values())]), strict=True))
        _keep(path, fresh)
        known |= fresh
    return np.array([known[name] for name in names], dtype=np.float64).reshape(-1, columns)


def content_of(image: Pixels) -> bytes:
    """SHA-256 of an image's shape and 8-bit pixels."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()


def eight_bit(images: Tensor) -> Pixels:
    """Pixels `(batch_size, height, width, 3)` of images `(batch_size, 3, height, width)` in [0, 1]."""
    pixels: Pixels = (images.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def sources(*modules: ModuleType | str) -> str:
    """SHA-256 of the source of modules, as far as there is one: what their readings depend on."""
    digest = hashlib.sha256()
    for module in modules:
        with suppress(OSError):
            digest.update(
                inspect.getsource(sys.modules[module] if isinstance(module, str) else module).encode()
            )
    return digest.hexdigest()


def _look_up(path: Path, names: Sequence[bytes], columns: int) -> dict[bytes, Readings]:
    known: dict[bytes, Readings] = {}
    if not path.is_file():
        return known
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        for start in range(0, len(names), TOGETHER):
            some = names[start : start + TOGETHER]
            query = (
                "SELECT image, reading FROM readings WHERE length(reading) = ? AND image IN "
                f"({','.join('?' * len(some))})"
            )
            rows = connection.execute(query, [8 * columns, *some])
            known |= {image: np.frombuffer(reading, dtype="<f8") for image, reading in rows}
    return known


def _keep(path: Path, readings: Mapping[bytes, Readings]) -> None:
    rows = [(name, np.asarray(reading, dtype="<f8").tobytes()) for name, reading in readings.items()]
    with suppress(sqlite3.Error, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS readings (image BLOB PRIMARY KEY, reading BLOB)")
            connection.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?)", rows)
