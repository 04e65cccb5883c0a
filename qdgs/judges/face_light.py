"""A judge of how light a face appears: colorimetry of its skin-coloured pixels, nothing of it learned."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from qdgs.errors import InputError
from qdgs.judges import colorimetry, faces
from qdgs.judges.remembered import Pixels, Readings, eight_bit, remembered, sources

LIGHTNESS = ("dark", "medium", "light")
CUTS = (30.0, 55.0)
SKIN_SHARE = 0.5
"""Share of the face's oval that must be skin-coloured: less is coloured light, a mask or no face."""
BACKGROUND_SHARE = 0.02
"""Share of the image that must lie outside of the head for its background to be told."""

# half axes of ovals in shares of the found box's sides: of the face, and of the head, whose centre is higher
FACE_OVAL = (0.425, 0.475, 0.0)
HEAD_OVAL = (0.65, 0.75, 0.1)

COLUMNS = (
    "face_score",
    "apparent_lightness",
    "ita",
    "skin_hue",
    "skin_share",
    "background_luminance",
    "lightness_darker",
    "lightness_brighter",
    "ita_darker",
    "ita_brighter",
)


@dataclass(frozen=True)
class ExposureChanges:
    """How many faces change class when the exposure alone does.

    Attributes:
        faces: Faces that a class is told of.
        darker: Share of them whose lightness class is another at one stop less.
        brighter: Likewise at one stop more.
        lightness: Likewise at either.
        tone: Share whose class of typology angle is another at either.
    """

    faces: int
    darker: float
    brighter: float
    lightness: float
    tone: float


class FaceLight:
    """Reads `lightness` off the skin-coloured pixels of the found face: apparent lightness, not skin tone.

    `apparent_lightness` is the median CIE L* of these pixels. It grows with exposure and light as with the
    skin itself; `exposure_changes` tells how much of it that is. `ita` is the individual typology angle of
    their median colour and `skin_hue` its hue angle, both in degrees. `background_luminance` is the
    relative luminance outside of the head, in [0, 1].

    Pixels count as skin-coloured where red > green ≳ blue in linear light, by ratios, so that exposure does
    not decide. Under coloured light few do, and then nothing is told. The face is found by dlib, whose
    detector misses more of the darkest faces: this judge is independent of dlib's networks, not of that.
    Accepted is what a lightness can be told of, which depends on the light: no gate for a dataset.

    Args:
        cuts: L* from which on a face is medium, and light.

    Raises:
        InputError: The cuts are not two growing numbers in (0, 100).
        MissingPackageError: The extra `faces` is not installed.

    References:
        Chardon, Cretois and Hourseau 1991 (typology angle); Soriano et al. 2003, "Adaptive skin color
        modeling using the skin locus for selecting training pixels" (skin by chromaticity).
    """

    attributes: Mapping[str, tuple[str, ...]] = {"lightness": LIGHTNESS}

    def __init__(self, *, cuts: Sequence[float] = CUTS) -> None:
        if len(cuts) != 2 or not 0 < cuts[0] < cuts[1] < 100:
            raise InputError(
                f"face-light.cuts: expected two growing numbers between 0 and 100, got {list(cuts)}"
            )
        faces.check_installed("face-light")
        self.cuts = tuple(float(cut) for cut in cuts)
        self.reading = reading_key()

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        read = pd.DataFrame(read_light(eight_bit(images)), columns=list(COLUMNS))
        found = read["face_score"] >= faces.THRESHOLD
        classes = _classes(read["apparent_lightness"].to_numpy(), self.cuts)
        values = [LIGHTNESS[place] if place >= 0 else None for place in classes]
        protocol = pd.DataFrame(
            {
                "lightness": values,
                "lightness_score": read["apparent_lightness"],
                "accepted": found & (classes >= 0),
                "quality": read["face_score"],
                "face_found": found,
            }
        )
        return pd.concat([protocol, read], axis=1)

    def exposure_changes(self, read: pd.DataFrame) -> ExposureChanges:
        """Shares of faces that change class at one stop less or more of light.

        Args:
            read: Rows of `judge`.
        """
        now, darker, brighter = (
            _classes(read[column].to_numpy(), self.cuts)
            for column in ("apparent_lightness", "lightness_darker", "lightness_brighter")
        )
        tone, tone_darker, tone_brighter = (
            _classes(read[column].to_numpy(), colorimetry.ITA_BOUNDS)
            for column in ("ita", "ita_darker", "ita_brighter")
        )
        told = now >= 0

        def share(changed: np.ndarray) -> float:
            return float(changed[told].mean()) if told.any() else float("nan")

        return ExposureChanges(
            faces=int(told.sum()),
            darker=share(darker != now),
            brighter=share(brighter != now),
            lightness=share((darker != now) | (brighter != now)),
            tone=share((tone_darker != tone) | (tone_brighter != tone)),
        )


def read_light(pixels: Pixels) -> Readings:
    """`COLUMNS` `(n, 10)` of images `(n, height, width, 3)`, from memory where read before."""

    def read(new: Pixels) -> Readings:
        found = faces.find_faces(new)
        rows = [measure(image, face) for image, face in zip(new, found, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))

    return remembered(pixels, read, columns=len(COLUMNS), key=reading_key())


def measure(image: Pixels, found: np.ndarray) -> list[float]:
    """`COLUMNS` of one image `(height, width, 3)` with its found face, NaN where there is none."""
    score = float(found[faces.SCORE])
    nothing = [score, *[np.nan] * (len(COLUMNS) - 1)]
    if score < faces.THRESHOLD:
        return nothing
    light = colorimetry.linear(image / 255)
    face, head = (_oval(image, found, shape) for shape in (FACE_OVAL, HEAD_OVAL))
    skin = face & skin_coloured(light)
    share = skin.sum() / max(face.sum(), 1)
    outside = colorimetry.luminance(light[~head])
    background = float(outside.mean()) if outside.size >= BACKGROUND_SHARE * head.size else np.nan
    if share < SKIN_SHARE:
        return [score, np.nan, np.nan, np.nan, share, background, *[np.nan] * 4]
    now, darker, brighter = (
        np.median(colorimetry.lab(colorimetry.exposed(light[skin], stops)), axis=0) for stops in (0, -1, 1)
    )
    ita, ita_darker, ita_brighter = (
        float(colorimetry.typology_angle(color[0], color[2])) for color in (now, darker, brighter)
    )
    hue = float(colorimetry.hue(now[1], now[2]))
    return [
        score, now[0], ita, hue, share, background, darker[0], brighter[0], ita_darker, ita_brighter
    ]  # fmt: skip


def skin_coloured(light: colorimetry.Array) -> np.ndarray:
    """Which pixels `(…, 3)`, in linear light, have the chromaticity of skin: ratios alone decide."""
    red, green, blue = light[..., 0], light[..., 1], light[..., 2]
    coloured: np.ndarray = (red > 1.02 * green) & (blue < 1.1 * green) & (red < 6 * green)
    return coloured


@functools.cache
def reading_key() -> str:
    """What tells this way of reading from others."""
    parts = [faces.detection(), sources(__name__, colorimetry)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _oval(image: Pixels, found: np.ndarray, shape: tuple[float, float, float]) -> np.ndarray:
    """Which pixels lie in an oval around the found face."""
    height, width = image.shape[:2]
    left, top, right, bottom = faces.box_in_image(found, image)
    across, along, higher = shape
    x = (np.arange(width) + 0.5 - (left + right) / 2) / (across * (right - left))
    y = (np.arange(height) + 0.5 - (top + bottom) / 2 + higher * (bottom - top)) / (along * (bottom - top))
    inside: np.ndarray = x[None, :] ** 2 + y[:, None] ** 2 <= 1
    return inside


def _classes(values: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """Place of each value among the bounds, −1 where it is missing."""
    return np.where(np.isnan(values), -1, np.digitize(np.nan_to_num(values), bounds))
