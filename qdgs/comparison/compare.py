"""A comparison: every cell that is missing, one after the other, and then the tables."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qdgs.compare_config import CompareConfig, dump_compare
from qdgs.comparison.cells import Bench, Cell
from qdgs.comparison.tables import COLUMNS, result_frame, write_tables
from qdgs.errors import InputError, QdgsError
from qdgs.files import read_json, write_json, write_text
from qdgs.report.comparison import draw_costs, draw_methods
from qdgs.run import Step, Watch, unwatched


@dataclass(frozen=True)
class Compared:
    """What became of a comparison.

    Attributes:
        path: Its folder.
        cells: How many it has.
        failed: Cells that failed, "seed/method", with the sentence.
        notes: What readers have to know.
    """

    path: Path
    cells: int
    failed: dict[str, str]
    notes: tuple[str, ...]


def compare(config: CompareConfig, out: Path, *, device: str = "cpu", watch: Watch = unwatched) -> Compared:
    """Do every cell of a comparison that its folder does not hold yet, and write its tables and figures.

    A cell that fails is marked and the others go on; a later call tries it again.

    Args:
        config: The comparison.
        out: A new folder, or that of a comparison: cells that are the same are kept.
        device: Where models work.
        watch: Told after each cell.

    Raises:
        InputError: The folder holds something else, or the configuration cannot be carried out.
    """
    _open(out, config)
    bench = Bench(config, out, device)
    bench.check()
    cells = bench.cells()
    for number, cell in enumerate(cells):
        watch(Step("compare", number, len(cells), "cells"))
        if not _is_done(out, bench, cell):
            _do(out, bench, cell)
    watch(Step("compare", len(cells), len(cells), "cells"))
    return _told(config, out, bench, cells)


def _open(out: Path, config: CompareConfig) -> None:
    path = out / "config.yaml"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder, got a file; choose another --out")
    if path.is_file():
        data = yaml.safe_load(path.read_text())
        kind = data.get("kind", "run") if isinstance(data, dict) else "nothing"
        if kind != "compare":
            raise InputError(f"{out}: expected the folder of a comparison, got that of a {kind}")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: expected a new or empty folder, got one with files; choose another --out")
    write_text(path, dump_compare(config))


def _path(out: Path, cell: Cell) -> Path:
    return out / "cells" / str(cell.seed) / f"{cell.title}.json"


def _is_done(out: Path, bench: Bench, cell: Cell) -> bool:
    kept = _kept(out, cell)
    return kept is not None and kept.get("key") == bench.key(cell) and "error" not in kept


def _kept(out: Path, cell: Cell) -> dict[str, Any] | None:
    try:
        return read_json(_path(out, cell))
    except QdgsError:  # missing or damaged: the cell is done again
        return None


def _do(out: Path, bench: Bench, cell: Cell) -> None:
    told: dict[str, Any] = {"key": bench.key(cell), "method": cell.title, "seed": cell.seed}
    try:
        told |= bench.do(cell).to_json()
    except MemoryError:
        raise
    except Exception as error:  # whatever one method does, the others go on
        sentence = str(error) if isinstance(error, QdgsError) else f"{type(error).__name__}: {error}"
        told |= {"error": " ".join(sentence.split()), "traceback": traceback.format_exc()}
    write_json(_path(out, cell), told)


def _told(config: CompareConfig, out: Path, bench: Bench, cells: list[Cell]) -> Compared:
    kept = [(cell, _kept(out, cell) or {}) for cell in cells]
    failed = {f"{cell.seed}/{cell.title}": data["error"] for cell, data in kept if "error" in data}
    frame = result_frame([data for _, data in kept if "rows" in data])
    notes = _notes(kept)
    write_tables(out, frame, config, failed, notes)
    if len(frame):
        draw_methods(frame, config, out / "comparison.png")
        draw_costs(frame, out / "costs.png")
    assert list(frame.columns) == COLUMNS
    return Compared(out, len(cells), failed, notes)


def _notes(kept: list[tuple[Cell, dict[str, Any]]]) -> tuple[str, ...]:
    notes = [
        f"{cell.title}, seed {cell.seed}: {note}" for cell, data in kept for note in data.get("notes", ())
    ]
    return tuple(notes)
