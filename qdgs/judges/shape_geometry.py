"""A judge of triangles and squares that measures: colour from hue, shape and quality from the outline."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from torch import Tensor

from qdgs.datasets.drawing import BLUE, COLORS, MIDDLE_AREA, RED, SHAPES, SIZES

_RED_HUE = colorsys.rgb_to_hsv(*RED)[0]
_BLUE_HUE = colorsys.rgb_to_hsv(*BLUE)[0]


@dataclass(frozen=True)
class Outline:
    """What is measured of the largest figure of an image.

    Attributes:
        ink: How much the figure differs from white, in [0, 1].
        area: Share of the image that it covers.
        elsewhere: Area of everything else, relative to the figure's.
        solidity: Its area relative to its convex hull's.
        rectangle: Share of its minimum-area rectangle that it fills: 1 for a square, 1/2 for a triangle.
        triangle: Share of its minimum enclosing triangle that it fills: 1 for a triangle, 1/2 for a square.
        aspect: Shorter over longer side of that rectangle.
        regularity: Shortest over longest side of that triangle.
        edge: Mean width of the edge's ramp, in shares of the image's side.
        evenness: Standard deviation of ink inside, relative to its mean.
        whole: Whether it keeps clear of the image's border.
    """

    ink: float
    area: float
    elsewhere: float
    solidity: float
    rectangle: float
    triangle: float
    aspect: float
    regularity: float
    edge: float
    evenness: float
    whole: bool


class ShapeGeometry:
    """Reads `shape`, `color` and `size` by geometry and hue; nothing in it was learned.

    `shape_score` is the share filled of the minimum-area rectangle less that of the minimum enclosing
    triangle: −1/2 for a triangle, 1/2 for a square. `color_score` is the place of the mean hue between the
    drawings' red (0) and blue (1). `quality` is the worst of the outline's merits, each relative to what is
    just acceptable (≥ 0 is accepted): one piece, even, convex, straight edges, equal sides, sharp border.
    `size_score` is the share of the image that the figure covers; large is more than a drawing without zoom.
    """

    attributes: Mapping[str, tuple[str, ...]] = {"color": COLORS, "shape": SHAPES, "size": SIZES}

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        pixels = images.detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return pd.DataFrame([_row(image) for image in pixels])


def measure_outline(image: np.ndarray) -> tuple[Outline, np.ndarray] | None:
    """Outline of the largest figure of an image `(height, width, 3)` and its mask, or None without one."""
    ink = 1 - image.min(axis=2)
    peak = float(np.quantile(ink, 0.98))
    mask = (ink > 0.5 * peak).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if peak < 0.05 or not contours:
        return None
    areas = [cv2.contourArea(contour) for contour in contours]
    contour = contours[int(np.argmax(areas))]
    area = max(areas)
    if area < 30:
        return None
    figure = cv2.drawContours(np.zeros_like(mask), [contour], -1, 1, cv2.FILLED).astype(bool)
    inside = cv2.erode(figure.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    (_, (width, height), _) = cv2.minAreaRect(contour)
    triangle_area, corners = cv2.minEnclosingTriangle(contour)
    sides = np.linalg.norm(corners.reshape(3, 2) - np.roll(corners.reshape(3, 2), 1, axis=0), axis=1)
    inner = ink[inside] if inside.any() else ink[figure]
    ramp = np.count_nonzero((ink > 0.15 * peak) & (ink < 0.85 * peak))
    size = len(image)
    x, y, w, h = cv2.boundingRect(contour)
    outline = Outline(
        ink=float(inner.mean()),
        area=area / mask.size,
        elsewhere=(int(mask.sum()) - int((mask * figure).sum())) / area,
        solidity=area / max(cv2.contourArea(cv2.convexHull(contour)), 1e-9),
        rectangle=area / max(width * height, 1e-9),
        triangle=area / max(triangle_area, 1e-9),
        aspect=min(width, height) / max(width, height, 1e-9),
        regularity=float(sides.min() / max(sides.max(), 1e-9)),
        edge=ramp / max(cv2.arcLength(contour, True), 1e-9) / size,
        evenness=float(inner.std() / max(inner.mean(), 1e-9)),
        whole=x > 0 and y > 0 and x + w < size and y + h < size,
    )
    return outline, inside if inside.any() else figure


def quality(outline: Outline) -> float:
    """The worst of the outline's merits; at least 0 is acceptable. Pixels alone cost a clean hull 6 %."""
    square_like = outline.rectangle > outline.triangle
    fill = outline.rectangle if square_like else outline.triangle
    equal = outline.aspect if square_like else outline.regularity
    merits = (
        (outline.ink - 0.45) / 0.55,
        (outline.area - 0.025) / 0.1,
        (0.45 - outline.area) / 0.1,
        (0.03 - outline.elsewhere) / 0.03,
        (outline.solidity - 0.92) / 0.08,
        (fill - 0.85) / 0.15,
        (equal - 0.8) / 0.2,
        (0.045 - outline.edge) / 0.045,
        (0.15 - outline.evenness) / 0.15,
        0.0 if outline.whole else -1.0,
    )
    return min(merits[:-1]) if outline.whole else min(merits)


def _row(image: np.ndarray) -> dict[str, object]:
    measured = measure_outline(image)
    if measured is None:
        return {
            "color": None, "color_score": np.nan, "shape": None, "shape_score": np.nan,
            "size": None, "size_score": np.nan, "accepted": False, "quality": -1.0,
        }  # fmt: skip
    outline, inside = measured
    shape_score = outline.rectangle - outline.triangle
    color_score = _color_score(image[inside].mean(axis=0))
    merit = quality(outline)
    return {
        "color": None if np.isnan(color_score) else COLORS[int(color_score >= 0.5)],
        "color_score": color_score,
        "shape": SHAPES[int(shape_score >= 0)] if abs(shape_score) >= 0.2 else None,
        "shape_score": shape_score,
        "size": SIZES[int(outline.area >= MIDDLE_AREA)],
        "size_score": outline.area,
        "accepted": merit >= 0,
        "quality": merit,
    }


def _color_score(color: np.ndarray) -> float:
    hue, saturation, _ = colorsys.rgb_to_hsv(*(float(value) for value in color))
    score = (_RED_HUE - hue) / (_RED_HUE - _BLUE_HUE)
    return score if saturation >= 0.2 and -0.25 <= score <= 1.25 else float("nan")
