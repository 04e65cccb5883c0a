"""Where a CLIP's files are: embedded, in a folder, or on the Hugging Face Hub, fetched once."""

import difflib
import importlib.util
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from qdgs.compat import import_open_clip
from qdgs.errors import ConfigError, CorruptFileError, InputError, MissingPackageError
from qdgs.registry import nearest

EMBEDDED = {"qdgs-mini": Path(__file__).parent.parent / "weights" / "qdgs-mini"}
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
PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face Hub: the first of `names` that the repository has."""

    repository: str
    names: tuple[str, ...]

    def cached(self) -> Path | None:
        """Where the file is on this machine, without asking the network."""
        from huggingface_hub import constants, try_to_load_from_cache

        for name in self.names:
            path = try_to_load_from_cache(self.repository, name, cache_dir=constants.HF_HUB_CACHE)
            if isinstance(path, str):
                return Path(path)
        return None

    def fetch(self) -> Path:
        """The file on this machine, downloaded where it is not there yet.

        Raises:
            InputError: It is not there and cannot be downloaded: no network (found out within seconds,
                where the hub's own client tries for a minute), or no such file.
        """
        return self.cached() or self._download()

    def _download(self) -> Path:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        self._check_network(offline=constants.HF_HUB_OFFLINE, endpoint=constants.ENDPOINT)
        error: Exception | None = None
        for name in self.names:
            try:
                return Path(hf_hub_download(self.repository, name, cache_dir=constants.HF_HUB_CACHE))
            except LocalEntryNotFoundError as broken:
                raise self._unavailable("the network broke off") from broken
            except EntryNotFoundError as missing:
                error = missing
            except (HfHubHTTPError, OSError, ValueError) as refused:
                raise self._unavailable(" ".join(str(refused).split())[:200]) from refused
        raise self._unavailable("the repository has no such file") from error

    def _check_network(self, *, offline: bool, endpoint: str) -> None:
        if offline:
            raise self._unavailable("HF_HUB_OFFLINE is set")
        try:
            urllib.request.urlopen(  # the endpoint is the hub's own setting
                urllib.request.Request(endpoint, method="HEAD"), timeout=PROBE_SECONDS
            ).close()
        except urllib.error.HTTPError:
            return  # an answer, whatever it says
        except OSError:
            raise self._unavailable(f"{endpoint} cannot be reached") from None

    def _unavailable(self, why: str) -> InputError:
        return InputError(
            f"guide.clip: {self} is not on this machine and {why}; run `qdgs fetch CONFIG` where there is a "
            f"network, or name a model that is here ({', '.join(EMBEDDED)}, local-dir:FOLDER)"
        )

    def __str__(self) -> str:
        return f"{self.repository}/{self.names[0]}"


@dataclass(frozen=True)
class ClipFiles:
    """A CLIP on this machine, ready for `open_clip.create_model`.

    Attributes:
        model: An open_clip architecture, or `local-dir:` and a folder.
        weights: The checkpoint.
        tokenizer: The name under which open_clip finds its tokenizer.
        preprocessing: What the checkpoint's own preprocessing changes in open_clip's defaults.
        quick_gelu: The checkpoint was trained with QuickGELU, whatever the architecture's name says.
        card: The folder's card.json, where there is one.
    """

    model: str
    weights: Path
    tokenizer: str
    preprocessing: dict[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False
    card: dict[str, Any] = field(default_factory=dict)


def describe(model: str, pretrained: str | None = None) -> str | None:
    """What `fetch` would download, or None where everything is on this machine; asks no network.

    Raises:
        InputError: The model or its pretrained tag is unknown, or a folder is missing or damaged.
    """
    missing = [wanted for wanted in _hub_files(model, pretrained) if wanted.cached() is None]
    if not missing:
        locate(model, pretrained)
        return None
    return f"{' and '.join(str(wanted) for wanted in missing)} from the Hugging Face Hub"


def fetch(model: str, pretrained: str | None = None) -> None:
    """Download what is not on this machine yet.

    Raises:
        InputError: Unknown model or tag, or no network.
    """
    for wanted in _hub_files(model, pretrained):
        wanted.fetch()


def locate(model: str, pretrained: str | None = None) -> ClipFiles:
    """The files of a model, fetched where they are not on this machine.

    Args:
        model: `qdgs-mini`, `local-dir:FOLDER`, `hf-hub:ORGANISATION/REPOSITORY` or an open_clip architecture.
        pretrained: For an architecture alone: open_clip's tag of the weights, or a checkpoint file.

    Raises:
        ConfigError: The model or its pretrained tag is unknown; names the nearest.
        CorruptFileError: A file fails its hash, or is not what it should be.
        InputError: Not on this machine, and no network.
        MissingPackageError: The text tower needs a package that is not installed.
    """
    wanted = _hub_files(model, pretrained)
    if model in EMBEDDED:
        return _folder(EMBEDDED[model], embedded=True)
    if model.startswith(FOLDER_PREFIX):
        return _folder(Path(model.removeprefix(FOLDER_PREFIX)))
    paths = [file.fetch() for file in wanted]
    if model.startswith(HUB_PREFIX):
        return _hub_folder(paths[0].parent, model)
    tag = _tag(model, pretrained)
    weights = paths[0] if paths else Path(str(pretrained))
    return ClipFiles(model, weights, model, preprocessing=tag, quick_gelu=bool(tag.get("quick_gelu")))


def _hub_files(model: str, pretrained: str | None) -> list[HubFile]:
    if model in EMBEDDED or model.startswith((FOLDER_PREFIX, HUB_PREFIX)):
        _check_no_tag(model, pretrained)
        if not model.startswith(HUB_PREFIX):
            return []
        repository = _repository(model)
        return [HubFile(repository, (CONFIG_FILE,)), HubFile(repository, WEIGHTS_FILES)]
    _check_architecture(model)
    _check_text_tower(import_open_clip().get_model_config(model))
    tag = _tag(model, pretrained)
    if not tag:
        return []
    repository, _, name = str(tag["hf_hub"]).rpartition("/")
    return [HubFile(repository, _alternatives(name))]


def _repository(model: str) -> str:
    repository = model.removeprefix(HUB_PREFIX)
    if not re.fullmatch(r"(?!.*(--|\.\.))\w[\w.-]*/[\w.-]*\w", repository):
        expected = f"{HUB_PREFIX}ORGANISATION/REPOSITORY"
        raise ConfigError(f"guide.clip.model: expected {expected}, got {model!r}")
    return repository


def _alternatives(name: str) -> tuple[str, ...]:
    if not name:
        return WEIGHTS_FILES
    stem, dot, suffix = name.rpartition(".")
    return (f"{stem}.safetensors", name) if dot and suffix in ("bin", "pth") else (name,)


def _tag(model: str, pretrained: str | None) -> dict[str, Any]:
    open_clip = import_open_clip()
    known = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None:
        raise ConfigError(
            f"guide.clip.pretrained: expected weights for {model!r}, got none{_known_tags(known)}"
        )
    tag = dict(open_clip.get_pretrained_cfg(model, pretrained))
    if tag.get("hf_hub"):
        return tag
    if not tag and Path(pretrained).is_file():
        return {}
    raise ConfigError(
        f"guide.clip.pretrained: unknown {pretrained!r} for {model!r}{_nearest_tag(pretrained, known)}"
    )


def _known_tags(known: list[str]) -> str:
    return (
        f"; known: {', '.join(known)}"
        if known
        else "; expected a checkpoint file, as open_clip has no tag for it"
    )


def _nearest_tag(pretrained: str, known: list[str]) -> str:
    return nearest(pretrained, known) if known else _known_tags(known)


def _check_no_tag(model: str, pretrained: str | None) -> None:
    if pretrained is not None:
        raise ConfigError(
            f"guide.clip.pretrained: expected none, as {model!r} brings its own weights, got {pretrained!r}"
        )


def _check_architecture(model: str) -> None:
    names = import_open_clip().list_models()
    if model in names:
        return
    close = difflib.get_close_matches(model, [*EMBEDDED, *names], n=3, cutoff=0.5)
    suggestion = f" did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    raise ConfigError(
        f"guide.clip.model: unknown {model!r};{suggestion} known: {', '.join(EMBEDDED)}, local-dir:FOLDER, "
        f"hf-hub:ORGANISATION/REPOSITORY and the {len(names)} names of open_clip.list_models()"
    )


def _folder(folder: Path, *, embedded: bool = False) -> ClipFiles:
    config = folder / CONFIG_FILE
    weights = next((folder / name for name in FOLDER_WEIGHTS if (folder / name).is_file()), None)
    if not config.is_file() or weights is None:
        what = f"expected {CONFIG_FILE} and {WEIGHTS_FILES[0]} in {folder}, got no such files"
        raise (
            CorruptFileError(f"{what}; install qdgs again")
            if embedded
            else ConfigError(f"guide.clip.model: {what}")
        )
    architecture = _read_json(config).get("model_cfg")
    if not isinstance(architecture, dict):
        raise CorruptFileError(f"{config}: expected a mapping with the key model_cfg, got none")
    _check_text_tower(architecture)
    card = _read_json(folder / "card.json") if (folder / "card.json").is_file() else {}
    _check_hash(weights, card.get("sha256"))
    return ClipFiles(f"{FOLDER_PREFIX}{folder}", weights, f"{FOLDER_PREFIX}{folder}", card=card)


def _hub_folder(folder: Path, model: str) -> ClipFiles:
    files = _folder(folder)
    has_own_tokenizer = "hf_tokenizer_name" in _read_json(folder / CONFIG_FILE)["model_cfg"].get(
        "text_cfg", {}
    )
    return replace(files, tokenizer=model) if has_own_tokenizer else files


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


def _check_text_tower(architecture: dict[str, Any]) -> None:
    text = architecture.get("text_cfg", {})
    needs = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if needs and importlib.util.find_spec("transformers") is None:
        raise MissingPackageError(
            f"guide.clip: the text tower {needs!r} needs an optional package: pip install transformers"
        )
