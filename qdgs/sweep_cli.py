"""The command `qdgs sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qdgs.console import progress_bar
from qdgs.options import Config, Device, Set, device_of


def sweep(
    config: Config,
    seeds: Annotated[str | None, typer.Option(metavar="0-9", help="A run for each seed.")] = None,
    vary: Annotated[
        list[str] | None, typer.Option(metavar="a.b=[c,d]", help="A run for each value of a key.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder.  [default: runs/NAME-sweep]")] = None,
    until: Annotated[str, typer.Option(help="The last stage to do.")] = "export",
    set_: Set = None,
    device: Device = "auto",
) -> None:
    """Do many runs, with --set workers.kind=ray several at once; the same command does what is left."""
    from qdgs import sweep as sweeping
    from qdgs.config import load_config

    folder, overrides = out or Path("runs") / f"{config.stem}-sweep", set_ or ()
    cells = sweeping.plan(config, seeds, vary or (), overrides)
    workers = load_config(config, overrides).workers
    with progress_bar() as bar:
        swept = sweeping.sweep(cells, folder, workers, device=device_of(device), until=until, watch=bar.watch)
    for name, sentence in swept.failed.items():
        typer.echo(f"failed: {name}: {sentence}", err=True)
    through = len(cells) - len(swept.failed)
    typer.echo(f"{folder}: {through} of {len(cells)} runs; see {folder / sweeping.TABLE}")
    if swept.failed:
        raise typer.Exit(1)
