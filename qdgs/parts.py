"""Generators, judges and guides, made from their names and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from qdgs.clip.encoder import ClipEncoder
from qdgs.config import PROMPTS, GuideConfig
from qdgs.errors import ConfigError
from qdgs.generators.base import GENERATORS, Generator
from qdgs.generators.own import check_generator, check_latents, check_rows
from qdgs.guides.base import GUIDES, SearchGuide
from qdgs.guides.own import OwnGuide, check_guide
from qdgs.guides.prompts import PromptGuide
from qdgs.judges.base import JUDGES, Judge
from qdgs.judges.own import check_judge
from qdgs.judges.panel import JudgePanel
from qdgs.registry import resolve
from qdgs.roles import Judges, JudgesConfig, Named, NamedByAttribute
from qdgs.targets import make

Device = torch.device | str


def load_generator(named: Named | str, *, device: Device = "cpu") -> Generator:
    """The generator of a name; one that a user brought is asked for two images.

    Raises:
        ConfigError: The name or an option is unknown, or it is no generator.
    """
    named = Named(name=named) if isinstance(named, str) else named
    generator: Generator = _made(GENERATORS, named, "generator", device)
    check_generator(generator, "generator")
    if not _is_shipped(GENERATORS, named):
        check_latents(generator, "generator")
        check_rows(generator, "generator", device=device)
    return generator


def load_judge(named: Judges | str, *, device: Device = "cpu", role: str = "auditor") -> Judge:
    """The judge of a name, or a panel where attributes have judges of their own.

    Raises:
        ConfigError: A name or an option is unknown, or a judge does not tell its attribute.
    """
    if isinstance(named, NamedByAttribute):
        return _panel(named, device, f"judges.{role}")
    judge: Judge = _made(JUDGES, named, f"judges.{role}", device)
    check_judge(judge, f"judges.{role}")
    return judge


def load_guide(config: GuideConfig, *, device: Device = "cpu") -> SearchGuide:
    """The guide of a configuration; prompts are embedded here, once.

    Raises:
        InputError: The guide or its CLIP is unknown or cannot be had, or lacks a measure.
    """
    if config.name == PROMPTS:
        encoder = ClipEncoder.load(config.clip.model, config.clip.pretrained, device=device)
        return PromptGuide(encoder, config)
    thing = resolve(GUIDES, config.name, place="guide.name")
    given = {"device": device, "measure_names": tuple(measure.name for measure in config.measures)}
    guide = make(thing, config.options, name=config.name, place="guide", given=given)
    check_guide(guide, "guide")
    return OwnGuide(guide, config)


def judges_shared(judges: JudgesConfig) -> list[str]:
    """Other roles that the auditor, or one of several, holds."""
    return list(judges.held_by_the_auditor())


def is_brought(registry: Mapping[str, Any], named: Named) -> bool:
    """Whether a part is the user's own, so that it is looked at before it is used."""
    return named.name in ("python", "torchscript") or not _is_shipped(registry, named)


def _is_shipped(registry: Mapping[str, Any], named: Named) -> bool:
    entry = registry.get(named.name)
    return isinstance(entry, str) and entry.startswith("qdgs.")


def _panel(named: NamedByAttribute, device: Device, place: str) -> JudgePanel:
    made: dict[str, Judge] = {}
    by_attribute = {}
    for attribute, one in named.root.items():
        key = repr(one)  # one judge with one set of options is made once
        if key not in made:
            made[key] = _made(JUDGES, one, f"{place}.{attribute}", device)
            check_judge(made[key], f"{place}.{attribute}")
        if attribute not in made[key].attributes:
            told = ", ".join(made[key].attributes)
            raise ConfigError(f"{place}: expected attributes of {one.who!r} ({told}), got {attribute!r}")
        by_attribute[attribute] = made[key]
    return JudgePanel(by_attribute)


def made_of(
    registry: Mapping[str, Any],
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
    thing = resolve(registry, name, place=f"{place}.name")
    options = {**(getattr(thing, "quick", {}) if quick else {}), **options}
    return make(thing, options, name=name, place=place, given={})


def _made(registry: Mapping[str, Any], named: Named | str, place: str, device: Device) -> Any:
    named = Named(name=named) if isinstance(named, str) else named
    thing = resolve(registry, named.name, place=f"{place}.name")
    return make(
        thing, named.options, name=named.name, place=place, given={"device": device, "asked_at": place}
    )
