"""What the studies of this folder share: rows of a CSV that grows cell by cell, and tasks in processes."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from qdgs.errors import InputError

Task = tuple[Callable[..., Any], tuple[Any, ...]]


def read_rows(out: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of an earlier call; none where there is no file.

    Raises:
        InputError: The file holds something else.
    """
    if not out.exists():
        return pd.DataFrame(columns=list(columns))
    try:
        rows = pd.read_csv(out)
    except (ValueError, OSError):
        rows = pd.DataFrame()
    if list(rows.columns) != list(columns):
        raise InputError(f"{out}: expected rows of this study, got something else; choose another --out")
    return rows


def write_row(
    out: Path, rows: pd.DataFrame, row: dict[str, Any], order: Mapping[str, Callable[[Any], Any]]
) -> pd.DataFrame:
    """Add a row, or put it in the place of an earlier one of its cell; the file is replaced as a whole.

    Args:
        out: The CSV.
        rows: What it holds.
        row: What is added.
        order: The columns that name a cell, in the order in which rows are sorted, each with its key.
    """
    same = (rows[list(order)] == [row[key] for key in order]).all(axis=1)
    rows = pd.DataFrame([*rows[~same].to_dict("records"), row], columns=rows.columns)
    places = {column: rows[column].map(key) for column, key in order.items()}
    rows = rows.loc[pd.DataFrame(places).sort_values(list(order)).index].reset_index(drop=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.part")
    rows.to_csv(unfinished, index=False, float_format="%.6g")
    unfinished.replace(out)
    return rows


class Pool:
    """Does tasks in so many processes, each with its share of the cores; with one, here."""

    def __init__(self, workers: int) -> None:
        threads = max(1, (os.cpu_count() or 1) // workers)
        self.pool = None
        if workers > 1:
            os.environ["OMP_NUM_THREADS"] = str(threads)
            self.pool = ProcessPoolExecutor(
                workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
            )

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def do(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Results in the order in which they come."""
        if self.pool is None:
            return (function(*arguments) for function, arguments in tasks)
        futures: list[Future[Any]] = [self.pool.submit(function, *arguments) for function, arguments in tasks]
        return (future.result() for future in as_completed(futures))
