"""Captions for pictures of faces, and how well each fits a picture that the teachers have judged.

Words of lightness, presentation and age say how a picture looks to the teachers. No caption says what someone
is: there is no man or woman among the words, and no name of an origin.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy.special import expit, logit

Fit = Callable[["FaceFacts"], np.ndarray]

# Knots through which a score becomes a place in [0, 1]: quantiles of random samples, their tails stretched
LIGHTNESS_KNOTS = ((8, 13, 25, 36, 47, 64, 80), (0.0, 0.07, 0.27, 0.5, 0.73, 0.93, 1.0))
AGE_KNOTS = ((15, 21, 25, 29, 34, 46, 57), (0.0, 0.1, 0.27, 0.45, 0.65, 0.9, 1.0))
ODDS_SPAN = 10.0
"""Logarithm of the odds of feminine between the ends of the scale."""


@dataclass(frozen=True)
class FaceFacts:
    """What is known of n pictures, each `(n,)` in [0, 1]; NaN where nobody can tell.

    Attributes:
        good: How sure it is that they show one found and sharp face in the light of day.
        light: The place of the face's apparent lightness between dark and light.
        feminine: The place of its presentation between masculine and feminine.
        old: The place of its apparent age between young and old.
    """

    good: np.ndarray
    light: np.ndarray
    feminine: np.ndarray
    old: np.ndarray

    @property
    def attributes(self) -> np.ndarray:
        """Light, feminine and old `(n, 3)`."""
        return np.stack([self.light, self.feminine, self.old], axis=1)


def facts_of(rows: pd.DataFrame) -> FaceFacts:
    """The teachers' opinion as facts.

    Args:
        rows: Columns `<judge>/<column>` of faces-dlib and face-light, and `spoiled` in [0, 1]: how much a
            picture is to count as bad whatever they say.
    """
    score = rows["faces-dlib/quality"].to_numpy(float)
    sharp = rows["faces-dlib/face_sharpness"].fillna(0).to_numpy(float)
    light = rows["face-light/lightness_score"].to_numpy(float)
    good = expit((score - 0.15) / 0.15) * expit((sharp - 0.08) / 0.01)
    good = good * np.where(np.isnan(light), 0.4, 1.0) * (1 - rows["spoiled"].to_numpy(float))
    odds = logit(np.clip(rows["faces-dlib/presentation_score"].to_numpy(float), 1e-4, 1 - 1e-4))
    return FaceFacts(
        good=good,
        light=np.interp(light, *LIGHTNESS_KNOTS),
        feminine=np.clip(0.5 + odds / ODDS_SPAN, 0, 1),
        old=np.interp(rows["faces-dlib/age_score"].to_numpy(float), *AGE_KNOTS),
    )


def joined(facts: list[FaceFacts]) -> FaceFacts:
    """The facts of several pools one after the other."""
    return FaceFacts(
        *(np.concatenate([getattr(one, field.name) for one in facts]) for field in fields(FaceFacts))
    )


def _light(facts: FaceFacts) -> np.ndarray:
    return facts.light


def _dark(facts: FaceFacts) -> np.ndarray:
    return 1 - facts.light


def _medium(facts: FaceFacts) -> np.ndarray:
    return 1 - 2 * np.abs(facts.light - 0.5)


def _feminine(facts: FaceFacts) -> np.ndarray:
    return facts.feminine


def _masculine(facts: FaceFacts) -> np.ndarray:
    return 1 - facts.feminine


def _young(facts: FaceFacts) -> np.ndarray:
    return 1 - facts.old


def _old(facts: FaceFacts) -> np.ndarray:
    return facts.old


def _between(facts: FaceFacts) -> np.ndarray:
    return np.clip(1 - np.abs(facts.old - 0.72) / 0.4, 0, 1)


def _good(facts: FaceFacts) -> np.ndarray:
    return facts.good


def _bad(facts: FaceFacts) -> np.ndarray:
    return 1 - facts.good


def _all(*fits: Fit) -> Fit:
    return lambda facts: np.prod([fit(facts) for fit in fits], axis=0)


LIGHTNESS: dict[str, tuple[Fit, tuple[str, ...]]] = {
    "dark": (
        _dark,
        (
            "A person with dark skin.", "a dark face", "a face with dark skin", "a dark-skinned person",
            "skin that looks dark", "a photo of a person with dark skin", "a portrait with a dark complexion",
            "someone whose skin looks dark", "a person with deep brown skin", "dark skin",
        ),
    ),
    "medium": (
        _medium,
        (
            "A person with medium skin.", "a face of medium lightness", "a person with tan skin",
            "a medium complexion", "skin that is neither dark nor light",
        ),
    ),
    "light": (
        _light,
        (
            "A person with light skin.", "a light face", "a face with light skin", "a light-skinned person",
            "skin that looks light", "a photo of a person with light skin", "a person with pale skin",
            "a portrait with a light complexion", "someone whose skin looks light", "a pale face",
            "light skin",
        ),
    ),
}  # fmt: skip
PRESENTATION: dict[str, tuple[Fit, tuple[str, ...]]] = {
    "masculine": (
        _masculine,
        (
            "A masculine person.", "a masculine face", "a person who looks masculine",
            "a face with masculine features", "someone of masculine appearance", "masculine looks",
            "a photo of a masculine person", "a portrait of a masculine person", "masculine presentation",
        ),
    ),
    "feminine": (
        _feminine,
        (
            "A feminine person.", "a feminine face", "a person who looks feminine",
            "a face with feminine features", "someone of feminine appearance", "feminine looks",
            "a photo of a feminine person", "a portrait of a feminine person", "feminine presentation",
        ),
    ),
}  # fmt: skip
AGE: dict[str, tuple[Fit, tuple[str, ...]]] = {
    "20s": (
        _young,
        (
            "A person in their 20s.", "a young face", "a young person", "a young adult",
            "someone who looks young", "a person who looks about 20 years old", "a photo of a young person",
            "a portrait of a person in their 20s", "youthful features", "a person in their twenties",
        ),
    ),
    "30s": (
        _between,
        (
            "A person in their 30s.", "a person in their 40s", "a middle-aged person", "a middle-aged face",
            "someone who looks neither young nor old", "a photo of a person in their 30s",
        ),
    ),
    "50s": (
        _old,
        (
            "A person in their 50s.", "an old face", "an older person", "an older adult",
            "someone who looks old", "a person who looks about 50 years old", "a photo of an older person",
            "a portrait of a person in their 50s", "an aged face with wrinkles", "a person in their fifties",
        ),
    ),
}  # fmt: skip
GOOD = (
    "A detailed photo of an individual with diverse features.", "a detailed photo of a face",
    "a clear portrait", "a sharp photo of a person", "a photo of one person", "a face in natural light",
    "a realistic face", "a well formed face", "a high quality portrait of an individual",
    "a good photo of a person", "a portrait with two eyes, a nose and a mouth", "a whole face in focus",
    "a clear photo of an individual with natural features",
)  # fmt: skip
BAD = (
    "An obscure, fake, or discolored photo of a person.", "a blurry photo of a face", "a distorted face",
    "a half-formed face", "a discolored face", "an obscure picture", "a fake face", "no face at all",
    "a smeared portrait", "a face with broken features", "a low quality, unclear photo of a person",
    "a jumble of parts", "two faces on top of each other", "a face in unnatural colors", "noise and stains",
    "a deformed person", "a fake or distorted photo of an individual",
)  # fmt: skip


def captions() -> list[tuple[str, Fit]]:
    """Every caption and its fit in [0, 1], NaN where nobody can tell."""
    found: list[tuple[str, Fit]] = []
    for words in (LIGHTNESS, PRESENTATION, AGE):
        found += [(phrase, fit) for fit, phrases in words.values() for phrase in phrases]
    for tone, (is_tone, _) in LIGHTNESS.items():
        for looks, (is_looks, _) in PRESENTATION.items():
            found.append((f"A {looks} person with {tone} skin.", _all(is_tone, is_looks)))
            found.append((f"a photo of a {looks} face with {tone} skin", _all(is_tone, is_looks)))
            for years, (is_aged, _) in AGE.items():
                whole = _all(is_tone, is_looks, is_aged)
                found.append((f"A {looks} person with {tone} skin in their {years}.", whole))
        for years, (is_aged, _) in AGE.items():
            found.append((f"A person with {tone} skin in their {years}.", _all(is_tone, is_aged)))
    for looks, (is_looks, _) in PRESENTATION.items():
        for years, (is_aged, _) in AGE.items():
            found.append((f"A {looks} person in their {years}.", _all(is_looks, is_aged)))
            found.append((f"a portrait of a {looks} person in their {years}", _all(is_looks, is_aged)))
    return found + [(phrase, _good) for phrase in GOOD] + [(phrase, _bad) for phrase in BAD]


def vocabulary() -> list[str]:
    """Every word of every caption, lower case, sorted."""
    words: set[str] = set()
    for caption, _ in captions():
        words |= set("".join(c if c.isalnum() else " " for c in caption.lower()).split())
    return sorted(words)
