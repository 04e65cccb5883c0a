"""Commands on sets of images; as the command line itself, a place that prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from qdgs.console import do_stage, open_dataset, progress_bar, tell_warnings
from qdgs.errors import InputError
from qdgs.options import Device, Log, RunFolder, Set, device_of


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
    log: Log = None,
) -> None:
    """Measure the images of a folder with a judge, and make only those that its thin groups lack."""
    from qdgs.config import load_config
    from qdgs.datasets import gaps
    from qdgs.datasets.manifest import read_manifest
    from qdgs.logs import open_logs, together
    from qdgs.stages.top_up import begin_top_up, measure_folder

    loaded, where = load_config(config, set_ or ()), device_of(device)
    with open_logs(log or (), out) as logs:
        with progress_bar() as bar:
            watch = together(bar.watch, *logs)
            found = measure_folder(folder, loaded, judge=judge, images=images, device=where, watch=watch)
        for sentence in found.sentences():
            typer.echo(sentence)
        if not found.missing:
            typer.echo(f"{folder}: every group has its share; there is nothing to make")
            return
        run = begin_top_up(loaded, found, out)
        with progress_bar() as bar:
            run.complete(device=where, watch=together(bar.watch, *logs))
    tell_warnings(run)
    made = read_manifest(run.path / "dataset" / "manifest.parquet").rows
    for line in _table(gaps.together(found.to_json(), made, run.config.dataset)):
        typer.echo(line)
    typer.echo(f"{run.path}: {len(made):,} images made; see {run.path / 'report.html'}")


def certify(
    run_folder: RunFolder,
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="What the report's page saved.", show_default=False)
    ],
    device: Device = "auto",
) -> None:
    """Correct the group shares by labels that a person gave in the report; tell report and card."""
    from qdgs.fairness.certificate import certificate_lines
    from qdgs.stages.certify import certify_run

    there = open_dataset(run_folder, None)
    certificate = certify_run(there, labels).to_dict()
    do_stage(there, "report", device)
    if there.finished("report"):
        do_stage(there, "export", "cpu")
    for line in certificate_lines(certificate):
        typer.echo(line)


def export(
    run_folder: RunFolder,
    format_: Annotated[
        str | None, typer.Option("--format", help="imagefolder, csv, parquet or webdataset.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to.  [default: RUN/export/FORMAT]")] = None,
    splits: Annotated[
        str | None, typer.Option(metavar="NAME=SHARE,…", help="For instance train=0.8,test=0.2.")
    ] = None,
    set_: Set = None,
) -> None:
    """Write the dataset card, and copy the dataset into another format."""
    from qdgs.datasets.splits import WHOLE, parse_splits

    if splits is not None and format_ is None:
        raise InputError("--splits: expected a --format to write them in, got none")
    parts = WHOLE if splits is None else parse_splits(splits)
    do_stage(open_dataset(run_folder, set_), "export", "cpu", format=format_, out=out, splits=parts)


def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    target: Annotated[
        str | None,
        typer.Option(help="uniform, a table, or GROUP=SHARE,GROUP=SHARE.  [default: that of the runs]"),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="How many.  [default: as many as the target permits]")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Pixels a side, where those of the runs differ.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Put the datasets of runs together, of one generator or of several, each group with its share."""
    from qdgs.stages.merge import merge as carry_out

    with progress_bar() as bar:
        merged = carry_out(
            runs,
            out,
            target=target,
            images=images,
            image_size=image_size,
            device=device_of(device),
            watch=bar.watch,
        )
    each = ", ".join(f"{count:,} of {name}" for name, count in merged.from_each.items())
    typer.echo(
        f"{out}: {merged.images:,} images ({each}); {merged.dropped:,} that look like another left out"
    )


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    width = max(len("group"), *(len(row["group"]) for row in rows))
    lines = [f"{'group':<{width}}  {'target':>7}  {'there':>7}  {'made':>7}  {'of all':>7}"]
    return lines + [
        f"{row['group']:<{width}}  {row['target']:>7.1%}  {row['there']:>7,}  {row['made']:>7,}  "
        f"{row['together']:>7.1%}"
        for row in rows
    ]
