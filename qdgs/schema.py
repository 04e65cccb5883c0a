"""JSON Schema of configurations, for editors that complete and check YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from qdgs.errors import InputError
from qdgs.registry import nearest

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text(kind: str = "run") -> str:
    """The schema of a kind of configuration as JSON; what it lets through may still be refused.

    Args:
        kind: "run", "compare", "probe" or "recognition".

    Raises:
        InputError: The kind is unknown.
    """
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def schema(kind: str = "run") -> dict[str, Any]:
    """The same as plain data.

    Raises:
        InputError: The kind is unknown.
    """
    if kind not in KINDS:
        raise InputError(f"KIND: unknown {kind!r}{nearest(kind, KINDS)}")
    made: dict[str, Any] = KINDS[kind]().model_json_schema(mode="validation")
    definitions = {**made.get("$defs", {}), "": made}
    for name, short in SHORTHANDS.items():
        model, _, key = name.rpartition(".")
        place = definitions.get(model if model != made["title"] else "", {}).get("properties", {})
        if key in place:
            place[key] = _or(place[key], short)
    if kind == "probe":  # judges in place of the run's, which the model may be one of
        made["properties"]["judges"] = {"$ref": "#/$defs/JudgesConfig"}
    if "NamedByAttribute" in definitions:
        values = definitions["NamedByAttribute"]
        values["additionalProperties"] = _or(values["additionalProperties"], {"type": "string"})
    return {"$schema": DIALECT, **made, "title": f"qdgs, kind: {kind}"}


def _run() -> type[BaseModel]:
    from qdgs.config import RunConfig

    return RunConfig


def _compare() -> type[BaseModel]:
    from qdgs.compare_config import CompareConfig

    return CompareConfig


def _probe() -> type[BaseModel]:
    from qdgs.probe_config import ProbeConfig

    return ProbeConfig


def _recognition() -> type[BaseModel]:
    from qdgs.recognition_config import RecognitionConfig

    return RecognitionConfig


KINDS: dict[str, Callable[[], type[BaseModel]]] = {
    "run": _run,
    "compare": _compare,
    "probe": _probe,
    "recognition": _recognition,
}
NAME = {"type": "string", "description": "its name alone"}
SHORTHANDS: dict[str, dict[str, Any]] = {
    "RunConfig.generator": NAME,
    "JudgesConfig.teacher": NAME,
    "JudgesConfig.gate": NAME,
    "JudgesConfig.auditor": NAME,
    "DatasetConfig.target": {
        "type": "string",
        "pattern": "[cC][sS][vV]$",
        "description": "a table of shares",
    },
    "SamplesConfig.generator": NAME,
    "CompareConfig.run": {"type": "string", "description": "the path of a run's configuration"},
    "ProbedConfig.judge": NAME,
    "ProbeConfig.run": {"type": "string", "description": "the path of a run's configuration"},
    "CompareConfig.methods": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/MethodConfig"}, NAME]}},
}
"""Keys that may be written shorter than the models say, since they are completed before these look."""


def _or(known: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A schema that lets either through; what stands beside it stays."""
    beside: dict[str, Any] = {key: known[key] for key in ("default", "description", "title") if key in known}
    kinds = known.get("anyOf") or known.get("oneOf")
    if kinds is None:
        kinds = [{key: value for key, value in known.items() if key not in beside}]
    # A judge for each attribute is no other name for a judge: both may hold, so that oneOf would be wrong.
    flat = [inner for kind in kinds for inner in kind.get("oneOf", [kind])]
    return {"anyOf": [*flat, other], **beside}
