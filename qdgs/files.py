"""Writing so that what was saved before survives, and reading what may be damaged."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qdgs.errors import CorruptFileError, InputError


def cache_folder() -> Path:
    """`QDGS_CACHE`, or the user's cache folder."""
    if os.environ.get("QDGS_CACHE"):
        return Path(os.environ["QDGS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qdgs"


def write_text(path: Path, text: str) -> None:
    """Write a text file; an earlier one is replaced only once this one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object, its keys in the order given; NaN and infinity become null."""
    write_text(path, json.dumps(_finite(data), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: There is no such file.
        CorruptFileError: It holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected a file, got none") from None
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise CorruptFileError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def yaml_text(data: Any) -> str:
    """Plain data as YAML that is read back as it was."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Escapes the one character that YAML reads back as a space."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if "\x85" in value else None)


_Dumper.add_representer(str, _text)


def fingerprint(data: Any) -> str:
    """SHA-256 of plain data: equal for equal data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
