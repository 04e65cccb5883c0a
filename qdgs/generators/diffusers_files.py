"""Where a pipeline's files are, and reading them as `from_pretrained` does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdgs.compat import import_torchvision
from qdgs.errors import ConfigError, CorruptFileError, MissingModelError, MissingPackageError, reason_of
from qdgs.files import read_json
from qdgs.generators.diffusers_options import DiffusersOptions
from qdgs.hub import unreachable

INDEX, CONFIG = "model_index.json", "config.json"
DECODER = "AutoencoderKL"
PIXEL_PIPELINES = ("ConsistencyModelPipeline", "DDIMPipeline", "DDPMPipeline")
TEXT_PIPELINES = ("LatentConsistencyModelPipeline", "StableDiffusionPipeline", "StableDiffusionXLPipeline")
SUPPORTED = (DECODER, *PIXEL_PIPELINES, *TEXT_PIPELINES)
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of pipelines that see finished images or other images alone."""

WEIGHTS = (".safetensors", ".bin")
INSTALL = "pip install 'qdgs[transformers]'"


@dataclass(frozen=True)
class Source:
    """A model of diffusers: a local folder, or a repository on the Hugging Face Hub.

    Attributes:
        model: As the user named it.
        revision: Branch, tag or commit.
        variant: Of the weights' files.
        subfolder: Where the model lies in it.
    """

    model: str
    revision: str | None = None
    variant: str | None = None
    subfolder: str | None = None

    @property
    def local(self) -> bool:
        """Whether it is a folder: one that exists, or a name that can be no repository."""
        return Path(self.model).is_dir() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.model)

    def missing(self) -> str | None:
        """What `fetch` would download, or None where it is on this machine; asks no network.

        Raises:
            ConfigError: A local folder is not there.
        """
        if self.local:
            self._folder()
            return None
        return f"{self} from the Hugging Face Hub" if self._cached() is None else None

    def fetch(self) -> None:
        """Download what is needed and is not here yet, by diffusers' own client.

        Raises:
            MissingModelError: There is no network, or no such repository.
        """
        if self.missing() is None:
            return
        reason = unreachable()
        if reason is not None:
            raise MissingModelError(
                f"generator.model: {self} is not on this machine and {reason}; run `qdgs fetch CONFIG` on a "
                "machine that has a network and copy its hub cache here, or name a folder that holds it"
            )
        try:
            self._download()
        except Exception as error:  # the hub's client lets through whatever the connection raises
            raise MissingModelError(
                f"generator.model: {self} could not be downloaded: {reason_of(error)}"
            ) from error

    def commands(self) -> list[str]:
        """What downloads it on a machine that has diffusers."""
        given = {"revision": self.revision, "variant": self.variant}
        options = "".join(f", {name}={value!r}" for name, value in given.items() if value)
        if self.subfolder:
            revision = f" --revision {self.revision}" if self.revision else ""
            return [f"hf download {self.model}{revision} --include {' '.join(self._patterns(WEIGHTS[0]))}"]
        call = f"DiffusionPipeline.download({self.model!r}{options}, safety_checker=None)"
        return [f'python -c "from diffusers import DiffusionPipeline; {call}"']

    def folder(self) -> Path:
        """Where its files are.

        Raises:
            ConfigError: A local folder is not there.
            MissingModelError: It is not on this machine.
        """
        if self.local:
            return self._folder()
        cached = self._cached()
        if cached is None:
            raise MissingModelError(
                f"generator.model: {self} is not on this machine; run qdgs fetch CONFIG where there is a "
                "network, or name a folder that holds it"
            )
        return cached

    def _folder(self) -> Path:
        folder = Path(self.model).expanduser() / (self.subfolder or "")
        if not folder.is_dir():
            raise ConfigError(
                "generator.model: expected a folder of save_pretrained, or ORGANISATION/REPOSITORY, got "
                f"{str(folder)!r}, which is not there"
            )
        return folder

    def _cached(self) -> Path | None:
        """The folder of a finished download."""
        from huggingface_hub import constants, try_to_load_from_cache

        for name in (INDEX, CONFIG):
            file = f"{self.subfolder}/{name}" if self.subfolder else name
            found = try_to_load_from_cache(
                self.model, file, revision=self.revision, cache_dir=constants.HF_HUB_CACHE
            )
            if isinstance(found, str) and _is_whole(Path(found), self.variant):
                return Path(found).parent
        return None

    def _download(self) -> None:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import EntryNotFoundError

        diffusers = import_diffusers()
        options = {"revision": self.revision, "variant": self.variant, "cache_dir": constants.HF_HUB_CACHE}
        with _quiet():
            if not self.subfolder:
                with suppress(EntryNotFoundError):  # a decoder has no index
                    diffusers.DiffusionPipeline.download(self.model, safety_checker=None, **options)
                    return
            for kind in WEIGHTS:
                if self._cached() is None:
                    snapshot_download(
                        self.model,
                        revision=self.revision,
                        cache_dir=constants.HF_HUB_CACHE,
                        allow_patterns=self._patterns(kind),
                    )

    def _patterns(self, kind: str) -> list[str]:
        """Files of a decoder whose weights are of a kind."""
        folder = f"{self.subfolder}/" if self.subfolder else ""
        variant = f".{self.variant}" if self.variant else ""
        return [f"{folder}{CONFIG}", f"{folder}diffusion_pytorch_model{variant}{kind}"]

    def __str__(self) -> str:
        parts = [self.model, *(f"{key} {value}" for key, value in self._details().items() if value)]
        return ", ".join(parts)

    def _details(self) -> dict[str, str | None]:
        return {"revision": self.revision, "variant": self.variant, "folder": self.subfolder}


def source_of(options: Mapping[str, Any]) -> Source:
    """The source that a generator's options name.

    Raises:
        ConfigError: One of the options does not hold.
    """
    held = DiffusersOptions.of(**options)
    return Source(held.model, held.revision, held.variant, held.subfolder)


def import_diffusers() -> Any:
    """Import diffusers, which imports torchvision where transformers is installed."""
    import_torchvision()
    import diffusers

    return diffusers


def class_of(folder: Path) -> str:
    """Name of the class that a folder holds a model of.

    Raises:
        ConfigError: It holds none, or one that is not supported.
    """
    index = next((folder / name for name in (INDEX, CONFIG) if (folder / name).is_file()), None)
    if index is None:
        raise ConfigError(
            f"generator.model: expected a folder with {INDEX} (a pipeline) or {CONFIG} (an {DECODER}), got "
            f"{folder} without"
        )
    name = read_json(index).get("_class_name")
    if name not in SUPPORTED:
        raise ConfigError(
            f"generator.model: {folder} holds a {name}, which is not supported; supported: "
            f"{', '.join(SUPPORTED)}"
        )
    return str(name)


def load(source: Source, dtype: Any) -> Any:
    """The pipeline, or the decoder, on the CPU and frozen.

    Raises:
        ConfigError: It is not there, or of a class that is not supported.
        CorruptFileError: A file is missing or damaged.
        MissingModelError: It is not on this machine.
        MissingPackageError: Its text encoders need a package that is not installed.
    """
    folder = source.folder()
    name = class_of(folder)
    diffusers = import_diffusers()
    if name in TEXT_PIPELINES and not has_transformers():
        raise MissingPackageError(f"generator.model: a {name} needs an optional package: {INSTALL}")
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "low_cpu_mem_usage": False}
    if source.variant is not None:
        options["variant"] = source.variant
    if (folder / INDEX).is_file():
        options |= _without_unused(read_json(folder / INDEX))
    try:
        with _quiet():
            loaded = getattr(diffusers, name).from_pretrained(str(folder), **options)
    except Exception as error:  # whatever safetensors, torch, json and the shapes raise
        raise CorruptFileError(
            f"{folder}: cannot be read as a {name}: {reason_of(error)}; fetch or copy it again"
        ) from error
    return _frozen(loaded, name)


def has_transformers() -> bool:
    """Whether prompts can be read here."""
    from importlib.util import find_spec

    return find_spec("transformers") is not None


def _is_whole(index: Path, variant: str | None) -> bool:
    """Whether every part that is used has a folder with files, and every network its weights."""
    folders = {index.parent: True}
    if index.name == INDEX:
        parts = {name: part for name, part in read_json(index).items() if isinstance(part, list) and part[0]}
        networks = ("unet", "vae", "text_encoder", "text_encoder_2")
        folders = {
            _part(index.parent, name): name in networks for name in sorted(parts) if name not in UNUSED
        }
    return all(
        any(_counts(file, network, variant) for file in folder.glob("*"))
        for folder, network in folders.items()
    )


def _part(folder: Path, name: str) -> Path:
    """Where a part of a pipeline lies: in a folder of its own, or flat, as in some early repositories."""
    return folder / name if (folder / name).is_dir() else folder


def _counts(file: Path, network: bool, variant: str | None) -> bool:
    if not network:
        return True
    return file.suffix in WEIGHTS and (variant is None or f".{variant}" in file.name)


def _without_unused(index: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {name: None for name in UNUSED if name in index}
    return {**options, "requires_safety_checker": False} if "safety_checker" in index else options


def _frozen(loaded: Any, name: str) -> Any:
    parts = [loaded] if name == DECODER else list(loaded.components.values())
    for part in parts:
        if hasattr(part, "requires_grad_"):
            part.eval().requires_grad_(False)
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and remarks of diffusers and transformers."""
    loggings = [_logging("diffusers"), *([_logging("transformers")] if has_transformers() else [])]
    before = [(logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in loggings]
    for logging in loggings:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, (verbosity, bars) in zip(loggings, before, strict=True):
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def _logging(package: str) -> Any:
    from importlib import import_module

    return import_module(f"{package}.utils.logging")
