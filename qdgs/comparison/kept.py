"""What the folder of a comparison holds of each cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdgs.comparison.cells import Bench, Cell
from qdgs.errors import QdgsError
from qdgs.files import read_json


def cell_path(out: Path, cell: Cell) -> Path:
    """Where a cell is kept."""
    return out / "cells" / str(cell.seed) / f"{cell.title}.json"


def sheet_path(out: Path, cell: Cell) -> Path:
    """Where the first images of a method are kept, as one picture."""
    return cell_path(out, cell).with_suffix(".png")


def kept_cell(bench: Bench, cell: Cell) -> dict[str, Any] | None:
    """What is kept of a cell; None where nothing is, or it is damaged, or of another configuration."""
    try:
        kept = read_json(cell_path(bench.out, cell))
    except QdgsError:
        return None
    return kept if kept.get("key") == bench.key(cell) else None


def failures(kept: Sequence[tuple[Cell, dict[str, Any]]]) -> dict[str, str]:
    """Cells that failed, "seed/method", with the sentence."""
    return {f"{cell.seed}/{cell.title}": data["error"] for cell, data in kept if "error" in data}


def notes_of(kept: Sequence[tuple[Cell, dict[str, Any]]]) -> tuple[str, ...]:
    """What readers of the cells have to know, once for all seeds of which it is said."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for cell, data in kept:
        for note in data.get("notes", ()):
            seeds.setdefault((cell.title, note), []).append(str(cell.seed))
    return tuple(
        f"{title}, seed{'s' if len(of) > 1 else ''} {', '.join(of)}: {note}"
        for (title, note), of in seeds.items()
    )
