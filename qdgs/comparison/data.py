"""The images beside the generator: for the downstream task, and for the methods that need some."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from qdgs.compare_config import DataConfig, FolderAttribute
from qdgs.datasets.drawing import COLORS, SHAPES, biased_shapes
from qdgs.datasets.face_folders import read_faces
from qdgs.datasets.labelled import LabelledImages
from qdgs.errors import InputError
from qdgs.randomness import Stream, stream
from qdgs.samplers.base import Problem
from qdgs.samplers.reference import ReferenceWarning
from qdgs.training.pixels import to_pixels

BALANCED = 0.5
TRAINING, REFERENCE, TEST, USUAL, CEILING = range(5)
AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class TaskData:
    """Labelled images of one seed.

    Attributes:
        training: Biased ones.
        reference: A small set with the target's shares.
        test: What accuracies by group are told on.
        usual: What AP, DEO, BA and KL are told on, with a correlation that can be amplified.
        ceiling: As many images of the target's shares as a method gives, where they can be had.
    """

    training: LabelledImages
    reference: LabelledImages
    test: LabelledImages
    usual: LabelledImages
    ceiling: LabelledImages | None


def task_data(config: DataConfig, problem: Problem, seed: int, test_size: int) -> TaskData:
    """The images of a seed.

    Args:
        config: Where they come from, and how many.
        problem: Groups, and the generator's image size, which training and reference images have.
        seed: Of the comparison.
        test_size: Pixels of all others; smaller ones save memory.

    Raises:
        InputError: The source has no such attributes, or the folder does not hold what it should.
    """
    if config.source != "drawn-shapes":
        return _from_folder(config, problem, seed)
    known: dict[str, tuple[str, ...]] = {"color": COLORS, "shape": SHAPES}
    for name, values in problem.attributes.items():
        if not set(values) <= set(known.get(name, ())):
            raise InputError(
                "data.source: expected groups of drawn shapes (color red or blue, shape triangle or square), "
                f"got {name!r} with {', '.join(values)}"
            )

    def drawn(index: int, n: int, bias: float, size: int = test_size) -> LabelledImages:
        return drawn_shapes(n, bias, stream(seed, Stream.COMPARISON, index), size)

    def targeted(index: int, n: int, size: int = test_size) -> LabelledImages:
        shares = problem.shares.values()
        if max(shares) - min(shares) < 1e-9:
            return drawn(index, n, BALANCED, size)
        many = drawn(index, math.ceil(n * max(shares) * len(shares)) + AT_ONCE, BALANCED, size)
        return part(many, balanced_rows(problem, many.values, n, stream(seed, Stream.COMPARISON, index)))

    size = problem.generator.image_size
    return TaskData(
        training=drawn(TRAINING, config.training, config.bias, size),
        reference=targeted(REFERENCE, config.reference, size),
        test=drawn(TEST, config.test, BALANCED),
        usual=drawn(USUAL, config.test, config.test_bias),
        ceiling=targeted(CEILING, problem.images),
    )


def drawn_shapes(n: int, bias: float, rng: np.random.Generator, image_size: int) -> LabelledImages:
    """Drawn triangles and squares, red and blue, at 128 pixels and then scaled to `image_size`."""
    parts = []
    for start in range(0, n, AT_ONCE):  # 1,000 at 128 pixels in float are 200 MB
        images, shape, color = biased_shapes(min(AT_ONCE, n - start), bias, rng)
        values = pd.DataFrame({"color": np.array(COLORS)[color], "shape": np.array(SHAPES)[shape]})
        parts.append((to_pixels(images, image_size), values))
    pixels, tables = zip(*parts, strict=True)
    return LabelledImages(torch.cat(pixels), pd.concat(tables, ignore_index=True))


def _from_folder(config: DataConfig, problem: Problem, seed: int) -> TaskData:
    folder, size = Path(str(config.path)), problem.generator.image_size
    names = problem.attributes
    wanted = columns_of(config.attributes, names)
    rng = stream(seed, Stream.COMPARISON, TRAINING)

    def read(split: str, limit: int) -> LabelledImages:
        found = read_faces(config.source, folder, wanted, split=split, image_size=size, limit=limit, rng=rng)
        return LabelledImages(found.images, renamed(found.values, config.attributes, names))

    training = read("train", config.training + 4 * config.reference)
    test = read("test", config.test)
    chosen = balanced_rows(problem, training.values, config.reference, rng)
    rest = np.setdiff1d(np.arange(len(training)), chosen)[: config.training]
    if not len(rest):
        raise InputError(
            f"{folder}: expected images to train on beside a reference set of {config.reference:,}, got "
            f"{len(training):,} in all"
        )
    if len(chosen) < config.reference:
        warnings.warn(
            f"{folder}: the reference set has {len(chosen):,} images instead of {config.reference:,}: the "
            f"rarest group allows no more among {len(training):,} read",
            ReferenceWarning,
            stacklevel=2,
        )
    return TaskData(part(training, rest), part(training, chosen), test, test, None)


def columns_of(
    told: Mapping[str, FolderAttribute], names: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Column of a folder → its values that are wanted, for attributes and their values.

    Raises:
        InputError: An attribute is none of the judged ones, or its values are not.
    """
    for name, where in told.items():
        wanted = names.get(name)
        if wanted is None:
            raise InputError(f"data.attributes: expected among {', '.join(names)}, got {name!r}")
        if set(where.values) != set(wanted):
            raise InputError(
                f"data.attributes.{name}.values: expected {', '.join(wanted)}, got {', '.join(where.values)}"
            )
    columns: dict[str, tuple[str, ...]] = {}
    for name, values in names.items():
        known = told.get(name)
        column = known.column if known else name
        columns[column] = tuple(itertools.chain(*known.values.values())) if known else values
    return columns


def renamed(values: pd.DataFrame, told: Mapping[str, FolderAttribute], names: Iterable[str]) -> pd.DataFrame:
    """What a folder says of its images, by the names of the judged attributes."""
    columns = {}
    for name in names:
        known = told.get(name)
        if known is None:
            columns[name] = values[name]
            continue
        ours = {theirs: value for value, listed in known.values.items() for theirs in listed}
        columns[name] = values[known.column].map(ours)
    return pd.DataFrame(columns)


def balanced_rows(problem: Problem, values: pd.DataFrame, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of values with the target's shares: as many as can be had of n."""
    codes = problem.codes_of(values)
    counts = problem.counts(n)
    groups = [rng.permutation(np.flatnonzero(codes == code)) for code in range(len(counts))]
    share = min(
        (len(rows) / wanted for rows, wanted in zip(groups, counts.values(), strict=True) if wanted),
        default=0.0,
    )
    kept = [
        rows[: int(min(1.0, share) * wanted)] for rows, wanted in zip(groups, counts.values(), strict=True)
    ]
    return np.sort(np.concatenate(kept))


def part(images: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """Some rows of labelled images."""
    return LabelledImages(
        images.images[torch.from_numpy(rows)], images.values.iloc[rows].reset_index(drop=True)
    )
