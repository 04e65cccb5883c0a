"""Colours of pixels: linear light, CIE L*a*b*, and the individual typology angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# IEC 61966-2-1, linear sRGB to CIE XYZ, rows X, Y, Z; white is D65
XYZ_OF_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = XYZ_OF_RGB.sum(axis=1)

ITA_CLASSES = ("dark", "brown", "tan", "intermediate", "light", "very light")
ITA_BOUNDS = (-30.0, 10.0, 28.0, 41.0, 55.0)


def linear(srgb: NDArray[np.floating]) -> Array:
    """Linear light in [0, 1] of sRGB values in [0, 1] (IEC 61966-2-1)."""
    values = np.asarray(srgb, dtype=np.float64)
    light: Array = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return light


def luminance(light: Array) -> Array:
    """Relative luminance Y `(…)` of linear light `(…, 3)`."""
    y: Array = light @ XYZ_OF_RGB[1]
    return y


def lightness(y: Array) -> Array:
    """CIE L* of relative luminance: 116·f(Y) − 16, from 0 (black) to 100 (white)."""
    l_star: Array = 116 * _f(np.asarray(y, dtype=np.float64)) - 16
    return l_star


def lab(light: Array) -> Array:
    """CIE L*a*b* `(…, 3)` of linear light `(…, 3)`, relative to D65.

    References:
        CIE 15:2004, section 8.2.1.
    """
    f = _f((light @ XYZ_OF_RGB.T) / WHITE)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def typology_angle(l_star: Array, b_star: Array) -> Array:
    """Individual typology angle, atan2(L* − 50, b*) in degrees; it says nothing where b* ≤ 0.

    References:
        Chardon, Cretois and Hourseau 1991, "Skin colour typology and suntanning pathways".
    """
    angle: Array = np.degrees(np.arctan2(np.asarray(l_star) - 50, np.asarray(b_star)))
    return angle


def hue(a_star: Array, b_star: Array) -> Array:
    """Hue angle, atan2(b*, a*) in degrees: 0 is red, 90 yellow, negative is towards blue."""
    angle: Array = np.degrees(np.arctan2(b_star, a_star))
    return angle


def exposed(light: Array, stops: float) -> Array:
    """Linear light at another exposure: one stop more doubles it; what exceeds white is cut off."""
    clipped: Array = np.clip(light * 2.0**stops, 0, 1)
    return clipped


def _f(t: Array) -> Array:
    delta = 6 / 29
    f: Array = np.where(t > delta**3, np.cbrt(t), t / (3 * delta**2) + 4 / 29)
    return f
