"""What rows of a study rest on, kept beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdgs.errors import InputError
from qdgs.files import read_json, write_json


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings in FILE_settings.json beside a study's FILE.csv.

    Raises:
        InputError: The file holds rows of other settings.
    """
    path = out.with_name(f"{out.stem}_settings.json")
    if out.exists():
        known = read_json(path) if path.exists() else {}
        others = [f"{name} {known.get(name)}" for name, value in settings.items() if known.get(name) != value]
        if others:
            raise InputError(
                f"{out}: its rows are of other settings ({', '.join(others)}); take another --out"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(settings))
