"""The archive of a search as others may watch it: cells and objectives, without latents."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.config import MeasureConfig, RunConfig, load_config
from qdgs.errors import InputError, QdgsError
from qdgs.stages.frames import read_frame, write_frame

if TYPE_CHECKING:
    from qdgs.search.state import Search  # who watches needs none of what searches

LIVE = "search/live.parquet"
METRICS = "search/metrics.csv"
CELLS = 60
"""At most so many columns of a map."""


@dataclass(frozen=True)
class Live:
    """A search as its folder shows it.

    Attributes:
        config: Of the run.
        numbers: The last row of metrics.csv; empty before the first.
        elites: Objective and measures of each elite.
        archived: Whether the search is through.
    """

    config: RunConfig
    numbers: dict[str, float]
    elites: pd.DataFrame
    archived: bool


def write_live(folder: Path, search: Search) -> None:
    """Write what can be watched; where that fails the search goes on, and is not watched."""
    data = search.archive.data(["index", "objective", "measures"], return_type="dict")
    measures = np.asarray(data["measures"]).reshape(len(data["index"]), len(search.measures))
    columns = {"cell": data["index"], "objective": data["objective"]}
    columns |= {measure.name: measures[:, place] for place, measure in enumerate(search.measures)}
    with suppress(QdgsError):
        write_frame(folder / LIVE, pd.DataFrame(columns))


def read_live(folder: Path) -> Live:
    """What a run folder shows of its search.

    Raises:
        InputError: It is not the folder of a run.
    """
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder}: expected the folder of a run, got none; begin one with qdgs run")
    config = load_config(folder / "config.yaml")
    elites = pd.DataFrame(columns=["cell", "objective", *(one.name for one in config.guide.measures)])
    with suppress(InputError):
        elites = read_frame(folder / LIVE, "search")
    archived = (folder / "search" / "archive.parquet").exists()
    return Live(config, _numbers(folder / METRICS), elites, archived)


def best_by_cell(live: Live) -> NDArray[np.float64]:
    """Best objective over the first two measures `(rows, columns)`, the second's high end on top.

    Cells lie evenly between the least and the largest measure of an elite; further measures are looked
    through. NaN where there is no elite.
    """
    measures = live.config.guide.measures[:2]
    sizes = [min(measure.cells, CELLS) for measure in measures]
    places = [_places(live.elites, measure) for measure in measures]
    if len(measures) == 1:
        sizes, places = [*sizes, 1], [*places, np.zeros(len(places[0]), dtype=np.int64)]
    grid = np.full((sizes[1], sizes[0]), -np.inf)
    np.maximum.at(grid, (places[1], places[0]), live.elites["objective"].to_numpy(np.float64))
    found: NDArray[np.float64] = np.where(np.isinf(grid), np.nan, grid)[::-1]
    return found


def _places(elites: pd.DataFrame, measure: MeasureConfig) -> NDArray[np.int64]:
    values = elites[measure.name].to_numpy(np.float64)
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    cells, low, high = min(measure.cells, CELLS), values.min(), values.max()
    width = (high - low) or 1.0
    places: NDArray[np.int64] = np.clip(((values - low) / width * cells).astype(np.int64), 0, cells - 1)
    return places


def _numbers(path: Path) -> dict[str, float]:
    try:
        rows: Any = pd.read_csv(path)
    except (OSError, ValueError):
        return {}
    return {str(name): float(value) for name, value in rows.iloc[-1].items()} if len(rows) else {}
