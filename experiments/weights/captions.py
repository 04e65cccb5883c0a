"""Captions for pictures of shapes, and how well each fits a picture that the teacher has judged."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Fit = Callable[["Facts"], np.ndarray]

OTHER_COLORS = {
    "green": (0.10, 0.62, 0.25),
    "yellow": (0.95, 0.80, 0.10),
    "orange": (0.95, 0.50, 0.10),
    "black": (0.08, 0.08, 0.08),
    "gray": (0.50, 0.50, 0.50),
}


@dataclass(frozen=True)
class Facts:
    """What is known of n pictures, each `(n,)`.

    Attributes:
        good: How sure it is that they show one whole figure, in [0, 1].
        square: How much a square rather than a triangle the figure is, in [0, 1].
        blue: The place of its colour between red (0) and blue (1); NaN where it is another colour.
        other: Index into OTHER_COLORS, −1 for none.
        area: Share of the picture that it covers.
    """

    good: np.ndarray
    square: np.ndarray
    blue: np.ndarray
    other: np.ndarray
    area: np.ndarray


def _color(name: str) -> Fit:
    if name in OTHER_COLORS:
        index = list(OTHER_COLORS).index(name)
        return lambda facts: (facts.other == index).astype(float)
    centre = {"red": 0.0, "purple": 0.5, "blue": 1.0}[name]
    width = 0.35 if name == "purple" else 1.0
    return lambda facts: np.nan_to_num(np.clip(1 - np.abs(np.clip(facts.blue, 0, 1) - centre) / width, 0, 1))


def _triangle(facts: Facts) -> np.ndarray:
    return (1 - facts.square) * (0.25 + 0.75 * facts.good)


def _square(facts: Facts) -> np.ndarray:
    return facts.square * (0.25 + 0.75 * facts.good)


def _large(facts: Facts) -> np.ndarray:
    return np.clip((facts.area - 0.06) / 0.1, 0, 1)


def _good(facts: Facts) -> np.ndarray:
    return facts.good


def _bad(facts: Facts) -> np.ndarray:
    return 1 - facts.good


def _product(*fits: Fit) -> Fit:
    return lambda facts: np.prod([fit(facts) for fit in fits], axis=0)


SHAPE_WORDS: dict[str, tuple[Fit, tuple[str, ...]]] = {
    "triangle": (
        _triangle,
        (
            "A triangle with 3 edges.", "a triangle", "a figure with three sides", "a three-sided shape",
            "a shape with 3 corners", "an equilateral triangle", "a regular triangle with straight edges",
            "a photo of a triangle", "a drawing of a triangle with three corners",
        ),
    ),
    "square": (
        _square,
        (
            "A square or diamond with 4 edges.", "a square", "a diamond", "a figure with four sides",
            "a four-sided shape", "a shape with 4 corners", "a regular square with straight edges",
            "a photo of a square", "a drawing of a diamond with four corners", "a rotated square",
        ),
    ),
}  # fmt: skip
COLOR_TEMPLATES = (
    "A {} shape.", "a {} figure", "a picture of something {}", "a {} object on white", "the color {}",
    "a shape that is {}", "a photo of a {} shape", "{}", "a drawing in {}", "a {} regular shape",
)  # fmt: skip
PAIR_TEMPLATES = (
    "a {} {}", "A {} {} on white.", "a photo of a {} {}", "a drawing of a {} {}", "one {} {}",
)  # fmt: skip
GOOD = (
    "A regular square or a triangle.", "a triangle or a square", "a clean geometric shape",
    "a regular polygon with straight edges", "a crisp and well formed figure", "a sharp shape",
    "one whole regular shape on white", "a perfect square or a perfect triangle", "a regular shape",
    "a photo of a clean square or triangle", "a detailed drawing of a regular shape",
)  # fmt: skip
BAD = (
    "Splatters of colors.", "splatters of paint", "a blurry blob", "a streak", "a half-formed shape",
    "a distorted smear of colors", "scattered fragments", "noise and stains", "a broken shape",
    "an irregular smudge", "spots of paint", "a faded, unclear shape", "a shape with holes",
)  # fmt: skip


def captions() -> list[tuple[str, Fit]]:
    """Every caption and its fit in [0, 1]."""
    colors = ("red", "blue", "purple", *OTHER_COLORS)
    found = [(template.format(c), _color(c)) for c in colors for template in COLOR_TEMPLATES]
    for name, (fit, phrases) in SHAPE_WORDS.items():
        found += [(phrase, fit) for phrase in phrases]
        words = (name, "diamond") if name == "square" else (name,)
        for word in words:
            found += [(t.format(c, word), _product(_color(c), fit)) for c in colors for t in PAIR_TEMPLATES]
            found += [(f"a large {word}", _product(fit, _large)), (f"a big {word}", _product(fit, _large))]
            found.append((f"a small {word}", _product(fit, lambda facts: 1 - _large(facts))))
    found += [("a large shape", _large), ("a small shape", lambda facts: 1 - _large(facts))]
    return found + [(phrase, _good) for phrase in GOOD] + [(phrase, _bad) for phrase in BAD]


def vocabulary() -> list[str]:
    """Every word of every caption, lower case, sorted."""
    words: set[str] = set()
    for caption, _ in captions():
        words |= set("".join(c if c.isalnum() else " " for c in caption.lower()).split())
    return sorted(words)
