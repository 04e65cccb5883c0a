"""What commands do alike: open folders, show how far a stage is, tell warnings; a place that prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
