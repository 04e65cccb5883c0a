"""Images read by several processes of one thread each, for libraries that hold Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray

AT_LEAST = 32
"""Images from which on a second process is worth its start."""


def processes() -> int:
    """`QDGS_PROCESSES`, or two where there are as many cores."""
    told = os.environ.get("QDGS_PROCESSES", "")
    return max(int(told), 1) if told.isdigit() else min(2, os.cpu_count() or 1)


def in_processes(read: Callable[..., NDArray[Any]], *arrays: NDArray[Any]) -> NDArray[Any]:
    """`read(*arrays)` by several processes, each with a part of the rows.

    The processes are fresh ones (no fork, nothing of the main module is run again), stay for later calls
    and end with the program.

    Args:
        read: A function of a module; each row of what it gives depends on the same row of the arrays alone.
        *arrays: Of equal length.
    """
    parts = processes()
    if parts == 1 or len(arrays[0]) < AT_LEAST:
        return read(*arrays)
    split = zip(*(np.array_split(array, parts) for array in arrays), strict=True)
    with joblib.parallel_config(backend="loky", n_jobs=parts, inner_max_num_threads=1):
        read_parts = joblib.Parallel(max_nbytes=None)(joblib.delayed(_alone)(read, *part) for part in split)
    return np.concatenate(read_parts)


def _alone(read: Callable[..., NDArray[Any]], *arrays: NDArray[Any]) -> NDArray[Any]:
    cv2.setNumThreads(1)
    return read(*arrays)
