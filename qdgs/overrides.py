"""`--set a.b=value` over a configuration."""

from typing import Any

import yaml

from qdgs.errors import ConfigError


def override(data: dict[str, Any], assignment: str) -> None:
    """Set one key of a configuration in place.

    Args:
        data: The configuration as read from YAML; mappings that the path needs are made.
        assignment: `a.b=value`, the value in YAML; a number stands for a position in a list.

    Raises:
        ConfigError: The path leads nowhere, or the value is not YAML.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {assignment}: expected a.b=value")
    *parents, last = path.split(".")
    node: Any = data
    for key in parents:
        node = _child(node, key, assignment)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {assignment}: the value is not YAML") from None
    if isinstance(node, list):
        node[_position(node, last, assignment)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"--set {assignment}: {'.'.join(parents)} is not a mapping")


def _child(node: Any, key: str, assignment: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, assignment)]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {assignment}: there is no mapping at {key!r}")
    if isinstance(node.get(key), str) and key in ("generator", "teacher", "gate", "auditor"):
        node[key] = {"name": node[key]}
    return node.setdefault(key, {})


def _position(node: list[Any], key: str, assignment: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f"--set {assignment}: expected a position from 0 to {len(node) - 1}, got {key!r}")
    return int(key)
