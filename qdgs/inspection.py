"""What a configuration needs, what this machine can use, and whether the installation is well."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from qdgs.compare_config import load_compare
from qdgs.config import ALGORITHMS, PROMPTS, RunConfig, load_config, read_mapping
from qdgs.errors import MissingModelError, MissingPackageError, QdgsError
from qdgs.recognition_config import RecognitionConfig, load_recognition
from qdgs.registry import resolve

if TYPE_CHECKING:
    from qdgs.needs import Source

T = TypeVar("T")
PACKAGES = ("torch", "torchvision", "open-clip-torch", "ribs", "numpy", "pandas", "pyarrow", "scikit-learn")
OPTIONAL = {
    "ray": "work in several processes, on one machine or many",
    "transformers": "text towers of SigLIP and others, image classifiers, diffusers pipelines with prompts",
}
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
    if read_mapping(path).get("kind") == "compare":
        return _check_compare(path, overrides)
    if read_mapping(path).get("kind") == "recognition":
        return _check_recognition(load_recognition(path, overrides))
    return check_config(load_config(path, overrides))


def check_config(config: RunConfig) -> list[str]:
    """What is to be said of a configuration that holds: whether it can run here, and what it would fetch.

    Raises:
        InputError: A generator, guide or judge is unknown or cannot be used.
    """
    from qdgs import needs

    wanted = needs.missing(needs.sources(config))
    absent, warned = _look_at_parts(config)
    if config.workers.kind == "ray" and find_spec("ray") is None:
        absent.append("workers.kind: ray needs an optional package: pip install 'qdgs[ray]'")
    first = f"valid; would fetch {' and '.join(wanted)}" if wanted else "valid; nothing to fetch"
    return [first, *(f"cannot run yet: {sentence}" for sentence in absent), *warned]


def fetch_config(config: RunConfig) -> str:
    """Download what a configuration needs and this machine lacks, and say what that was.

    Raises:
        InputError: It cannot be had: no network, or no such thing.
    """
    from qdgs import needs

    fetched = needs.fetch(config)
    done = f"fetched {' and '.join(fetched)}" if fetched else "nothing to fetch"
    return "; ".join([done, *(f"cannot be fetched: {sentence}" for sentence in _look_at_parts(config)[0])])


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


def _check_compare(path: Path, overrides: Sequence[str]) -> list[str]:
    from qdgs.comparison.cells import Bench

    config = load_compare(path, overrides)
    bench = Bench(config, path.parent)
    for method in config.methods:
        bench.sampler(method)
    return [*check_config(config.run), f"{len(bench.cells())} cells"]


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


def _look_at_parts(config: RunConfig) -> tuple[list[str], list[str]]:
    """What the user has to bring, and warnings of the guide: a sentence each.

    Raises:
        InputError: A part is unknown or cannot be used.
    """
    import warnings

    from qdgs import needs
    from qdgs.clip.encoder import ClipWarning
    from qdgs.parts import load_generator, load_guide
    from qdgs.stages.judges import check_judges

    absent: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClipWarning)
        parts = (needs.source_of_generator(config), needs.source_of_guide(config))
        generator = _tried_part(
            lambda: load_generator(config.generator, device=_device_here()), parts[0], absent
        )
        guide = _tried_part(lambda: load_guide(config.guide), parts[1], absent)
    size = generator.image_size if generator else 64
    if not needs.missing(needs.sources_of_judges(config)):
        _tried_part(lambda: check_judges(config, image_size=size, guide=guide), None, absent)
    told = [str(item.message) for item in caught if issubclass(item.category, ClipWarning)]
    return absent, [f"warning: {sentence}" for sentence in told]


def _device_here() -> str:
    """Where a run would work by itself: not every device computes in every precision."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tried_part(load: Callable[[], T], source: Source | None, absent: list[str]) -> T | None:
    """A part; None where it is to be fetched, or the user has to bring it, which is added to `absent`."""
    if source is not None and source.missing() is not None:
        return None
    try:
        return load()
    except MissingModelError as error:
        absent.append(str(error))
        return None


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
