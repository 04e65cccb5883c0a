"""Label a dataset's images by looking at numbered sheets: sheets to look at, and a file for `qdgs certify`.

    python experiments/faces/labelling.py sheets RUN --out DIR --images 400
    python experiments/faces/labelling.py read RUN CODES.txt --out labels.json
    qdgs certify RUN labels.json

Images come in the order in which the report's page offers them: stratified by group, blind. CODES.txt has a
word an image, a letter a question, the first letter of the answer or ? where it cannot be told: with
lightness, presentation and age, `dfo` is dark, feminine, old.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from qdgs.datasets.manifest import read_manifest
from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from qdgs.report.labelling import asked_groups, dataset_key, offered
from qdgs.report.sheets import mosaic
from qdgs.report.style import save
from qdgs.run import Run
from qdgs.stages.flatten import MANIFEST

COLUMNS, ROWS, SIZE = 8, 5, 150
CANNOT_TELL = "?"


def write_sheets(run: Run, out: Path, images: int) -> list[Path]:
    """Sheets of 40 images, each with its number under it."""
    manifest = read_manifest(run.path / MANIFEST)
    files = manifest.rows["file"].iloc[offered(manifest.rows, run.config.seed)[:images]].tolist()
    paths = []
    for start in range(0, len(files), COLUMNS * ROWS):
        tiles = []
        for file in files[start : start + COLUMNS * ROWS]:
            with Image.open(run.path / "dataset" / file) as image:
                tiles.append(np.asarray(image.convert("RGB")))
        paths.append(save(sheet(tiles, start), out / f"sheet-{start:04d}.png"))
    return paths


def sheet(tiles: list[np.ndarray], start: int) -> Figure:
    """Images `(height, width, 3)` in rows of eight, each with its number under it."""
    gap = 14
    picture = mosaic(tiles, COLUMNS, SIZE, gap=gap)
    figure = Figure(figsize=(picture.shape[1] / 160, picture.shape[0] / 160), dpi=160)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    for place in range(len(tiles)):
        row, column = divmod(place, COLUMNS)
        x, y = gap + column * (SIZE + gap), (row + 1) * (SIZE + gap) + gap / 2
        axes.text(x, y - gap / 2 + 7, str(start + place), fontsize=5, va="center", color="black")
    return figure


def values_of(words: Sequence[str], asked: Mapping[str, Sequence[str]]) -> list[dict[str, str | None]]:
    """Values by question of each word, a letter a question: the first of the answer.

    Args:
        words: A word an image.
        asked: Question → its answers.

    Raises:
        InputError: A word has too few or too many letters, or one that no answer begins with.
    """
    answers = [{name[0]: name for name in names} | {CANNOT_TELL: None} for names in asked.values()]
    values = []
    for number, word in enumerate(words):
        if len(word) != len(asked) or any(
            letter not in known for letter, known in zip(word, answers, strict=True)
        ):
            wanted = ", ".join("".join(known) for known in answers)
            raise InputError(f"image {number}: expected a letter each of {wanted}, got {word!r}")
        told = [known[letter] for letter, known in zip(word, answers, strict=True)]
        values.append(dict(zip(asked, told, strict=True)))
    return values


def words_in(file: Path) -> list[str]:
    """The words of a file.

    Raises:
        InputError: There is no such file, or it is no text.
    """
    if not file.is_file():
        raise InputError(f"{file}: expected a file of words, got none; write a word an image into it")
    try:
        return file.read_text(encoding="utf-8").split()
    except (ValueError, OSError):
        raise InputError(f"{file}: expected words as text in UTF-8, got something else") from None


def write_labels(run: Run, codes: Path, out: Path, by: str = "a person") -> int:
    """The file that `qdgs certify` reads; how many labels it has."""
    manifest = read_manifest(run.path / MANIFEST)
    order = offered(manifest.rows, run.config.seed)
    asked = {name: group.names for name, group in asked_groups(run.config.dataset).items()}
    given = values_of(words_in(codes), asked)
    if len(given) > len(order):
        raise InputError(f"{codes}: expected at most {len(order)} words, got {len(given)}")
    ids = manifest.rows["id"].iloc[order[: len(given)]]
    labels = [{"id": name, "values": values} for name, values in zip(ids, given, strict=True)]
    content = {
        "kind": "qdgs-labels",
        "labelled_by": by,
        "dataset": dataset_key(manifest.rows),
        "labels": labels,
    }
    write_text(out, json.dumps(content, indent=1) + "\n")
    return len(labels)


def main(argv: Sequence[str] | None = None) -> None:
    """Write sheets, or read what was seen on them."""
    parser = argparse.ArgumentParser(description="Label a dataset by looking at sheets.")
    commands = parser.add_subparsers(dest="command", required=True)
    sheets = commands.add_parser("sheets")
    sheets.add_argument("run", type=Path)
    sheets.add_argument("--out", type=Path, required=True)
    sheets.add_argument("--images", type=int, default=400)
    read = commands.add_parser("read")
    read.add_argument("run", type=Path)
    read.add_argument("codes", type=Path)
    read.add_argument("--out", type=Path, required=True)
    read.add_argument("--by", default="a person", help="who labelled: the certificate and the card tell")
    given = parser.parse_args(argv)
    run = Run.open(given.run)
    if given.command == "sheets":
        print("\n".join(map(str, write_sheets(run, given.out, given.images))))
    else:
        print(f"{given.out}: {write_labels(run, given.codes, given.out, given.by)} labels")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
