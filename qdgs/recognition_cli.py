"""`qdgs recognition`: a part of the command line, and as it the only place here that prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from qdgs.console import progress_bar
from qdgs.errors import InputError
from qdgs.options import Config, Device, Log, Out, RunFolder, Set, device_of

recognition = typer.Typer(
    help="Train face recognisers, and verify them by group.", no_args_is_help=True, rich_markup_mode=None
)


@recognition.command("train")
def recognition_train(
    config: Config, out: Out = None, set_: Set = None, device: Device = "auto", log: Log = None
) -> None:
    """Train a face recogniser; the same command goes on where it stopped. Knows torchrun."""
    from qdgs.logs import open_logs, together
    from qdgs.recognition.train_run import train_recogniser, warnings_of
    from qdgs.recognition_config import load_recognition

    folder = out or Path("runs") / config.stem
    with progress_bar() as bar, open_logs(log or (), folder) as logs:
        summary = train_recogniser(
            load_recognition(config, set_ or ()),
            folder,
            device=device_of(device),
            watch=together(bar.watch, *logs),
        )
    if os.environ.get("RANK", "0") != "0":  # torchrun's first process tells for all
        return
    for sentence in warnings_of(summary):
        typer.echo(f"warning: {sentence}", err=True)
    typer.echo(
        f"{folder}: {summary['identities']:,} identities, loss {summary['loss']:.4g}; verify it on pairs"
    )


@recognition.command("identities")
def recognition_identities(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A run with identities.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    identities: Annotated[int, typer.Option(min=2, help="Identities, as many of each group.")],
    images: Annotated[int, typer.Option(min=2, help="Images of each.")],
    seed: Annotated[int, typer.Option(min=0, help="Chooses.")] = 0,
    judge: Annotated[
        Path | None, typer.Option(help="Run of a recogniser that tells how pure they are.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Copy a set of a given size out of a dataset with identities, balanced over its groups."""
    from qdgs.recognition.identity_sets import write_identity_set

    purities = write_identity_set(
        dataset, out, identities, images, seed=seed, judge=judge, device=device_of(device)
    )
    for name, purity in purities.items():
        told = f"{purity['nearest']['value']:.3f} of images are nearest to one of their identity"
        typer.echo(f"{out}: by {name} {told}; equal error rate {purity['equal_error_rate']:.3f}")


@recognition.command("verify")
def recognition_verify(
    run_folder: RunFolder,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="A .bin or a list.", show_default=False)
    ],
    images: Annotated[Path | None, typer.Option(help="Where the images of pair lists lie.")] = None,
    groups: Annotated[
        Path | None, typer.Option(help="CSV with a column group, and perhaps fold, a row a pair.")
    ] = None,
    by_file: Annotated[
        bool, typer.Option("--by-file", help="Each file is a group of one benchmark.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Verify a trained recogniser on pairs of faces: accuracy, ROC, and what differs between groups."""
    from qdgs.recognition.benchmark import joined_groups, read_benchmarks, told, verify_run

    if by_file and groups is not None:
        raise InputError("--groups: expected it without --by-file, which has a group a file; leave one out")
    benchmarks = read_benchmarks(files, images=images, groups=groups)
    for benchmark in [joined_groups(benchmarks)] if by_file else benchmarks:
        with progress_bar() as bar:
            result = verify_run(run_folder, benchmark, device=device_of(device), watch=bar.watch)
        for line in told(benchmark.name, result):
            typer.echo(line)
