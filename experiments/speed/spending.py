"""What raises the corrected QD score in the same time: emitters, mixes, restarts, refits, a screen.

Every arm searches for as many seconds of its own, arms in turn, slice by slice; its archive is graded in the
grid of the first arm, so that ranges which an arm finds again count for what they are worth on the same
scale. One row a task, arm and seed goes into the CSV; a second call does what is missing.

    python experiments/speed/spending.py --seconds 60 --seeds 3 --out spending.csv
    python experiments/speed/spending.py --seconds 60 --seeds 3 --out spending.csv --config configs/faces.yaml

A task is a configuration whose guide is embedded: configs/shapes.yaml, shapes-ddim.yaml, faces.yaml.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from contestants import Engine
from grading import Grader
from qdgs.clip.sources import EMBEDDED
from qdgs.config import load_config
from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from speed_task import CONFIG, Task, load_task

ARMS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "cma_mae": {"algorithm": "cma_mae"},
    "map_elites_line": {"algorithm": "map_elites_line"},
    "4 emitters of 64": {"emitters": 4, "batch_size": 64},
    "16 emitters of 16": {"emitters": 16, "batch_size": 16},
    "restart every 3": {"restart_rule": 3},
    "restart every 10": {"restart_rule": 10},
    "16 emitters of 16, restart every 10": {"emitters": 16, "batch_size": 16, "restart_rule": 10},
    "mix": {"mix": ["cma_mae", "map_elites_line", "random"]},
    "mix with gradients": {"algorithm": "cma_maega", "mix": ["cma_maega", "cma_mae"]},
    "3 refits": {"refit_ranges": 3},
    "screen of 4": {"screen": 4},
    "mix, screen of 4": {"mix": ["cma_mae", "map_elites_line", "random"], "screen": 4},
}
COLUMNS = [
    "task", "arm", "seed", "seconds", "evaluations", "corrected_qd_score", "group_diversity_ratio", "guessed",
]  # fmt: skip


def compared(task: Task, arms: Sequence[str], seed: int, seconds: float, slices: int) -> list[dict[str, Any]]:
    """Search with each arm in turn, and grade."""
    # An arm that refits needs to know its budget in evaluations; the default's pace tells it.
    pace = Engine(task, seed=seed)
    pace.advance(seconds / slices)
    search = task.config.search
    least = pace.evaluations + search.emitters * search.batch_size
    budget = max(least, int(pace.evaluations / pace.seconds * seconds))
    engines = {name: _engine(task, ARMS[name], seed, budget) for name in arms}
    for _ in range(slices):
        for engine in engines.values():
            if engine.seconds < seconds:
                engine.advance(seconds / slices)
    assert pace.search is not None
    grader = Grader(task, pace.search.calibration)
    return [_row(name, seed, engine, grader) for name, engine in engines.items()]


def _engine(task: Task, options: Mapping[str, Any], seed: int, budget: int) -> Engine:
    overrides = {"evaluations": budget, **options}
    algorithm = overrides.pop("algorithm", task.config.search.algorithm)
    return Engine(task, algorithm=str(algorithm), seed=seed, overrides=overrides)


def _row(name: str, seed: int, engine: Engine, grader: Grader) -> dict[str, Any]:
    """What an arm has; its task is the generator's."""
    assert engine.search is not None
    end, screen = engine.snapshot(), engine.search.screen
    return {
        "task": engine.task.config.generator.name,
        "arm": name,
        "seed": seed,
        "seconds": round(engine.seconds, 1),
        "evaluations": engine.search.evaluations,
        "corrected_qd_score": round(grader.score(end)),
        "group_diversity_ratio": round(grader.diversity(end), 3),
        "guessed": 0 if screen is None else screen.guessed,
    }


def known(out: Path) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: The file holds something else.
    """
    if not out.exists():
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.read_csv(out)
    if list(rows.columns) != COLUMNS:
        raise InputError(f"{out}: expected rows of this study, got something else; choose another --out")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Compare what is missing, and write the CSV."""
    parser = argparse.ArgumentParser(description="Ways to spend evaluations, in the same time.")
    parser.add_argument("--out", type=Path, required=True, help="CSV")
    parser.add_argument("--config", type=Path, default=CONFIG, help="with an embedded guide")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of each search")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1")
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine and one thread")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="over the configuration")
    given = parser.parse_args(argv)
    if given.processor_time and torch.get_num_threads() > 1:
        parser.error("--processor-time: expected one thread (OMP_NUM_THREADS=1): those that wait count too")
    clock = time.process_time if given.processor_time else time.perf_counter
    guide = load_config(given.config, given.set).guide.clip.model
    if guide not in EMBEDDED:
        raise InputError(f"{given.config}: expected one of the guides {', '.join(EMBEDDED)}, got {guide}")
    task = load_task(guide, path=given.config, device=given.device, overrides=tuple(given.set), clock=clock)
    rows, name = known(given.out), task.config.generator.name
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):
        done = set(rows.loc[(rows["seed"] == seed) & (rows["task"] == name), "arm"])
        arms = [arm for arm in given.arms if arm not in done]
        if arms:
            new = pd.DataFrame(compared(task, arms, seed, given.seconds, given.slices), columns=COLUMNS)
            rows = pd.concat([rows, new], ignore_index=True) if len(rows) else new
            write_text(given.out, rows.to_csv(index=False))
            print(new.to_string(index=False), flush=True)


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
