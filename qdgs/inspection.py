"""What a configuration needs, what this machine can use, and whether the installation is well."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from qdgs.config import ALGORITHMS, PROMPTS, RunConfig
from qdgs.errors import MissingModelError, MissingPackageError, QdgsError
from qdgs.registry import resolve

PACKAGES = ("torch", "torchvision", "open-clip-torch", "ribs", "numpy", "pandas", "pyarrow", "scikit-learn")
OPTIONAL = {"transformers": "text towers and tokenizers of SigLIP and others, image classifiers"}
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


def check_config(config: RunConfig) -> list[str]:
    """What is to be said of a configuration that holds: whether it can run here, and what it would fetch.

    Raises:
        InputError: A generator, guide or judge is unknown or cannot be used.
    """
    from qdgs.hub import missing, told
    from qdgs.needs import files_of_generator, files_of_guide, files_of_judges

    parts = [files(config) for files in (files_of_generator, files_of_guide, files_of_judges)]
    generator, guide, judges = (missing(files) for files in parts)
    absent = [] if generator else _absent(config)
    lines = [] if guide else _guide_lines(config, absent)
    if not judges:
        _judges(config, absent)
    wanted = told([*generator, *guide, *judges])
    first = f"valid; would fetch {wanted} from the Hugging Face Hub" if wanted else "valid; nothing to fetch"
    return [first, *(f"cannot run yet: {sentence}" for sentence in absent), *lines]


def fetch_config(config: RunConfig) -> str:
    """Download what a configuration needs and this machine lacks, and say what that was.

    Raises:
        InputError: It cannot be had: no network, or no such thing.
    """
    from qdgs.hub import told
    from qdgs.needs import fetch

    fetched = told(fetch(config))
    done = f"fetched {fetched} from the Hugging Face Hub" if fetched else "nothing to fetch"
    return "; ".join([done, *(f"cannot be fetched: {sentence}" for sentence in _absent(config))])


def fetch_commands(config: RunConfig) -> list[str]:
    """Commands that download what is lacking on another machine, and how it gets from there to here.

    Raises:
        InputError: A generator, guide or judge is unknown.
    """
    from huggingface_hub import constants

    from qdgs.hub import missing
    from qdgs.needs import files

    names: dict[str, list[str]] = {}
    for file in missing(files(config)):
        names.setdefault(file.repository, []).extend(file.names)
    if not names:
        return ["# nothing to fetch"]
    lines = [f"hf download {name} --include {' '.join(dict.fromkeys(of))}" for name, of in names.items()]
    folders = " and ".join(f"models--{name.replace('/', '--')}" for name in names)
    return [*lines, f"# then copy {folders} of that machine's hub cache into {constants.HF_HUB_CACHE}"]


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
        *(_optional(name, use) for name, use in OPTIONAL.items()),
        _tried("hub cache", _hub_cache),
        _disk("run folder", Path.cwd()),
        _disk("temporary files", Path(tempfile.gettempdir())),
        *(Examined(f"{part.name} ({kind})", part.state, _is_well(part)) for kind, part in _parts()),
    ]


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


def _guide_lines(config: RunConfig, absent: list[str]) -> list[str]:
    """Warnings of the guide; what it lacks is added to `absent`."""
    import warnings

    from qdgs.clip.encoder import PromptWarning
    from qdgs.parts import load_guide

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PromptWarning)
        try:
            load_guide(config.guide)
        except MissingModelError as error:
            absent.append(str(error))
    return [f"warning: {item.message}" for item in caught if issubclass(item.category, PromptWarning)]


def _judges(config: RunConfig, absent: list[str]) -> None:
    """Look at the judges; what one lacks is added to `absent`."""
    from qdgs.stages.judges import check_judges

    try:
        check_judges(config)
    except MissingModelError as error:
        absent.append(str(error))


def _state(registry: Mapping[str, Any], name: str) -> str:
    from qdgs.targets import is_factory, required_options

    try:
        thing = resolve(registry, name, place="name")
        lacking = [package for package in getattr(thing, "packages", ()) if find_spec(package) is None]
        if lacking:
            return f"needs an optional package: pip install 'qdgs[{lacking[0]}]'"
        needed = required_options(thing) if is_factory(thing) else []
        if needed:
            return f"ready; needs the option{'s' if needed[1:] else ''} {', '.join(needed)}"
        if is_factory(thing):
            thing()
    except MissingPackageError as error:
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


def _parts() -> list[tuple[str, Part]]:
    from qdgs.guides.base import GUIDES

    parts = parts_here()
    kinds = {"generators": "generator", "judges": "judge"}
    found = [(kinds[heading], part) for heading in kinds for part in parts[heading]]
    own = {*GUIDE_LINES, *GUIDES}
    return [*found, *(("guide", part) for part in parts["guides"] if part.name in own)]


def _is_well(part: Part) -> bool:
    return not part.state.startswith("cannot")


def _package(name: str) -> Examined:
    try:
        return Examined(name, version(name), True)
    except PackageNotFoundError:
        return Examined(name, "not installed; pip install qdgs again", False)


def _optional(name: str, use: str) -> Examined:
    try:
        return Examined(name, version(name), True)
    except PackageNotFoundError:
        return Examined(name, f"not installed; for {use}: pip install 'qdgs[{name}]'", True)


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


def _hub_cache() -> str:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    models = len(list(folder.glob("models--*")))
    offline = "; HF_HUB_OFFLINE is set: nothing is fetched" if constants.HF_HUB_OFFLINE else ""
    return f"{models} models at {folder}{offline}"


def _disk(what: str, folder: Path) -> Examined:
    free = shutil.disk_usage(folder).free
    return Examined(f"disk, {what}", f"{free / 2**30:.1f} GiB free at {folder}", free > ENOUGH_DISK)
