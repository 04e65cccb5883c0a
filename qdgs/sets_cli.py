"""Commands on sets of images; as the command line itself, a place that prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from qdgs.options import Device, Set, device_of, progress_bar


def top_up(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Images in any layout.", show_default=False)
    ],
    config: Annotated[
        Path, typer.Option(help="Groups, target, judges, and how to search.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder, for a run.", show_default=False)],
    judge: Annotated[
        str | None,
        typer.Option(help="Who counts the images: a judge, or its role.  [default: the teacher]"),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Make at most so many, for the thinnest groups first.")
    ] = None,
    set_: Set = None,
    device: Device = "auto",
) -> None:
    """Measure the images of a folder with a judge, and make only those that its thin groups lack."""
    from qdgs.config import load_config
    from qdgs.datasets.gaps import together
    from qdgs.datasets.manifest import read_manifest
    from qdgs.stages.top_up import begin_top_up, measure_folder

    loaded = load_config(config, set_ or ())
    with progress_bar() as bar:
        found = measure_folder(
            folder, loaded, judge=judge, images=images, device=device_of(device), watch=bar.watch
        )
    for sentence in found.sentences():
        typer.echo(sentence)
    if not found.missing:
        typer.echo(f"{folder}: every group has its share; there is nothing to make")
        return
    run = begin_top_up(loaded, found, out)
    with progress_bar() as bar:
        run.complete(device=device_of(device), watch=bar.watch)
    for warning in run.warnings():
        typer.echo(f"warning: {warning}", err=True)
    made = read_manifest(run.path / "dataset" / "manifest.parquet").rows
    for line in _table(together(found.to_json(), made, run.config.dataset)):
        typer.echo(line)
    typer.echo(f"{run.path}: {len(made):,} images made; see {run.path / 'report.html'}")


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    width = max(len("group"), *(len(row["group"]) for row in rows))
    lines = [f"{'group':<{width}}  {'target':>7}  {'there':>7}  {'made':>7}  {'of all':>7}"]
    return lines + [
        f"{row['group']:<{width}}  {row['target']:>7.1%}  {row['there']:>7,}  {row['made']:>7,}  "
        f"{row['together']:>7.1%}"
        for row in rows
    ]
