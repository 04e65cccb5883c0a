"""Generators, judges and guides, made from their names and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from qdgs.config import GuideConfig, JudgesConfig, Named
from qdgs.errors import ConfigError
from qdgs.generators.base import GENERATORS, Generator
from qdgs.guides.clip import ClipEncoder
from qdgs.guides.prompts import PromptGuide
from qdgs.judges.base import JUDGES, Judge
from qdgs.registry import nearest, resolve

Device = torch.device | str


def load_generator(named: Named | str, *, device: Device = "cpu") -> Generator:
    """The generator of a name.

    Raises:
        ConfigError: The name or an option is unknown.
    """
    generator: Generator = _made(GENERATORS, named, "generator", device)
    return generator


def load_judge(named: Named | str, *, device: Device = "cpu", role: str = "auditor") -> Judge:
    """The judge of a name.

    Raises:
        ConfigError: The name or an option is unknown.
    """
    judge: Judge = _made(JUDGES, named, f"judges.{role}", device)
    return judge


def load_guide(config: GuideConfig, *, device: Device = "cpu") -> PromptGuide:
    """The guide of a configuration; its prompts are embedded here, once.

    Raises:
        InputError: The CLIP is unknown or cannot be had.
    """
    encoder = ClipEncoder.load(config.clip.model, config.clip.pretrained, device=device)
    return PromptGuide(encoder, config)


def judges_shared(judges: JudgesConfig) -> list[str]:
    """Other roles that the auditor holds."""
    if judges.auditor is None:
        return []
    return [role for role in ("teacher", "gate") if _name(getattr(judges, role)) == judges.auditor.name]


def _name(named: Named | None) -> str | None:
    return named.name if named else None


def _made(registry: Mapping[str, str], named: Named | str, place: str, device: Device) -> Any:
    named = Named(name=named) if isinstance(named, str) else named
    make: Callable[..., Any] = resolve(registry, named.name, place=f"{place}.name")
    known = inspect.signature(make).parameters
    for option in named.options:
        if option not in known or option == "device":
            others = nearest(option, set(known) - {"device"})
            raise ConfigError(f"{place}.{option}: unknown option of {named.name!r}{others}")
    where = {"device": device} if "device" in known else {}
    return make(**named.options, **where)
