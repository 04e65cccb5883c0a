"""What the parts of a configuration need that may have to be fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from qdgs.clip.sources import ClipSource
from qdgs.compare_config import CompareConfig
from qdgs.config import PROMPTS, RunConfig
from qdgs.generators.base import SOURCES as GENERATOR_SOURCES
from qdgs.judges.base import SOURCES as JUDGE_SOURCES
from qdgs.probe_config import ProbeConfig
from qdgs.recognition_config import RecognitionConfig
from qdgs.registry import resolve
from qdgs.roles import Named

AnyConfig = RunConfig | CompareConfig | ProbeConfig | RecognitionConfig


class Source(Protocol):
    """Files that may have to be fetched."""

    def missing(self) -> str | None:
        """What is not on this machine, in words; asks no network."""
        ...

    def fetch(self) -> None:
        """Download it."""
        ...


def source_of_generator(config: RunConfig) -> Source | None:
    """Where the generator's files come from."""
    return _of_generator(config.generator)


def source_of_guide(config: RunConfig) -> Source | None:
    """Where the CLIP of a guide of prompts comes from."""
    clip = config.guide.clip
    return ClipSource(clip.model, clip.pretrained) if config.guide.name == PROMPTS else None


def sources_of_judges(config: RunConfig) -> list[Source]:
    """Where the files of judges come from."""
    found = (_source(JUDGE_SOURCES, named.name, named.options) for _, named in config.judges.each())
    return [source for source in found if source is not None]


def source_of_samples(config: RecognitionConfig) -> Source | None:
    """Where the files of the generator that identities are drawn from come from."""
    samples = config.data.samples
    return None if samples is None else _of_generator(samples.generator)


def sources(config: AnyConfig) -> list[Source]:
    """All of them, each once."""
    config = config.run if isinstance(config, CompareConfig | ProbeConfig) else config
    if isinstance(config, RecognitionConfig):
        found = [source_of_samples(config)]
    else:
        found = [source_of_generator(config), source_of_guide(config), *sources_of_judges(config)]
    return [
        source for place, source in enumerate(found) if source is not None and source not in found[:place]
    ]


def missing(sources: list[Source]) -> list[str]:
    """What is not on this machine, in words; asks no network.

    Raises:
        InputError: A model is unknown, or a folder is not there.
    """
    return list(dict.fromkeys(told for source in sources if (told := source.missing()) is not None))


def fetch(config: AnyConfig) -> list[str]:
    """Download what is lacking, and tell what that was.

    Raises:
        InputError: It cannot be had: no network, or no such thing.
    """
    lacking = [(source, told) for source in sources(config) if (told := source.missing()) is not None]
    for source, _ in lacking:
        source.fetch()
    return list(dict.fromkeys(told for _, told in lacking))


def commands(config: AnyConfig) -> list[str]:
    """Commands that download what is lacking on another machine, and how it gets from there to here.

    Raises:
        InputError: A model is unknown, or a folder is not there.
    """
    from huggingface_hub import constants

    lines: list[str] = []
    for source in sources(config):
        told = source.missing()
        if told is not None:
            tell = getattr(source, "commands", lambda told=told: [f"# {told}: qdgs fetch CONFIG"])
            lines += [line for line in tell() if line not in lines]
    into = constants.HF_HUB_CACHE
    end = f"# then copy what that machine's hub cache holds of these (models--…) into {into}"
    return [*lines, end] if lines else ["# nothing to fetch"]


def _of_generator(named: Named) -> Source | None:
    return _source(GENERATOR_SOURCES, named.name, named.options)


def _source(registry: Mapping[str, str], name: str, options: Mapping[str, Any]) -> Source | None:
    if name not in registry:
        return None
    source: Source = resolve(registry, name, place="name")(options)
    return source
