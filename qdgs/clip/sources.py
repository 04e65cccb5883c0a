"""Where a CLIP's files are: embedded, in a folder, or on the Hugging Face Hub, fetched once."""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from qdgs.compat import import_open_clip
from qdgs.errors import ConfigError, CorruptFileError, MissingPackageError
from qdgs.hub import HubFile, missing, told
from qdgs.registry import nearest

EMBEDDED = {
    name: Path(__file__).parent.parent / "weights" / name for name in ("qdgs-mini", "qdgs-faces")
}
FOLDER_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
FOLDER_WEIGHTS = (  # in the order in which open_clip looks for them
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
TOKENIZER_WORDS = (
    "tokenizer.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
)
TOKENIZER_SETTINGS = ("tokenizer_config.json", "config.json")
TOKENIZER_EXTRAS = ("special_tokens_map.json", "added_tokens.json", "merges.txt", "config.json")


@dataclass(frozen=True)
class ClipFiles:
    """A CLIP on this machine, ready for `open_clip.create_model`.

    Attributes:
        model: An open_clip architecture, or `local-dir:` and a folder.
        weights: The checkpoint.
        text: The text tower's configuration, with folders of this machine in place of names on the hub.
        tokenizer: The folder of a tokenizer of transformers; None where it is open_clip's own.
        preprocessing: What the checkpoint's own preprocessing changes in open_clip's defaults.
        quick_gelu: The checkpoint was trained with QuickGELU, whatever the architecture's name says.
        card: The folder's card.json, where there is one.
        doubt: What may be wrong with the preprocessing, in words.
    """

    model: str
    weights: Path
    text: dict[str, Any]
    tokenizer: Path | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    doubt: str = ""


def describe(model: str, pretrained: str | None = None) -> str | None:
    """What `ClipSource.fetch` would download, or None where everything is here; asks no network.

    Raises:
        InputError: The model or its pretrained tag is unknown, or a folder is missing or damaged.
    """
    return ClipSource(model, pretrained).missing()


@dataclass(frozen=True)
class ClipSource:
    """Which CLIP.

    Attributes:
        model: `qdgs-mini`, `local-dir:FOLDER`, `hf-hub:ORGANISATION/REPOSITORY` or an open_clip architecture.
        pretrained: For an architecture alone: open_clip's tag of the weights, or a checkpoint file.
        place: The key of the configuration that names it, for errors.
    """

    model: str
    pretrained: str | None = None
    place: str = "guide.clip"

    def hub_files(self) -> list[HubFile]:
        """Every file on the hub that it needs, as far as can be told from what is here; asks no network.

        What the configuration of an `hf-hub:` model asks for is known once that is here.

        Raises:
            ConfigError: The model or its pretrained tag is unknown.
            CorruptFileError: A configuration cannot be read.
            MissingPackageError: The text tower needs a package that is not installed.
        """
        if self._folder is not None:
            self._check_no_tag()
            config = self._folder / CONFIG_FILE
            return self._text_files(_model_config(config), self._folder) if config.is_file() else []
        if self.model.startswith(HUB_PREFIX):
            return self._files_of_repository()
        self._check_architecture()
        return [*self._weights_of_tag(self._tag()), *self._text_files(self._architecture(), None)]

    def missing(self) -> str | None:
        """What `fetch` would download, or None where everything is on this machine; asks no network.

        Raises:
            InputError: The model or its pretrained tag is unknown, or a folder is missing or damaged.
        """
        wanted = missing(self.hub_files())
        if not wanted:
            self.locate()
            return None
        return f"{told(wanted)} from the Hugging Face Hub"

    def commands(self) -> list[str]:
        """Commands of the hub's own client that download the same on another machine."""
        names: dict[str, list[str]] = {}
        for file in missing(self.hub_files()):
            names.setdefault(file.repository, []).extend(file.names)
        return [f"hf download {name} --include {' '.join(dict.fromkeys(of))}" for name, of in names.items()]

    def fetch(self) -> None:
        """Download what is not on this machine yet.

        Raises:
            InputError: Unknown model or tag, or no network.
        """
        before: list[HubFile] = []
        while (wanted := missing(self.hub_files())) and wanted != before:  # what came may ask for more
            for file in wanted:
                file.fetch()
            before = wanted

    def locate(self) -> ClipFiles:
        """The files, fetched where they are not on this machine.

        Raises:
            ConfigError: The model or its pretrained tag is unknown.
            CorruptFileError: A file fails its hash, or is not what it should be.
            MissingModelError: Not on this machine, and no network.
            MissingPackageError: The text tower needs a package that is not installed.
        """
        self.fetch()
        files = self.hub_files()
        if self.model.startswith(HUB_PREFIX):
            return self._of_folder(_here(files[0]).parent)
        if self._folder is not None:
            return self._of_folder(self._folder)
        tag = self._tag()
        weights = _here(files[0]) if tag else Path(str(self.pretrained))
        return ClipFiles(
            self.model,
            weights,
            self._local_text(self._architecture(), None),
            self._tokenizer(self._architecture(), None),
            preprocessing=tag,
            quick_gelu=bool(tag.get("quick_gelu")),
            doubt="" if tag else self._doubt(),
        )

    def _doubt(self) -> str:
        """Why open_clip's default may not be the preprocessing that a checkpoint file was trained with."""
        open_clip = import_open_clip()
        default = open_clip.transform.PreprocessCfg()
        tags = open_clip.list_pretrained_tags_by_model(self.model)
        published = [open_clip.get_pretrained_cfg(self.model, tag) for tag in tags]
        keys = ("mean", "std", "resize_mode")
        if not published or any(
            all(_alike(tag.get(key), getattr(default, key)) for key in keys) for tag in published
        ):
            return ""
        told = ", ".join(f"{key} {published[0].get(key)}" for key in keys)
        return (
            "a checkpoint file brings no preprocessing, and open_clip's default is not that of published "
            f"weights of {self.model} ({told}); keep it "
            f"in a folder with {CONFIG_FILE} and name that (local-dir:)"
        )

    @property
    def _folder(self) -> Path | None:
        if self.model.startswith(FOLDER_PREFIX):
            return Path(self.model.removeprefix(FOLDER_PREFIX))
        return EMBEDDED.get(self.model)

    def _of_folder(self, folder: Path) -> ClipFiles:
        config = folder / CONFIG_FILE
        weights = next((folder / name for name in FOLDER_WEIGHTS if (folder / name).is_file()), None)
        if not config.is_file() or weights is None:
            what = f"expected {CONFIG_FILE} and {WEIGHTS_FILES[0]} in {folder}, got no such files"
            if self.model in EMBEDDED:
                raise CorruptFileError(f"{what}; install qdgs again")
            raise ConfigError(f"{self.place}.model: {what}")
        architecture = _model_config(config)
        card = _read_json(folder / "card.json") if (folder / "card.json").is_file() else {}
        _check_hash(weights, card.get("sha256"))
        return ClipFiles(
            f"{FOLDER_PREFIX}{folder}",
            weights,
            self._local_text(architecture, folder),
            self._tokenizer(architecture, folder),
            card=card,
        )

    def _files_of_repository(self) -> list[HubFile]:
        self._check_no_tag()
        config = HubFile(self._repository(), (CONFIG_FILE,), self.place)
        files = [config, HubFile(config.repository, WEIGHTS_FILES, self.place)]
        there = config.cached()
        return files if there is None else [*files, *self._text_files(_model_config(there), None)]

    def _weights_of_tag(self, tag: Mapping[str, Any]) -> list[HubFile]:
        if not tag:
            return []
        repository, _, name = str(tag["hf_hub"]).rpartition("/")
        return [HubFile(repository, _alternatives(name), self.place)]

    def _text_files(self, architecture: Mapping[str, Any], folder: Path | None) -> list[HubFile]:
        """What the text tower takes from the hub: a tokenizer, the configuration of a model."""
        text = architecture.get("text_cfg", {})
        self._check_text_tower(text)
        files: list[HubFile] = []
        if text.get("hf_tokenizer_name") and not _has_tokenizer(folder):
            files += self._tokenizer_files(text["hf_tokenizer_name"])
        if text.get("hf_model_name") and not _has_config(folder):
            files.append(HubFile(text["hf_model_name"], ("config.json",), self.place))
        return files

    def _tokenizer_files(self, repository: str) -> list[HubFile]:
        extras = [HubFile(repository, (name,), self.place, optional=True) for name in TOKENIZER_EXTRAS]
        words = HubFile(repository, TOKENIZER_WORDS, self.place)
        return [words, HubFile(repository, TOKENIZER_SETTINGS, self.place), *extras]

    def _tokenizer(self, architecture: Mapping[str, Any], folder: Path | None) -> Path | None:
        name = architecture.get("text_cfg", {}).get("hf_tokenizer_name")
        if not name:
            return None
        return folder if _has_tokenizer(folder) else _here(self._tokenizer_files(name)[0]).parent

    def _local_text(self, architecture: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
        text = dict(architecture.get("text_cfg", {}))
        if text.get("hf_model_name"):
            there = folder if _has_config(folder) else None
            config = HubFile(text["hf_model_name"], ("config.json",), self.place)
            text |= {"hf_model_name": str(there or _here(config).parent), "hf_model_pretrained": False}
        return text

    def _repository(self) -> str:
        repository = self.model.removeprefix(HUB_PREFIX)
        if not re.fullmatch(r"(?!.*(--|\.\.))\w[\w.-]*/[\w.-]*\w", repository):
            expected = f"{HUB_PREFIX}ORGANISATION/REPOSITORY"
            raise ConfigError(f"{self.place}.model: expected {expected}, got {self.model!r}")
        return repository

    def _architecture(self) -> dict[str, Any]:
        return dict(import_open_clip().get_model_config(self.model))

    def _tag(self) -> dict[str, Any]:
        """Open_clip's entry of the tag; empty where it is a checkpoint file."""
        open_clip = import_open_clip()
        known = open_clip.list_pretrained_tags_by_model(self.model)
        if self.pretrained is None:
            raise ConfigError(
                f"{self.place}.pretrained: expected weights for {self.model!r}, got none{_known_tags(known)}"
            )
        tag = dict(open_clip.get_pretrained_cfg(self.model, self.pretrained))
        if tag.get("hf_hub") or (not tag and Path(self.pretrained).is_file()):
            return tag
        unknown = f"{self.place}.pretrained: unknown {self.pretrained!r} for {self.model!r}"
        if "/" in self.pretrained or Path(self.pretrained).suffix in _CHECKPOINTS:
            raise ConfigError(f"{unknown}; it is no file on this machine, and no tag{_known_tags(known)}")
        raise ConfigError(f"{unknown}{nearest(self.pretrained, known) if known else _known_tags(known)}")

    def _check_no_tag(self) -> None:
        if self.pretrained is not None:
            raise ConfigError(
                f"{self.place}.pretrained: expected none, as {self.model!r} brings its own weights, "
                f"got {self.pretrained!r}"
            )

    def _check_architecture(self) -> None:
        names = import_open_clip().list_models()
        if self.model in names:
            return
        close = difflib.get_close_matches(self.model, [*EMBEDDED, *names], n=3, cutoff=0.5)
        suggestion = f" did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
        raise ConfigError(
            f"{self.place}.model: unknown {self.model!r};{suggestion} known: {', '.join(EMBEDDED)}, "
            f"local-dir:FOLDER, hf-hub:ORGANISATION/REPOSITORY and the {len(names)} names of "
            "open_clip.list_models()"
        )

    def _check_text_tower(self, text: Mapping[str, Any]) -> None:
        needs = text.get("hf_tokenizer_name") or text.get("hf_model_name")
        if needs and importlib.util.find_spec("transformers") is None:
            raise MissingPackageError(
                f"{self.place}: the text tower {needs!r} needs an optional package: "
                "pip install 'qdgs[transformers]'"
            )


_CHECKPOINTS = (".bin", ".pt", ".pth", ".safetensors", ".ckpt", ".npz")


def _alike(told: object, default: object) -> bool:
    """Whether a tag's value is the default's; one that tells none has it."""
    if isinstance(told, list | tuple) and isinstance(default, list | tuple):
        return tuple(told) == tuple(default)
    return told is None or told == default


def _here(file: HubFile) -> Path:
    path = file.fetch()
    assert path is not None, "only an optional file may be no one"
    return path


def _has_tokenizer(folder: Path | None) -> bool:
    return folder is not None and any((folder / name).is_file() for name in TOKENIZER_WORDS)


def _has_config(folder: Path | None) -> bool:
    return folder is not None and (folder / "config.json").is_file()


def _alternatives(name: str) -> tuple[str, ...]:
    if not name:
        return WEIGHTS_FILES
    stem, dot, suffix = name.rpartition(".")
    return (f"{stem}.safetensors", name) if dot and suffix in ("bin", "pth") else (name,)


def _known_tags(known: list[str]) -> str:
    return (
        f"; known: {', '.join(known)}"
        if known
        else "; expected a checkpoint file, as open_clip has no tag for it"
    )


def _model_config(config: Path) -> dict[str, Any]:
    architecture = _read_json(config).get("model_cfg")
    if not isinstance(architecture, dict):
        raise CorruptFileError(f"{config}: expected a mapping with the key model_cfg, got none")
    return architecture


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise CorruptFileError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def _check_hash(path: Path, expected: object) -> None:
    if isinstance(expected, dict):
        expected = expected.get(path.name)
    if expected is None:
        return
    found = sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise CorruptFileError(
            f"{path}: expected SHA-256 {str(expected)[:12]}… as its card.json says, got {found[:12]}…; the "
            "file is damaged: install or copy it again"
        )
