"""What the parts of a configuration need from the Hugging Face Hub.

A class or function in a registry tells it by an attribute `hub_files`, a function of the part's options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdgs.clip.sources import ClipSource
from qdgs.config import PROMPTS, RunConfig
from qdgs.generators.base import GENERATORS
from qdgs.guides.base import GUIDES
from qdgs.hub import HubFile, missing
from qdgs.judges.base import JUDGES
from qdgs.registry import resolve


def files(config: RunConfig) -> list[HubFile]:
    """Every file that a configuration needs, as far as can be told from what is here; asks no network.

    Raises:
        InputError: A part is unknown.
    """
    return [*files_of_generator(config), *files_of_guide(config), *files_of_judges(config)]


def files_of_generator(config: RunConfig) -> list[HubFile]:
    """Files of the generator."""
    return _told(GENERATORS, config.generator.name, config.generator.options, "generator")


def files_of_guide(config: RunConfig) -> list[HubFile]:
    """Files of the guide."""
    guide = config.guide
    if guide.name == PROMPTS:
        return ClipSource(guide.clip.model, guide.clip.pretrained).hub_files()
    return _told(GUIDES, guide.name, guide.options, "guide")


def files_of_judges(config: RunConfig) -> list[HubFile]:
    """Files of every judge."""
    each = config.judges.each()
    return [
        file for place, named in each for file in _told(JUDGES, named.name, named.options, f"judges.{place}")
    ]


def fetch(config: RunConfig) -> list[HubFile]:
    """Download what is lacking; what came may ask for more.

    Raises:
        InputError: It cannot be had: no network, or no such thing.
    """
    fetched: list[HubFile] = []
    while wanted := [file for file in missing(files(config)) if file not in fetched]:
        for file in wanted:
            file.fetch()
        fetched += wanted
    return fetched


def _told(registry: Mapping[str, Any], name: str, options: Mapping[str, Any], place: str) -> list[HubFile]:
    tell = getattr(resolve(registry, name, place=f"{place}.name"), "hub_files", None)
    return [] if tell is None else list(tell(options))
