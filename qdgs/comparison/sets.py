"""The set of images that a method of a comparison chose, as a dataset on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from qdgs.compare_config import CompareConfig
from qdgs.comparison.cells import Bench, Cell
from qdgs.comparison.kept import cell_path, kept_cell
from qdgs.config import Named
from qdgs.datasets.render import render
from qdgs.errors import InputError
from qdgs.generators.base import MICRO_BATCH, Generator
from qdgs.generators.shapes_gan import NAME
from qdgs.parts import load_generator
from qdgs.registry import nearest
from qdgs.run import Step, Watch, unwatched


@dataclass(frozen=True)
class WrittenSet:
    """A method's set on disk.

    Attributes:
        path: Its folder: `train/LABEL/ID.png`, and `train/metadata.parquet`.
        images: How many it has.
        unlabelled: Images that the method could give no label, which are left out.
    """

    path: Path
    images: int
    unlabelled: int


def write_set(
    config: CompareConfig,
    folder: Path | str,
    method: str,
    *,
    seed: int | None = None,
    device: str = "cpu",
    watch: Watch = unwatched,
) -> WrittenSet:
    """Write the images that a method chose in a comparison into FOLDER/sets/SEED/METHOD.

    Args:
        config: The comparison.
        folder: Its folder, where the cell is done.
        method: Its title in the tables.
        seed: Of the cell; the comparison's first where None.
        device: Where the generator works.
        watch: Told after each batch.

    Raises:
        InputError: There is no such method, its cell is not done, or its generator was not kept.
    """
    folder, bench = Path(folder), Bench(config, Path(folder), device)
    cell = _cell(bench, method, config.first_seed if seed is None else seed)
    kept, stored = kept_cell(bench, cell), cell_path(folder, cell).with_suffix(".parquet")
    if kept is None or "error" in kept or not stored.is_file():
        raise InputError(f"{folder}: expected {method} of seed {cell.seed} to be done, and its latents kept")
    rows = pd.read_parquet(stored)
    labelled = rows[rows["label"].notna()].reset_index(drop=True)
    if not len(labelled):
        raise InputError(f"{folder}: expected labelled images of {method}, got none")
    path = folder / "sets" / str(cell.seed) / method
    render(
        labelled,
        _generator(bench, cell, kept["generator"]),
        path,
        micro_batch=MICRO_BATCH,
        progress=lambda done, total: watch(Step(method, done, total, "images")),
        device=device,
    )
    return WrittenSet(path, len(labelled), len(rows) - len(labelled))


def check_method(config: CompareConfig, method: str) -> None:
    """Whether a comparison has a method of this title.

    Raises:
        InputError: It has not.
    """
    titles = [known.title for known in config.methods]
    if method not in titles:
        raise InputError(f"unknown method {method!r}{nearest(method, titles)}")


def _cell(bench: Bench, method: str, seed: int) -> Cell:
    check_method(bench.config, method)
    if seed not in bench.config.every_seed:
        raise InputError(f"seed: expected one of the comparison's, got {seed}")
    methods = {known.title: known for known in bench.config.methods}
    return Cell(method, seed, methods[method])


def _generator(bench: Bench, cell: Cell, name: str) -> Generator:
    run = bench.config.run
    if name == run.generator.name:
        return load_generator(run.generator, device=bench.device)
    gan = bench.work(cell) / "gan"
    if not gan.is_dir():
        raise InputError(f"{cell.title}: expected the generator that it made in {gan}, got none")
    return load_generator(Named.model_validate({"name": NAME, "path": str(gan)}), device=bench.device)
