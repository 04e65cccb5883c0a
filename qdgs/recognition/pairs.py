"""Pairs of faces that are or are not of one person: what benchmarks consist of."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from qdgs.errors import InputError
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.images import FORMATS, pixels_of
from qdgs.recognition.tables import read_table

Source = bytes | Path
"""An encoded image, or the file that holds one."""

SAME = {
    **dict.fromkeys(("1", "1.0", "true", "same"), True),
    **dict.fromkeys(("0", "0.0", "false", "different"), False),
}
ALL = "all"
"""What all pairs are called beside their groups."""
COLUMNS: Sequence[Mapping[str, str]] = (
    {"first": "first", "second": "second", "same": "same", "group": "group"},
    {"first": "p1", "second": "p2", "same": "label", "group": "att1"},
)
"""Columns of pair lists: ours, and those of Balanced Faces in the Wild."""


@dataclass(frozen=True)
class Pairs:
    """A benchmark.

    Attributes:
        images: Each image once.
        first: Place of each pair's first image, `(n,)`.
        second: Of its second.
        same: Whether the two show one person, `(n,)`.
        groups: Group of each pair, `(n,)`, where groups are known.
        folds: Name of each pair's fold, `(n,)`, where the list tells them.
    """

    images: tuple[Source, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    groups: NDArray[np.str_] | None = None
    folds: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.same)

    @classmethod
    def of(cls, sources: Sequence[tuple[Source, Source]], same: Sequence[bool]) -> Pairs:
        """Pairs of images; those that occur more than once are kept once."""
        places: dict[Source, int] = {}
        first, second = (
            np.array([places.setdefault(pair[side], len(places)) for pair in sources], dtype=np.int64)
            for side in (0, 1)
        )
        return cls(tuple(places), first, second, np.array(same, dtype=bool))

    def grouped(self, groups: Sequence[str]) -> Pairs:
        """The same pairs with a group each.

        Raises:
            InputError: There are more or fewer groups than pairs, or one has no name, or that of all pairs.
        """
        if len(groups) != len(self):
            raise InputError(f"groups: expected one for each of {len(self):,} pairs, got {len(groups):,}")
        for number, name in enumerate(groups, start=1):
            if name.strip() in ("", ALL):
                raise InputError(
                    f"groups: expected a name other than {ALL!r}, which is of all pairs, in every row, got "
                    f"{name!r} in row {number:,}"
                )
        return replace(self, groups=np.array(groups, dtype=np.str_))


def read_pairs(path: Path, *, images: Path | None = None) -> Pairs:
    """A pair list: a CSV, or the text that LFW and Racial Faces in the Wild use.

    A CSV has the columns first, second, same and, where there are groups, group; or p1, p2, label and att1,
    as Balanced Faces in the Wild has them, where pairs of two groups get both names. A column `fold` says
    which pairs belong together when thresholds are chosen, so that nobody is in two folds. A text has on a
    line `name i j` for two images of one person or `name i name j` for two persons, and on the first perhaps
    how many there are; image i of a name is `name/name_000i.jpg`.

    Args:
        path: The list.
        images: Folder that its paths start from; that of the list where it is not given.

    Raises:
        InputError: The list or a line of it does not hold, or an image is missing.
    """
    root = path.parent if images is None else images
    try:
        pairs = _of_table(path, root) if path.suffix.lower() == ".csv" else _of_lines(path, root)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    missing = [image for image in pairs.images if isinstance(image, Path) and not image.is_file()]
    if missing:
        raise InputError(
            f"{path}: expected {len(pairs.images):,} images in {root}, got {len(missing):,} fewer "
            f"({missing[0]} is missing); name their folder with --images"
        )
    return pairs


def read_groups(path: Path) -> list[str]:
    """Column `group` of a CSV with a row a pair.

    Raises:
        InputError: There is no such file or column.
    """
    table = read_table(path)
    if "group" not in table:
        raise InputError(f"{path}: expected a column group, got {', '.join(table.columns)}")
    return list(table["group"])


def read_folds(path: Path) -> NDArray[np.str_] | None:
    """Column `fold` of a CSV with a row a pair; None where it has none.

    Raises:
        InputError: There is no such file, or a single fold.
    """
    table = read_table(path)
    return _folds(path, table["fold"]) if "fold" in table else None


def decoded(source: Source, image_size: int, *, place: str = "pairs") -> Pixels:
    """Pixels `(image_size, image_size, 3)`.

    Args:
        source: The image.
        image_size: Height and width that it is scaled to.
        place: What to call it by where it cannot be read.

    Raises:
        InputError: It is no image.
    """
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
        ) as image:
            return pixels_of(image, image_size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        shown = f"one of {len(source):,} bytes" if isinstance(source, bytes) else str(source)
        raise InputError(
            f"{place}: expected an image that can be read, got {shown} that cannot; repair it, or leave its "
            "pairs out"
        ) from None


def _of_table(path: Path, root: Path) -> Pairs:
    table = read_table(path)
    for columns in COLUMNS:
        if {columns["first"], columns["second"], columns["same"]} <= set(table.columns):
            break
    else:
        raise InputError(f"{path}: expected columns first, second and same, got {', '.join(table.columns)}")
    same = [_told(path, number, text) for number, text in enumerate(table[columns["same"]], start=2)]
    files = zip(table[columns["first"]], table[columns["second"]], strict=True)
    pairs = Pairs.of([(root / one, root / other) for one, other in files], same)
    if "fold" in table:
        pairs = replace(pairs, folds=_folds(path, table["fold"]))
    if columns["group"] not in table:
        return pairs
    groups = table[columns["group"]]
    if "att2" in table and columns["group"] == "att1":
        groups = groups.where(table["att1"] == table["att2"], groups + " and " + table["att2"])
    return pairs.grouped(list(groups))


def _folds(path: Path, told: pd.Series) -> NDArray[np.str_]:
    folds: NDArray[np.str_] = told.to_numpy(np.str_)
    names = sorted(set(folds))
    if len(names) < 2:
        raise InputError(
            f"{path}: expected several folds in the column fold, got {', '.join(names) or 'none'}"
        )
    return folds


def _told(path: Path, line: int, text: str) -> bool:
    found = SAME.get(text.strip().lower())
    if found is None:
        raise InputError(f"{path}: expected 1 or 0 for the same person on line {line}, got {text!r}")
    return found


def _of_lines(path: Path, root: Path) -> Pairs:
    sources: list[tuple[Source, Source]] = []
    same = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.split()
        if not words or (number == 1 and all(word.isdecimal() for word in words)):
            continue
        read = _READERS.get(len(words))
        if read is None or not all(word.isdecimal() for word in (words[-1], words[1])):
            raise InputError(f"{path}: expected `name i j` or `name i name j` on line {number}, got {line!r}")
        one, other = read(words)
        sources.append((root / one, root / other))
        same.append(len(words) == 3)
    return Pairs.of(sources, same)


def _image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


_READERS: Mapping[int, Callable[[list[str]], tuple[str, str]]] = {
    3: lambda words: (_image(words[0], words[1]), _image(words[0], words[2])),
    4: lambda words: (_image(words[0], words[1]), _image(words[2], words[3])),
}
