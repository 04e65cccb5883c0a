"""Generators, judges and guides, made from their names and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from qdgs.config import GuideConfig
from qdgs.errors import ConfigError
from qdgs.generators.base import GENERATORS, Generator
from qdgs.guides.clip import ClipEncoder
from qdgs.guides.prompts import PromptGuide
from qdgs.judges.base import JUDGES, Judge
from qdgs.judges.panel import JudgePanel
from qdgs.registry import nearest, resolve
from qdgs.roles import Judges, JudgesConfig, Named, NamedByAttribute

Device = torch.device | str


def load_generator(named: Named | str, *, device: Device = "cpu") -> Generator:
    """The generator of a name.

    Raises:
        ConfigError: The name or an option is unknown.
    """
    generator: Generator = _made(GENERATORS, named, "generator", device)
    return generator


def load_judge(named: Judges | str, *, device: Device = "cpu", role: str = "auditor") -> Judge:
    """The judge of a name, or a panel where attributes have judges of their own.

    Raises:
        ConfigError: A name or an option is unknown, or a judge does not tell its attribute.
    """
    if isinstance(named, NamedByAttribute):
        return _panel(named, device, f"judges.{role}")
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
    """Other roles that the auditor, or one of several, holds."""
    return list(judges.held_by_the_auditor())


def required_options(make: Callable[..., Any]) -> list[str]:
    """Options that have no default."""
    parameters = inspect.signature(make).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [item.name for item in parameters if item.default is item.empty and item.kind not in several]


def _panel(named: NamedByAttribute, device: Device, place: str) -> JudgePanel:
    made: dict[str, Judge] = {}
    by_attribute = {}
    for attribute, one in named.root.items():
        key = repr(one)  # one judge with one set of options is made once
        made[key] = made.get(key) or _made(JUDGES, one, f"{place}.{attribute}", device)
        if attribute not in made[key].attributes:
            told = ", ".join(made[key].attributes)
            raise ConfigError(f"{place}: expected attributes of {one.name!r} ({told}), got {attribute!r}")
        by_attribute[attribute] = made[key]
    return JudgePanel(by_attribute)


def made_of(
    registry: Mapping[str, str],
    name: str,
    options: Mapping[str, Any],
    place: str,
    *,
    quick: bool = False,
) -> Any:
    """What a name stands for, made with options by keyword.

    Args:
        registry: Name → "module:attribute".
        name: The name that the user gave.
        options: What is given to it.
        place: Where the user named it, for the error.
        quick: Take its `quick` options where none of that name are given.

    Raises:
        ConfigError: The name or an option is unknown, or an option is missing.
    """
    make: Callable[..., Any] = resolve(registry, name, place=f"{place}.name")
    options = {**(getattr(make, "quick", {}) if quick else {}), **options}
    _check_options(make, name, options, place)
    return make(**options)


def _made(registry: Mapping[str, str], named: Named | str, place: str, device: Device) -> Any:
    named = Named(name=named) if isinstance(named, str) else named
    make: Callable[..., Any] = resolve(registry, named.name, place=f"{place}.name")
    _check_options(make, named.name, named.options, place)
    where = {"device": device} if "device" in inspect.signature(make).parameters else {}
    return make(**named.options, **where)


def _check_options(make: Callable[..., Any], name: str, options: Mapping[str, Any], place: str) -> None:
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known or option == "device":
            others = nearest(option, set(known) - {"device"})
            raise ConfigError(f"{place}.{option}: unknown option of {name!r}{others}")
    for option in required_options(make):
        if option not in options:
            raise ConfigError(f"{place}.{option}: expected a value, got none; {name!r} needs one")
