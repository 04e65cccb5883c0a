"""Whether the installation is well."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from qdgs.listing import GUIDE_LINES, Part, parts_here

PACKAGES = (
    "torch",
    "torchvision",
    "open-clip-torch",
    "diffusers",
    "ribs",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
)
OPTIONAL = {
    "ray": "work in several processes, on one machine or many",
    "transformers": "text towers of SigLIP and others, image classifiers, diffusers pipelines with prompts",
}
ENOUGH_DISK = 2 * 2**30


class Examined(NamedTuple):
    """One thing that the doctor looked at."""

    name: str
    found: str
    well: bool


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
