r"""The study's sets as they look: images of all methods, mixed and labelled by looking, and their shares.

    python experiments/faces/looking.py sheets --study runs/faces-study --out runs/faces-study/looking
    python experiments/faces/looking.py read --study runs/faces-study \
        --order runs/faces-study/looking/order.csv --words FIRST.txt SECOND.txt \
        --out runs/faces-study/looking.csv

`sheets` draws as many images of each method at random, mixes them, and writes numbered sheets that do not
tell where an image comes from; order.csv does. Each file of words has a word an image: whether it looks
masculine or feminine, and young or old (from about 35), as `my`, `fo`; ? where that cannot be told. Lightness
is colorimetry, and is not asked.

`read` writes a row a file of words, method and metric with a 95 % interval: shares of the four groups of
presentation and age, how far they are from even ones, and how often the words are those of the set, where it
has any. The labels are a method's own random sample, so nothing is carried over from one method to another.
agreement.csv beside OUT tells how often two files say the same.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from labelling import COLUMNS, ROWS, sheet, values_of, words_in
from qdgs.compare_config import load_compare
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.intervals import Estimate, proportion
from qdgs.fairness.shares import group_shares
from qdgs.files import write_text
from qdgs.generators.base import generate
from qdgs.generators.stored import as_stored
from qdgs.parts import load_generator
from qdgs.randomness import Stream, stream
from qdgs.report.style import save
from qdgs.stages.frames import read_frame
from qdgs.training.pixels import to_pixels

ASKED = {"presentation": ("masculine", "feminine"), "age": ("young", "old")}
GROUPS = tuple(f"{one}/{other}" for one in ASKED["presentation"] for other in ASKED["age"])
ORDER, SHARES = 3, 4


def rows_of(study: Path, method: str, seed: int) -> pd.DataFrame:
    """The manifest of a method's set.

    Raises:
        InputError: The study has none.
    """
    path = study / "comparison" / "cells" / str(seed) / f"{method}.parquet"
    if not path.is_file():
        raise InputError(f"{path}: expected the set of {method}, got none; run study.py first")
    return read_frame(path, "compare")


def draw(study: Path, seed: int, images: int) -> pd.DataFrame:
    """Which images are looked at, in which order: `method` and `row`."""
    folder = study / "comparison" / "cells" / str(seed)
    methods = sorted(path.stem for path in folder.glob("*.parquet"))
    if not methods:
        raise InputError(
            f"{study}: expected the folder of a study, got none of seed {seed}; run study.py first"
        )
    random = stream(seed, Stream.LABELLING, ORDER)
    drawn = [
        (method, row)
        for method in methods
        for row in random.permutation(len(rows_of(study, method, seed)))[:images].tolist()
    ]
    mixed = [drawn[place] for place in random.permutation(len(drawn))]
    return pd.DataFrame(mixed, columns=["method", "row"])


def write_sheets(study: Path, out: Path, seed: int, images: int) -> list[Path]:
    """The sheets, and order.csv."""
    order = draw(study, seed, images)
    config = load_compare(study / "comparison" / "config.yaml")
    generator = load_generator(config.run.generator)
    tiles: dict[tuple[str, int], np.ndarray] = {}
    for method, mine in order.groupby("method"):
        latents = latents_of(rows_of(study, str(method), seed).iloc[mine["row"]])
        batches = [to_pixels(as_stored(batch)) for batch in generate(generator, latents)]
        pixels = np.concatenate([batch.permute(0, 2, 3, 1).numpy() for batch in batches])
        tiles |= dict(zip(zip(mine["method"], mine["row"], strict=True), pixels, strict=True))
    every = [tiles[method, row] for method, row in zip(order["method"], order["row"], strict=True)]
    write_text(out / "order.csv", order.assign(seed=seed).to_csv(index=False))
    step = COLUMNS * ROWS
    return [
        save(sheet(every[start : start + step], start), out / f"sheet-{start:04d}.png")
        for start in range(0, len(every), step)
    ]


def order_in(file: Path) -> pd.DataFrame:
    """Which images stand on the sheets: `method`, `row`, `seed`.

    Raises:
        InputError: There is no such file, or it is something else.
    """
    if not file.is_file():
        raise InputError(f"--order: expected order.csv of the sheets at {file}, got none; draw them first")
    try:
        order = pd.read_csv(file)
    except (ValueError, OSError):  # of pandas and of text that is none
        order = pd.DataFrame()
    if not len(order) or not {"method", "row", "seed"} <= set(order.columns):
        raise InputError(f"{file}: expected rows of method, row and seed, as `sheets` writes them")
    return order


def seen_in(file: Path, images: int) -> pd.DataFrame:
    """What a file of words says of each image, missing where it tells nothing.

    Raises:
        InputError: There is no such file, it has another number of words, or one that says something else.
    """
    words = words_in(file)
    if len(words) != images:
        raise InputError(f"{file}: expected {images} words, got {len(words)}")
    return pd.DataFrame(values_of(words, ASKED), dtype=object)


def groups_of(values: pd.DataFrame) -> pd.Series:
    """The group of each image, missing where a value is."""
    return values.dropna()[list(ASKED)].agg("/".join, axis=1).reindex(values.index)


def looked(values: pd.DataFrame, made_as: pd.DataFrame, seed: int) -> dict[str, Estimate]:
    """Numbers of one method.

    Args:
        values: What was seen.
        made_as: What the method calls the same images, missing where it says nothing.
        seed: Of the resamples.
    """
    even = dict.fromkeys(GROUPS, 1 / len(GROUPS))
    shares = group_shares(groups_of(values), even, stream(seed, Stream.LABELLING, SHARES))
    numbers = {"max_share_error": shares.max_share_error, "normalized_entropy": shares.normalized_entropy}
    ends = zip(shares.groups, shares.shares, shares.low, shares.high, strict=True)
    numbers |= {f"share of {group}": Estimate(share, low, high) for group, share, low, high in ends}
    for name in ASKED:
        both = values[name].notna() & made_as[name].notna()
        if both.any():
            same = (values[name] == made_as[name])[both]
            numbers[f"same {name} as the set"] = proportion(int(same.sum()), len(same))
    return numbers


def table(study: Path, order: pd.DataFrame, told: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows of every file of words and method."""
    rows = []
    for source, values in told.items():
        for (method, seed), mine in order.groupby(["method", "seed"]):
            made = rows_of(study, str(method), int(seed)).iloc[mine["row"]]
            made_as = pd.DataFrame({name: made[f"group_{name}"].to_numpy() for name in ASKED})
            seen = values.iloc[mine.index].reset_index(drop=True)
            for metric, one in looked(seen, made_as, int(seed)).items():
                rows.append([source, method, seed, metric, one.value, one.low, one.high, len(seen)])
    return pd.DataFrame(rows, columns=["words", "method", "seed", "metric", "value", "low", "high", "images"])


def agreement(told: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """How often two files say the same of the images of which both tell."""
    rows = []
    for (one, first), (other, second) in combinations(told.items(), 2):
        for name in ASKED:
            both = first[name].notna() & second[name].notna()
            rows.append([name, one, other, (first[name] == second[name])[both].mean(), int(both.sum())])
    return pd.DataFrame(rows, columns=["measure", "one", "other", "same", "images"])


def read(given: argparse.Namespace) -> None:
    """Write what the words say."""
    order = order_in(given.order)
    told = {file.stem: seen_in(file, len(order)) for file in given.words}
    found = table(given.study, order, told)
    write_text(given.out, found.to_csv(index=False, float_format="%.6g"))
    write_text(given.out.with_name("agreement.csv"), agreement(told).to_csv(index=False, float_format="%.4g"))
    print(found.pivot(index="metric", columns=["words", "method"], values="value").round(3).to_string())
    print(agreement(told).to_string(index=False, float_format="{:.3f}".format))


def main(argv: Sequence[str] | None = None) -> None:
    """Write sheets, or read what was seen on them."""
    parser = argparse.ArgumentParser(description="Label a study's sets by looking at them.")
    commands = parser.add_subparsers(dest="command", required=True)
    sheets = commands.add_parser("sheets")
    sheets.add_argument("--study", type=Path, required=True)
    sheets.add_argument("--seed", type=int, default=0)
    sheets.add_argument("--images", type=int, default=200, help="of each method")
    sheets.add_argument("--out", type=Path, required=True)
    reading = commands.add_parser("read")
    reading.add_argument("--study", type=Path, required=True)
    reading.add_argument("--order", type=Path, required=True)
    reading.add_argument("--words", type=Path, nargs="+", required=True)
    reading.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(argv)
    if given.command == "sheets":
        print("\n".join(map(str, write_sheets(given.study, given.out, given.seed, given.images))))
    else:
        read(given)


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
