"""What the folder of a comparison holds of each cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdgs.comparison.cells import Cell
from qdgs.errors import QdgsError
from qdgs.files import read_json


def cell_path(out: Path, cell: Cell) -> Path:
    """Where a cell is kept."""
    return out / "cells" / str(cell.seed) / f"{cell.title}.json"


def sheet_path(out: Path, cell: Cell) -> Path:
    """Where the first images of a method are kept, as one picture."""
    return cell_path(out, cell).with_suffix(".png")


def kept_cell(out: Path, cell: Cell) -> dict[str, Any] | None:
    """What is kept of a cell; None where nothing is, or it is damaged: the cell is then done again."""
    try:
        return read_json(cell_path(out, cell))
    except QdgsError:
        return None


def failures(kept: Sequence[tuple[Cell, dict[str, Any]]]) -> dict[str, str]:
    """Cells that failed, "seed/method", with the sentence."""
    return {f"{cell.seed}/{cell.title}": data["error"] for cell, data in kept if "error" in data}


def notes_of(kept: Sequence[tuple[Cell, dict[str, Any]]]) -> tuple[str, ...]:
    """What readers of the cells have to know."""
    return tuple(
        f"{cell.title}, seed {cell.seed}: {note}" for cell, data in kept for note in data.get("notes", ())
    )
