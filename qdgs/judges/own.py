"""Judges that a user brings: an object made by Python code, or a TorchScript file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from qdgs.errors import ConfigError, QdgsError, is_out_of_memory
from qdgs.judges.base import Judge
from qdgs.judges.probabilities import check_confidence, check_values, read_logits
from qdgs.scripted import Script
from qdgs.targets import Member, check_members, make_target, told_of, whole_number

MEMBERS: dict[str, Member] = {
    "attributes": (
        "a mapping of attributes to their values",
        lambda value: (
            isinstance(value, Mapping)
            and len(value) > 0
            and all(isinstance(names, tuple | list) for names in value.values())
        ),
    ),
    "judge": ("a method of images", callable),
}


def python_judge(
    target: str, *, device: torch.device | str = "cpu", asked_at: str = "judges", **options: Any
) -> Judge:
    """The judge that the user's code makes.

    Args:
        target: "package.module:factory".
        device: Handed on where the factory takes it.
        asked_at: The key of the configuration that asks for it, for errors.
        options: Handed on.

    Raises:
        ConfigError: The target cannot be imported, fails, or makes no judge.
    """
    judge: Judge = make_target(target, options, place=asked_at, given={"device": device})
    check_judge(judge, f"{asked_at}.target ({target})")
    return judge


def check_judge(judge: object, place: str) -> None:
    """See that an object is a judge.

    Raises:
        ConfigError: Names what it lacks.
    """
    check_members(judge, MEMBERS, kind="a judge", place=place)


def check_rows(judge: Judge, images: Tensor, place: str) -> None:
    """See that a judge tells of images what judges tell.

    Raises:
        ConfigError: It fails, a column is missing, or a value is not one of the attribute's.
    """
    try:
        rows: object = judge.judge(images)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        if isinstance(error, QdgsError) or is_out_of_memory(error):
            raise
        raise ConfigError(f"{place}: fails on images {tuple(images.shape)}: {told_of(error)}") from error
    if not isinstance(rows, pd.DataFrame) or len(rows) != len(images):
        got = f"{len(rows)} rows" if isinstance(rows, pd.DataFrame) else f"a {type(rows).__name__}"
        raise ConfigError(f"{place}: expected a DataFrame of {len(images)} rows of judge(images), got {got}")
    needed = [part for name in judge.attributes for part in (name, f"{name}_score")]
    missing = [name for name in [*needed, "accepted", "quality"] if name not in rows]
    if missing:
        raise ConfigError(
            f"{place}: expected a column for each attribute, got none named {', '.join(missing)}"
        )
    if rows["accepted"].dtype != np.dtype(bool):
        raise ConfigError(f"{place}: expected accepted to be a column of bool, got {rows['accepted'].dtype}")
    for attribute, values in judge.attributes.items():
        other = set(rows[attribute].dropna()) - set(values)
        if other:
            known = ", ".join(map(str, values))
            raise ConfigError(
                f"{place}: expected values of {attribute} ({known}), got {min(map(str, other))!r}"
            )


class TorchScriptJudge:
    """A TorchScript module from images to logits `(n, values)`, those of one attribute after the other.

    Args:
        path: The file.
        attributes: Attribute → its values, from low to high.
        image_size: What images are resized to for it; without it they stay as they are.
        confidence: Probability from which on a value is told.
        device: Where it works.
        asked_at: The key of the configuration that asks for it, for errors.

    Raises:
        ConfigError: An option does not hold, or the module gives something else.
        MissingModelError: There is no such file.
        CorruptFileError: The file is not TorchScript.
    """

    def __init__(
        self,
        path: str,
        attributes: Mapping[str, Sequence[str]],
        *,
        image_size: int | None = None,
        confidence: float = 0.0,
        device: torch.device | str = "cpu",
        asked_at: str = "judges",
    ) -> None:
        self.attributes: Mapping[str, tuple[str, ...]] = check_values(asked_at, attributes)
        self.confidence = check_confidence(asked_at, confidence)
        if image_size is not None and not whole_number(image_size):
            raise ConfigError(f"{asked_at}.image_size: expected an integer of at least 1, got {image_size!r}")
        self.image_size = image_size
        self.script = Script(path, place=asked_at, device=device)
        self.device = torch.device(device)

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        images = images.to(self.device)
        if self.image_size is not None and images.shape[-1] != self.image_size:
            side = (self.image_size, self.image_size)
            images = functional.interpolate(images, side, mode="bilinear", antialias=True)
        with torch.no_grad():
            logits: object = self.script(images)
        sizes = [len(values) for values in self.attributes.values()]
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (len(images), sum(sizes)):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(
                f"{self.script.place}.path: expected logits {(len(images), sum(sizes))}, got {got}"
            )
        parts = dict(zip(self.attributes, torch.split(logits, sizes, dim=1), strict=True))
        return read_logits(self.attributes, parts, confidence=self.confidence)
