"""Names of generators, guides, judges and the rest: literal dicts, imported on use."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from qdgs.errors import ConfigError


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of an error for an unknown name: the nearest known one, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    suggestion = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{suggestion} known: {', '.join(names)}"


def resolve(registry: Mapping[str, Any], name: str, *, place: str) -> Any:
    """What `name` stands for, imported now where the registry holds "module:attribute".

    Args:
        registry: Name → "module:attribute", or the thing itself.
        name: The name that the user gave.
        place: The configuration key that it was given at, for the error.

    Raises:
        ConfigError: The name is unknown.
    """
    if name not in registry:
        raise ConfigError(f"{place}: unknown {name!r}{nearest(name, registry)}")
    entry = registry[name]
    if not isinstance(entry, str):
        return entry
    module, attribute = entry.split(":")
    return getattr(importlib.import_module(module), attribute)
