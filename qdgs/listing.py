"""What there is to choose from, and whether each of it can be used on this machine."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, NamedTuple

from qdgs.config import ALGORITHMS, PROMPTS
from qdgs.errors import MissingModelError, MissingPackageError, QdgsError
from qdgs.registry import resolve

ALGORITHM_LINES = {
    "random": "samples of the prior alone: what everything else is to beat",
    "map_elites": "Gaussian mutations of elites",
    "map_elites_line": "mutations along lines between elites",
    "cma_me": "CMA-ES emitters ranked by improvement",
    "cma_mae": "the same in an annealed archive; best without gradients and for few latents",
    "cma_mega": "gradients of objective and measures, weighted by CMA-ES",
    "cma_maega": "the same in an annealed archive; for many latents, as published",
}

GUIDE_LINES = {
    "qdgs-faces": "knows how light, feminine and old small rendered faces look, and no more",
    "qdgs-mini": "knows drawn shapes and colours alone",
}


class Part(NamedTuple):
    """A registered thing and whether it can be used here."""

    name: str
    state: str


def parts_here() -> dict[str, list[Part]]:
    """Heading → names with whether each can be used here."""
    from qdgs.generators.base import GENERATORS
    from qdgs.judges.base import JUDGES

    parts = {
        "generators": [Part(name, _state(GENERATORS, name)) for name in sorted(GENERATORS)],
        "guides": _guides(),
        "judges": [Part(name, _state(JUDGES, name)) for name in sorted(JUDGES)],
        "algorithms": [Part(name, ALGORITHM_LINES[name]) for name in ALGORITHMS],
    }
    samplers = _samplers()
    return {**parts, "samplers": samplers} if samplers else parts


def _state(registry: Mapping[str, Any], name: str) -> str:
    from qdgs.targets import is_factory, required_options

    try:
        thing = resolve(registry, name, place="name")
        lacking = [package for package in getattr(thing, "packages", ()) if find_spec(package) is None]
        if lacking:
            return f"needs an optional package: pip install 'qdgs[{lacking[0]}]'"
        needed = required_options(thing) if is_factory(thing) else []
        if needed:
            ready = f"ready; needs the option{'s' if needed[1:] else ''} {', '.join(needed)}"
            partly = getattr(thing, "lacking", lambda: None)()
            return f"{ready}; {partly}" if partly else ready
        if is_factory(thing):
            thing()
    except (MissingPackageError, MissingModelError) as error:
        return str(error)
    except (QdgsError, ImportError, TypeError) as error:
        return f"cannot be used here: {error}"
    return "ready"


def _guides() -> list[Part]:
    from qdgs.clip.sources import EMBEDDED
    from qdgs.guides.base import GUIDES

    return [
        *(Part(name, _guide_state(name)) for name in EMBEDDED),
        *(Part(name, "ready; on this machine") for name in _fetched_clips()),
        Part("local-dir:FOLDER", "any open_clip model in a folder"),
        Part("hf-hub:ORGANISATION/REPOSITORY", "fetched once, by qdgs fetch"),
        Part(
            "ViT-B-32 and others",
            "any open_clip architecture with a tag of its weights, or a checkpoint file, as "
            f"guide.clip.pretrained; {_text_towers()}",
        ),
        *(Part(name, f"guide.name: {_state(GUIDES, name)}") for name in sorted(GUIDES) if name != PROMPTS),
    ]


def _fetched_clips() -> list[str]:
    """Architectures and tags of open_clip whose files are here."""
    from qdgs.clip.sources import ClipSource
    from qdgs.compat import import_open_clip
    from qdgs.hub import missing

    found = []
    for model, tag in import_open_clip().list_pretrained():
        with suppress(QdgsError):
            if not missing(ClipSource(model, tag).hub_files()):
                found.append(f"{model} {tag}")
    return found


def _text_towers() -> str:
    if find_spec("transformers") is None:
        return "of SigLIP and others of transformers: pip install 'qdgs[transformers]'"
    return "SigLIP and others of transformers too"


def _guide_state(name: str) -> str:
    from qdgs.clip.encoder import ClipEncoder

    try:
        ClipEncoder.load(name, device="cpu")
    except QdgsError as error:
        return f"cannot be used here: {error}"
    return f"ready; embedded, {GUIDE_LINES[name]}"


def _samplers() -> list[Part]:
    try:
        registry: Mapping[str, str] = importlib.import_module("qdgs.samplers.base").SAMPLERS
    except (ImportError, AttributeError):
        return []
    return [Part(name, _state(registry, name)) for name in sorted(registry)]
