"""InsightFace's `.bin` benchmarks: LFW, CFP-FP, CPLFW, CALFW, AgeDB-30, and one's own.

A `.bin` is a pickle of (images, same): a list of 2n encoded images, pair after pair, and a list of n bools. A
pickle may name anything that is to be called on reading; none of these does, so the first name is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from qdgs.errors import InputError
from qdgs.recognition.pairs import Pairs

HARMLESS = {
    *("PROTO", "FRAME", "MARK", "STOP"),
    *("LIST", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "NONE"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
}
"""Operations of a pickle that build and do no more: to hash a few bytes that nest takes forever."""
NAMING = {"GLOBAL", "INST", "STACK_GLOBAL", "PERSID", "BINPERSID"}
"""Reading ends at these, in a sentence with what they name; nothing after them is done."""


class _OldProtocolError(pickle.UnpicklingError):
    """Python 3 wrote bytes as a call in protocols 0 to 2."""


class _Inert(pickle.Unpickler):
    """Builds tuples, lists, bytes and numbers, and calls nothing."""

    def find_class(self, module: str, name: str) -> NoReturn:
        if (module, name) == ("_codecs", "encode"):
            raise _OldProtocolError
        raise pickle.UnpicklingError(f"it names {module}.{name}, and may hold nothing that has a name")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside of itself")


def read_bin(path: Path | str) -> Pairs:
    """The pairs of a `.bin`, also of one that Python 2 wrote in protocol 2; nothing in it is run.

    Raises:
        InputError: There is no such file, it is damaged, holds anything but tuples, lists, bytes and bools,
            or not two images for each pair.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        _check_operations(content)
        loaded = _Inert(io.BytesIO(content), encoding="bytes").load()
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: expected a .bin of protocol 2 or later, got one of pickle's first, or a damaged one; "
            "write it again with protocol 4"
        ) from None
    except _OldProtocolError:
        raise InputError(
            f"{path}: expected a .bin that holds its images as bytes, got one that Python 3 wrote in an old "
            "protocol, where bytes are a call of _codecs.encode; write it again with protocol 4"
        ) from None
    except Exception as error:  # a damaged pickle makes the unpickler raise whatever it may
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path}: expected a .bin of images and bools, cannot read it: {reason}; fetch it again from a "
            "source that you trust"
        ) from None
    images, same = _parts(path, loaded)
    if len(images) != 2 * len(same):
        raise InputError(
            f"{path}: expected two images for each of {len(same):,} pairs, got {len(images):,} images"
        )
    return Pairs.of(list(zip(images[::2], images[1::2], strict=True)), same)


def _check_operations(content: bytes) -> None:
    """Refuse what takes forever, or all memory: of a memo no more is needed than what was done so far."""
    for done, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if operation.name in NAMING:
            return
        if operation.name not in HARMLESS:
            raise pickle.UnpicklingError(
                f"its operation {done + 1:,} is {operation.name}, which lists of images and bools do not need"
            )
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > done:
            raise pickle.UnpicklingError(f"it asks for a memo of {argument:,} at its operation {done + 1:,}")


def write_bin(path: Path, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write a `.bin` that InsightFace reads: 2n encoded images, pair after pair, and n bools."""
    if len(images) != 2 * len(same):
        raise InputError(f"images: expected two for each of {len(same):,} pairs, got {len(images):,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(pickle.dumps((list(images), [bool(value) for value in same]), protocol=4))
    unfinished.replace(path)


def _parts(path: Path, loaded: Any) -> tuple[list[bytes], list[bool]]:
    if not (isinstance(loaded, tuple | list) and len(loaded) == 2):
        raise InputError(f"{path}: expected a pair of lists, got {_kind(loaded)}")
    for part, kind, what in zip(loaded, (bytes, bool), ("images as bytes", "bools"), strict=True):
        if not isinstance(part, tuple | list):
            raise InputError(f"{path}: expected a list of {what}, got {_kind(part)}")
        for place, item in enumerate(part):
            if type(item) is not kind:
                raise InputError(f"{path}: expected {what}, got {_kind(item)} at place {place}")
    return list(loaded[0]), list(loaded[1])


def _kind(value: Any) -> str:
    return (
        f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
    )
