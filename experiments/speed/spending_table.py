"""What each way of spending evaluations is worth, task by task: a table of `spending.py`'s rows.

    cd experiments/speed/results
    python ../spending_table.py spending_shapes.csv spending_faces.csv spending_ddim.csv --out spending.md

A cell has the corrected QD score and the diversity within groups, each as a share of the default's of the
same seed: the mean over seeds, with the least and the most where there are several.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from spending import ARMS, known

MEASURED = {"corrected_qd_score": "score", "group_diversity_ratio": "diversity"}


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a task, arm and seed: what an arm has by what the default of the same seed has."""
    told = rows.set_index(["task", "seed", "arm"])[list(MEASURED)]
    default = told.xs("default", level="arm").add_suffix(" of the default")
    both = told.reset_index("arm").join(default, how="inner")
    for column in MEASURED:
        both[column] /= both.pop(f"{column} of the default")
    return both.reset_index()


def table(rows: pd.DataFrame) -> str:
    """Markdown: a row an arm, two columns a task."""
    found = shares(rows)
    tasks = list(dict.fromkeys(found["task"]))
    seeds = {task: found.loc[found["task"] == task, "seed"].nunique() for task in tasks}
    heads = [
        f"{task} ({seeds[task]} seed{'s' * (seeds[task] > 1)}): {what}"
        for task in tasks
        for what in MEASURED.values()
    ]
    lines = ["| arm | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for arm in ARMS:
        own = found[found["arm"] == arm]
        cells = [_cell(own.loc[own["task"] == task, column]) for task in tasks for column in MEASURED]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: pd.Series) -> str:
    if values.empty:
        return ""
    between = f" ({values.min():.2f} to {values.max():.2f})" if len(values) > 1 else ""
    return f"{values.mean():.2f}{between}"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the rows, and write and show the table."""
    parser = argparse.ArgumentParser(description="Ways to spend evaluations, beside the default.")
    parser.add_argument("rows", nargs="+", type=Path, help="CSVs of spending.py")
    parser.add_argument("--out", type=Path, required=True, help="Markdown")
    given = parser.parse_args(argv)
    for path in given.rows:
        if not path.exists():
            raise InputError(f"{path}: there is no such file; spending.py writes it")
    told = table(pd.concat([known(path) for path in given.rows], ignore_index=True))
    write_text(given.out, told)
    print(told)


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
