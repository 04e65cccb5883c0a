"""What a configuration needs, what this machine can use, and whether the installation is well."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from qdgs.config import ALGORITHMS, RunConfig, load_config, read_mapping
from qdgs.errors import MissingModelError, MissingPackageError, QdgsError
from qdgs.recognition_config import RecognitionConfig, load_recognition
from qdgs.registry import resolve

PACKAGES = ("torch", "torchvision", "open-clip-torch", "ribs", "numpy", "pandas", "pyarrow", "scikit-learn")
ENOUGH_DISK = 2 * 2**30

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


class Examined(NamedTuple):
    """One thing that the doctor looked at."""

    name: str
    found: str
    well: bool


def check_file(path: Path, overrides: Sequence[str] = ()) -> list[str]:
    """What is to be said of a configuration of whatever kind.

    Raises:
        InputError: It does not hold.
    """
    if read_mapping(path).get("kind") == "recognition":
        return _check_recognition(load_recognition(path, overrides))
    return check_config(load_config(path, overrides))


def check_config(config: RunConfig) -> list[str]:
    """What is to be said of a configuration that holds: whether it can run here, and what it would fetch.

    Raises:
        InputError: A generator, guide or judge is unknown or cannot be used.
    """
    from qdgs.guides.clip import describe
    from qdgs.stages.judges import check_judges

    absent = _absent(config)
    check_judges(config)
    missing = describe(config.guide.clip.model, config.guide.clip.pretrained)
    lines = [f"valid; would fetch {missing}" if missing else "valid; nothing to fetch"]
    lines += [f"cannot run yet: {sentence}" for sentence in absent]
    return lines + ([] if missing else _unknown_words(config))


def fetch_config(config: RunConfig) -> str:
    """Download what a configuration needs and this machine lacks, and say what that was.

    Raises:
        InputError: It cannot be had: no network, or no such thing.
    """
    from qdgs.guides.clip import describe, fetch

    model, pretrained = config.guide.clip.model, config.guide.clip.pretrained
    missing = describe(model, pretrained)
    if missing is not None:
        fetch(model, pretrained)
    done = "nothing to fetch" if missing is None else f"fetched {missing}"
    return "; ".join([done, *(f"cannot be fetched: {sentence}" for sentence in _absent(config))])


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


def examine() -> list[Examined]:
    """Look at Python, packages, devices, threads, disk and embedded weights."""
    python = sys.version_info >= (3, 11)
    return [
        Examined("python", f"{platform.python_version()} on {platform.platform()}", python),
        Examined("qdgs", version("qdgs"), True),
        *(_package(name) for name in PACKAGES),
        _tried("devices", _devices),
        _tried("threads", _threads),
        _tried("torchvision", _torchvision),
        _disk("run folder", Path.cwd()),
        _disk("temporary files", Path(tempfile.gettempdir())),
        *(Examined(f"{part.name} ({kind})", part.state, _is_well(part)) for kind, part in _embedded()),
    ]


def _check_recognition(config: RecognitionConfig) -> list[str]:
    """Whether its images and the recogniser that it begins from are there."""
    absent = []
    if config.data.samples is not None:
        from qdgs.parts import load_generator

        try:
            load_generator(config.data.samples.generator)
        except (MissingPackageError, MissingModelError) as error:
            absent.append(str(error))
    elif not Path(str(config.data.folder)).is_dir():
        absent.append(f"data.folder: expected a folder, got none at {config.data.folder}")
    if config.pretrained is not None and not Path(config.pretrained).is_dir():
        absent.append(f"pretrained: expected the run of a recogniser, got none at {config.pretrained}")
    return ["valid; nothing to fetch", *(f"cannot run yet: {sentence}" for sentence in absent)]


def _absent(config: RunConfig) -> list[str]:
    """What the user has to bring: a sentence each.

    Raises:
        InputError: The generator is unknown or cannot be used.
    """
    from qdgs.parts import load_generator

    try:
        load_generator(config.generator)
    except MissingModelError as error:
        return [str(error)]
    return []


def _unknown_words(config: RunConfig) -> list[str]:
    import warnings

    from qdgs.guides.clip import ClipEncoder, PromptWarning
    from qdgs.guides.prompts import PromptGuide

    encoder = ClipEncoder.load(config.guide.clip.model, config.guide.clip.pretrained, device="cpu")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PromptWarning)
        PromptGuide(encoder, config.guide)
    return [f"warning: {item.message}" for item in caught if issubclass(item.category, PromptWarning)]


def _state(registry: Mapping[str, str], name: str) -> str:
    from qdgs.parts import required_options

    try:
        make = resolve(registry, name, place="name")
        needed = required_options(make)
        if needed:
            return f"ready; needs the option{'s' if needed[1:] else ''} {', '.join(needed)}"
        make()
    except MissingPackageError as error:
        return str(error)
    except (QdgsError, ImportError, TypeError) as error:
        return f"cannot be used here: {error}"
    return "ready"


def _guides() -> list[Part]:
    from qdgs.guides.clip_sources import EMBEDDED

    return [
        *(Part(name, _guide_state(name)) for name in EMBEDDED),
        Part("local-dir:FOLDER", "any open_clip model in a folder"),
        Part("hf-hub:ORGANISATION/REPOSITORY", "fetched once, by qdgs fetch"),
        Part(
            "ViT-B-32 and others",
            "any open_clip architecture with a tag of its weights as guide.clip.pretrained",
        ),
    ]


def _guide_state(name: str) -> str:
    from qdgs.guides.clip import ClipEncoder

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


def _embedded() -> list[tuple[str, Part]]:
    parts = parts_here()
    kinds = {"generators": "generator", "judges": "judge"}
    found = [(kinds[heading], part) for heading in kinds for part in parts[heading]]
    embedded = [part for part in parts["guides"] if part.name in GUIDE_LINES]
    return [*found, *(("guide", part) for part in embedded)]


def _is_well(part: Part) -> bool:
    return not part.state.startswith("cannot")


def _package(name: str) -> Examined:
    try:
        return Examined(name, version(name), True)
    except PackageNotFoundError:
        return Examined(name, "not installed; pip install qdgs again", False)


def _tried(name: str, look: Callable[[], str]) -> Examined:
    try:
        return Examined(name, look(), True)
    except Exception as error:  # a doctor survives whatever ails the patient
        return Examined(name, " ".join(str(error).split()), False)


def _devices() -> str:
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        found += [f"cuda:{index} ({name})" for index, name in enumerate(names)]
    if torch.backends.mps.is_available():
        found.append("mps")
    return ", ".join(found)


def _threads() -> str:
    import torch

    return f"{torch.get_num_threads()} of {os.cpu_count()} cores"


def _torchvision() -> str:
    from qdgs import compat

    compat.import_torchvision()
    mended: Any = getattr(compat, "_LIBRARIES", [])
    return (
        "its operators do not fit this torch; mended, only its transforms are used"
        if mended
        else "fits torch"
    )


def _disk(what: str, folder: Path) -> Examined:
    free = shutil.disk_usage(folder).free
    return Examined(f"disk, {what}", f"{free / 2**30:.1f} GiB free at {folder}", free > ENOUGH_DISK)
