"""A comparison: every cell that is missing, one after the other, and then the tables."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdgs.compare_config import CompareConfig, dump_compare
from qdgs.comparison.cells import Bench, Cell
from qdgs.comparison.kept import cell_path, failures, kept_cell, notes_of
from qdgs.comparison.page import write_comparison_page
from qdgs.comparison.tables import COLUMNS, result_frame, write_tables
from qdgs.config import check_out
from qdgs.errors import QdgsError
from qdgs.files import write_json, write_text
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


def compare(
    config: CompareConfig, out: Path | str, *, device: str = "cpu", watch: Watch = unwatched
) -> Compared:
    """Do every cell of a comparison that its folder does not hold yet; write tables, figures and report.html.

    A cell that fails is marked and the others go on; a later call tries it again.

    Args:
        config: The comparison.
        out: A new folder, or that of a comparison: cells that are the same are kept.
        device: Where models work.
        watch: Told after each cell.

    Raises:
        InputError: The folder holds something else, or the configuration cannot be carried out.
    """
    out = Path(out)
    check_out(out, "compare", "comparison")
    bench = Bench(config, out, device, watch)
    bench.check()
    write_text(out / "config.yaml", dump_compare(config))
    cells = bench.cells()
    for number, cell in enumerate(cells):
        watch(Step("compare", number, len(cells), "cells"))
        if not _is_done(bench, cell):
            _do(out, bench, cell)
    watch(Step("compare", len(cells), len(cells), "cells"))
    return _told(config, out, bench, cells)


def _is_done(bench: Bench, cell: Cell) -> bool:
    kept = kept_cell(bench, cell)
    return kept is not None and "error" not in kept


def _do(out: Path, bench: Bench, cell: Cell) -> None:
    told: dict[str, Any] = {"key": bench.key(cell), "method": cell.title, "seed": cell.seed}
    try:
        told |= bench.do(cell).to_json()
    except Exception as error:  # whatever one method does, the others go on
        sentence = str(error) if isinstance(error, QdgsError) else f"{type(error).__name__}: {error}"
        told |= {"error": " ".join(sentence.split()), "traceback": traceback.format_exc()}
    write_json(cell_path(out, cell), told)


def _told(config: CompareConfig, out: Path, bench: Bench, cells: list[Cell]) -> Compared:
    kept = [(cell, kept_cell(bench, cell) or {}) for cell in cells]
    failed = failures(kept)
    frame = result_frame([data for _, data in kept if "rows" in data])
    notes = (*bench.independence(), *notes_of(kept))
    write_tables(out, frame, config, failed, notes)
    if len(frame):
        draw_methods(frame, config, out / "comparison.png")
        draw_costs(frame, config, out / "costs.png")
    write_comparison_page(out, config)
    assert list(frame.columns) == COLUMNS
    return Compared(out, len(cells), failed, notes)
