"""Many runs at once: one for each seed and each combination of values, side by side in a folder."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qdgs.config import RunConfig, dump_config, load_config, parse_config, plain
from qdgs.errors import ConfigError, InputError
from qdgs.files import write_text
from qdgs.overrides import override
from qdgs.run import STAGES, Run, Step, Watch, unwatched
from qdgs.workers_config import WorkersConfig

TABLE = "sweep.csv"
MOST_RUNS = 10_000


class Cell(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: Of its folder.
        varied: Key → value, for the keys that differ between runs.
        config: Its configuration; it works in the process that it runs in.
    """

    name: str
    varied: dict[str, Any]
    config: RunConfig


class Swept(NamedTuple):
    """What became of a sweep.

    Attributes:
        table: One row a run that is through: its name, what was varied, its summary.
        failed: Name of a run → why it failed, in one sentence.
    """

    table: list[dict[str, Any]]
    failed: dict[str, str]


def plan(path: Path, seeds: str | None, vary: Sequence[str], overrides: Sequence[str] = ()) -> list[Cell]:
    """The runs of a sweep, in the order of their keys.

    Args:
        path: The configuration that they have in common.
        seeds: Several seeds: `0-9`, `0,3,7`, or both; None is that of the configuration.
        vary: `a.b=[c, d]`, once for each key that differs.
        overrides: `a.b=c` for all of them.

    Raises:
        ConfigError: A key or a value does not hold.
        InputError: Nothing is varied, or something is not spelt as expected.
    """
    axes = dict(_axis(assignment) for assignment in vary)
    if seeds is not None:
        axes = {"seed": parse_seeds(seeds), **axes}
    if not axes:
        raise InputError("sweep: expected --seeds or --vary, got neither; for one run take qdgs run")
    base = load_config(path, overrides)
    combinations = list(itertools.islice(itertools.product(*axes.values()), MOST_RUNS + 1))
    if len(combinations) > MOST_RUNS:
        raise InputError(f"sweep: expected at most {MOST_RUNS} runs, got more; vary less at once")
    cells = [_cell(base, dict(zip(axes, values, strict=True))) for values in combinations]
    names = [cell.name for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"sweep: expected runs that differ, got {name} twice")
    return cells


def parse_seeds(text: str) -> list[int]:
    """Seeds as they are spelt on the command line: `0-2,7` is 0, 1, 2 and 7.

    Raises:
        InputError: They are spelt otherwise.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise InputError(f"--seeds: expected seeds such as 0-9 or 0,3,7, got {text!r}")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def sweep(
    cells: Sequence[Cell],
    folder: Path,
    workers: WorkersConfig,
    *,
    device: str = "cpu",
    until: str = STAGES[-1],
    watch: Watch = unwatched,
) -> Swept:
    """Complete every run, each in `folder / name`, and write `folder / sweep.csv`.

    A run that is through is left as it is, one that was interrupted goes on, and one that fails stops no
    other: the same sweep again does what is left.

    Args:
        cells: What `plan` made.
        folder: Where their folders are; with Ray every machine sees it at this place.
        workers: Of kind ray, as many runs at once as there are workers; local, one after another.
        device: Where models work; Ray's workers take the GPUs that they are given.
        until: The last stage that is wanted.
        watch: Told after each run.

    Raises:
        InputError: `until` is no stage, or the workers cannot be had.
    """
    if until not in STAGES:
        raise InputError(f"--until: expected one of {', '.join(STAGES)}, got {until!r}")
    failed: dict[str, str] = {}
    for done, (index, error) in enumerate(_outcomes(cells, folder, workers, device, until), start=1):
        if error is not None:
            failed[cells[index].name] = " ".join(str(error).split()) or type(error).__name__
        watch(Step("sweep", done, len(cells), "runs"))
        _write(folder, cells)
    return Swept(_table(folder, cells), dict(sorted(failed.items())))


@dataclass(frozen=True)
class CompleteRun:
    """Completes runs of a sweep.

    Attributes:
        folder: The sweep's.
        device: Where models work.
        until: The last stage that is wanted.
    """

    folder: Path
    device: str
    until: str

    def __call__(self, name: str, config: str) -> None:
        """Begin a run or go on with it."""
        run = Run.create(parse_config(yaml.safe_load(config)), self.folder / name)
        run.complete(device=self.device, until=self.until)


def _outcomes(
    cells: Sequence[Cell], folder: Path, workers: WorkersConfig, device: str, until: str
) -> Iterator[tuple[int, Exception | None]]:
    tasks = [(cell.name, dump_config(cell.config)) for cell in cells]
    if workers.kind == "local":
        complete = CompleteRun(folder.resolve(), device, until)
        for index, task in enumerate(tasks):
            yield index, _tried(complete, task)
        return
    from qdgs.cluster import connected, device_of, each

    complete = CompleteRun(folder.resolve(), device_of(workers), until)
    with connected(workers) as ray:
        for outcome in each(ray, workers, complete, tasks):
            yield outcome.task, outcome.error


def _tried(complete: CompleteRun, task: tuple[str, str]) -> Exception | None:
    try:
        complete(*task)
    except Exception as error:  # one run must not stop the others, whatever ails it
        return error
    return None


def _axis(assignment: str) -> tuple[str, list[Any]]:
    key, equals, text = assignment.partition("=")
    try:
        values = yaml.safe_load(text) if equals and key else None
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not values:
        raise InputError(f"--vary: expected a.b=[VALUE, …], got {assignment!r}")
    if key.startswith("workers"):
        raise InputError(f"--vary: expected a key that a result depends on, got {key}")
    return key, values


def _cell(base: RunConfig, varied: dict[str, Any]) -> Cell:
    data = {**plain(base), "workers": {"kind": "local"}}
    for key, value in varied.items():
        override(data, f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6)}")
    name = "-".join(f"{key.rpartition('.')[2]}={_plain_name(value)}" for key, value in varied.items())
    try:
        return Cell(name, varied, parse_config(data))
    except ConfigError as error:
        raise ConfigError(f"sweep, run {name}: {error}") from None


def _plain_name(value: Any) -> str:
    return "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in str(value))


def _table(folder: Path, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    found = []
    for cell in cells:
        path = folder / cell.name
        if (path / "summary.json").exists():
            found.append({"run": cell.name, **cell.varied, **Run(path, cell.config).summary})
    return found


def _write(folder: Path, cells: Sequence[Cell]) -> None:
    rows = _table(folder, cells)
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TABLE, text.getvalue())
