"""A mistake in a configuration, told in one sentence: place, what was expected, what came."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from qdgs.registry import nearest

Details = Mapping[str, Any]

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a text",
    "tuple_type": "a pair of numbers",
}
_BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}


class Mistake(ValueError):
    """Raised by a validator of a mapping: what is wrong with one of its keys.

    Args:
        key: The key below the mapping that is validated, dots for deeper ones.
        message: What was expected, and what came.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def sentence(error: ValidationError, data: Mapping[str, Any], root: type[BaseModel]) -> str:
    """The first mistake that a validation found, as `place: expected …, got …`.

    Args:
        error: What pydantic says.
        data: What it said it of.
        root: The model that did not hold, for the known keys.
    """
    details = error.errors(include_url=False)
    place = _place(details[0], data)
    same = [other for other in details if _within(_place(other, data), place)]
    deepest = max((_place(other, data) for other in same), key=len)
    return _told(deepest, [other for other in same if _place(other, data) == deepest], root)


def shown(value: Any) -> str:
    """A value as the user wrote it, near enough, and short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _told(place: Sequence[str], details: Sequence[Details], root: type[BaseModel]) -> str:
    where, first = ".".join(place), details[0]
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(place[-1], _known_keys(place[:-1], root))}"
    if first["type"] == "missing":
        return f"{where}: expected a value, got none"
    if first["type"] == "value_error":
        return _own_sentence(place, first["ctx"]["error"])
    names = _literals(first)
    if len(details) == 1 and len(names) > 2 and isinstance(first["input"], str):
        return f"{where}: unknown {first['input']!r}{nearest(first['input'], names)}"
    expected = list(dict.fromkeys(_expectation(detail) for detail in details))
    choices = " or ".join(filter(None, [", ".join(expected[:-1]), expected[-1]]))
    return f"{where}: expected {choices}, got {shown(first['input'])}"


def _own_sentence(place: Sequence[str], error: Exception) -> str:
    parts = [*place, error.key] if isinstance(error, Mistake) else place
    return f"{'.'.join(parts)}: {error}" if parts else str(error)


def _expectation(detail: Details) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    for key, words in _BOUNDS.items():
        if key in context:
            number = "an integer" if isinstance(context[key], int) else "a number"
            return f"{number} {words} {context[key]:g}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind in ("too_short", "too_long"):
        few = kind == "too_short"
        return f"at {'least' if few else 'most'} {context['min_length' if few else 'max_length']} of them"
    return _EXPECTED.get(kind, str(detail["msg"]).replace("Input should be ", ""))


def _literals(detail: Details) -> list[str]:
    if detail["type"] != "literal_error":
        return []
    return str(detail["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")


def _place(detail: Details, data: Any) -> tuple[str, ...]:
    """Where it is in the user's own words: pydantic's names for the members of a union are left out."""
    place: list[str] = []
    node = data
    location = detail["loc"]
    for depth, part in enumerate(location):
        last_missing = detail["type"] == "missing" and depth == len(location) - 1
        if _holds(node, part):
            node = node[part]
        elif not (last_missing or isinstance(part, int)):
            continue
        place.append(str(part))
    return tuple(place)


def _holds(node: Any, part: str | int) -> bool:
    if isinstance(node, Mapping):
        return part in node
    return isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)


def _within(place: Sequence[str], outer: Sequence[str]) -> bool:
    return tuple(place[: len(outer)]) == tuple(outer)


def _known_keys(place: Sequence[str], root: type[BaseModel]) -> list[str]:
    model: type[BaseModel] | None = root
    for part in place:
        field = model.model_fields.get(part) if model else None
        model = _model_in(field.annotation) if field else model
    return list(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
