"""What a user brings: imported from "package.module:factory", made, and looked at before it is used."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from qdgs.errors import ConfigError, QdgsError
from qdgs.registry import nearest

Member = tuple[str, Callable[[Any], bool]]
"""What a member must be: in words, and as a check."""

HANDED_ON = ("device", "asked_at", "measure_names")
"""Parameters of a factory that no option sets: where it has them, it gets them."""
SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def is_factory(thing: object) -> bool:
    """Whether it is called to make a part, rather than being one (generators are called too)."""
    return inspect.isclass(thing) or inspect.isroutine(thing) or isinstance(thing, functools.partial)


def required_options(make: Callable[..., Any]) -> list[str]:
    """Options that have no default."""
    known = _parameters(make)
    needed = [name for name, item in known.items() if item.default is item.empty]
    return [name for name in needed if known[name].kind not in SEVERAL and name not in HANDED_ON]


def make(thing: Any, options: Mapping[str, Any], *, name: str, place: str, given: Mapping[str, Any]) -> Any:
    """Call a factory with options, and with what of `given` it takes; an object stays as it is.

    Args:
        thing: A class, a function, or an object that is made already.
        options: What the configuration gives beside the name.
        name: What the user calls it, for errors.
        place: Its key in the configuration.
        given: What is handed on where the factory has a parameter of that name, such as the device.

    Raises:
        ConfigError: An option is unknown or lacking.
    """
    if not is_factory(thing):
        for option in options:
            raise ConfigError(f"{place}.{option}: {name!r} is made already and takes no options")
        return thing
    known = _parameters(thing)
    _check_options(options, known, given, name, place)
    return thing(**options, **{key: value for key, value in given.items() if key in known})


def make_target(target: object, options: Mapping[str, Any], *, place: str, given: Mapping[str, Any]) -> Any:
    """What "package.module:factory" makes; the arguments are those of `make`.

    Raises:
        ConfigError: It cannot be imported, does not take the options, or fails.
    """
    found = import_target(target, f"{place}.target")
    try:
        return make(found, options, name=str(target), place=place, given=given)
    except QdgsError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ConfigError(f"{place}.target: {target!r} failed: {told_of(error)}") from error


def import_target(target: object, place: str) -> Any:
    """What "package.module:attribute" names; the working directory and installed packages are looked through.

    Raises:
        ConfigError: It is not of that form, or there is no such thing, or its module fails.
    """
    if not isinstance(target, str) or not re.fullmatch(r"[\w.]+:[\w.]+", target):
        raise ConfigError(f"{place}: expected 'package.module:factory', got {target!r}")
    module, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ConfigError(
            f"{place}: {module!r} cannot be imported from the working directory or an installed package: "
            f"{told_of(error)}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(found) if not name.startswith("_")]
            raise ConfigError(f"{place}: unknown {part!r} in {module!r}{nearest(part, public)}")
        found = getattr(found, part)
    return found


def check_members(made: object, members: Mapping[str, Member], *, kind: str, place: str) -> None:
    """See that a part has what its kind must have.

    Args:
        made: The part.
        members: Name → what it must be.
        kind: "a generator", for the error.
        place: The key of the configuration that asks for it.

    Raises:
        ConfigError: Names everything that is missing, or the first thing that is something else.
    """
    found = {name: _member(made, name, f"{place}: expected {kind}") for name in members}
    missing = [name for name, value in found.items() if value is ...]
    if missing:
        needed = ", ".join(f"{name} ({members[name][0]})" for name in missing)
        raise ConfigError(f"{place}: expected {kind}, got a {type(made).__name__} that lacks {needed}")
    for name, (words, holds) in members.items():
        if not holds(found[name]):
            shown = " ".join(repr(found[name]).split())[:80]
            raise ConfigError(f"{place}: expected {kind} whose {name} is {words}, got {shown}")


def _member(made: object, name: str, expected: str) -> Any:
    """What it has of that name, or an ellipsis."""
    try:
        return getattr(made, name, ...)
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"{expected} with {name}, which fails: {told_of(error)}") from error


def whole_number(value: Any) -> bool:
    """Whether it is an integer of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_options(
    options: Mapping[str, Any],
    known: Mapping[str, inspect.Parameter],
    given: Mapping[str, Any],
    name: str,
    place: str,
) -> None:
    takes_any = any(item.kind is item.VAR_KEYWORD for item in known.values())
    for option in options:
        reserved = option in given and option in known
        if reserved or not (option in known or takes_any):
            others = nearest(option, set(known) - set(given))
            raise ConfigError(f"{place}.{option}: unknown option of {name!r}{others}")
    for option, item in known.items():
        if item.default is item.empty and item.kind not in SEVERAL and option not in {*options, *given}:
            raise ConfigError(f"{place}.{option}: expected a value, got none; {name!r} needs one")


def _parameters(make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError):  # written in C
        return {"options": inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)}


def told_of(error: BaseException) -> str:
    """An exception and the line of the user's code that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"
