"""What commands do alike: open folders, show how far a stage is, tell warnings; a place that prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qdgs.errors import InputError
from qdgs.options import device_of

if TYPE_CHECKING:
    from qdgs.display import Bar
    from qdgs.run import Run


def progress_bar() -> Bar:
    """What shows how far a command is, on stderr."""
    from qdgs.display import Bar

    return Bar(sys.stderr)


@contextmanager
def begun(config: Path, out: Path | None, overrides: list[str] | None) -> Iterator[Run]:
    """A run that is begun, or taken up where it is there.

    One that is refused before its search begins, for its generator or a judge that cannot be had, say, leaves
    nothing behind that this made: neither its files nor the folders on the way to them.

    Raises:
        InputError: The configuration does not hold, or the folder holds something else.
    """
    from qdgs.config import load_config
    from qdgs.run import Run

    loaded, folder = load_config(config, overrides or ()), out or Path("runs") / config.stem
    taken_up = (folder / "config.yaml").exists()
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    there = Run.create(loaded, folder)
    try:
        yield there
    except Exception:
        if not taken_up and not there.searched:
            _withdraw(folder, made)
        raise


def _withdraw(folder: Path, made: Sequence[Path]) -> None:
    for name in ("config.yaml", "stages.json"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # something else has come to lie there
        for path in made:
            path.rmdir()


def open_run(folder: Path, overrides: list[str] | None) -> Run:
    """The run in a folder.

    Raises:
        InputError: There is none.
    """
    from qdgs.run import Run

    return Run.open(folder, overrides or ())


def open_dataset(folder: Path, overrides: list[str] | None) -> Run:
    """A run, or a merged dataset, which report, export and certify read alike.

    Raises:
        InputError: There is neither.
    """
    if kind_of(folder) != "merge":
        return open_run(folder, overrides)
    from qdgs.stages.merge import open_merged

    if overrides:
        raise InputError(f"{folder}: expected no --set for a merged dataset; merge again with other options")
    return open_merged(folder)


def kind_of(folder: Path) -> str:
    """What a folder's config.yaml is of: a run where there is none, so that the run says so."""
    from qdgs.config import read_mapping

    path = folder / "config.yaml"
    return str(read_mapping(path).get("kind", "run")) if path.is_file() else "run"


def do_stage(
    there: Run,
    stage: str,
    device: str,
    *,
    tell: bool = True,
    log: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """Do a stage with its progress shown and logged, and tell the warnings of its numbers."""
    from qdgs.logs import open_logs, together

    with progress_bar() as bar, open_logs(log or (), there.path) as logs:
        if kind_of(there.path) == "merge":
            perform = import_module(f"qdgs.stages.{stage}").perform
            perform(there, device=device_of(device), watch=bar.watch, **options)
            return
        there.do(stage, device=device_of(device), watch=together(bar.watch, *logs), **options)
    if tell and stage in ("search", "flatten", "audit"):
        tell_warnings(there)


def tell_warnings(there: Run) -> None:
    """What a reader of a run's numbers must know, on stderr."""
    for sentence in there.warnings():
        typer.echo(f"warning: {sentence}", err=True)
