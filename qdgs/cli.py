"""The command line: the only place that prints, exits, and picks a device."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdgs.console import begun, do_stage, kind_of, open_dataset, open_run, progress_bar, tell_warnings
from qdgs.errors import InputError, QdgsError, is_out_of_memory
from qdgs.options import Config, Device, Log, Out, RunFolder, Set, Shard, device_of
from qdgs.probe_cli import amplification, probe
from qdgs.recognition_cli import recognition
from qdgs.sets_cli import certify, export, merge, top_up
from qdgs.setup_cli import init, schema
from qdgs.sweep_cli import sweep
from qdgs.watch_cli import watch

if TYPE_CHECKING:
    from qdgs.run import Run

# Some versions of typer bring a click of their own.
UsageError: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
DONE, FAILED, INPUT_IS_WRONG, INTERRUPTED = 0, 1, 2, 130
GOES_ON_ITSELF = {"compare", "recognition train", "probe", "sweep"}
"""Commands that, given again, go on where they stopped."""
BEGINS_AFRESH = {"recognition verify"}
KEEPS_NOTHING = {"amplification", "recognition identities"}

app = typer.Typer(
    help="Turn a biased image generator into a balanced training set.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(recognition, name="recognition")
app.command()(probe)
app.command()(amplification)
app.command()(sweep)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 the input is wrong, 130 interrupted, 1 anything else."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a mistake is one sentence on stderr.

    Returns:
        The exit code.
    """
    warnings.showwarning = _show_warning
    _find_modules_here()
    try:
        code = app(
            args=None if arguments is None else list(arguments), prog_name="qdgs", standalone_mode=False
        )
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except UsageError as error:
        return _fail(error.format_message(), INPUT_IS_WRONG)
    except InputError as error:
        return _fail(str(error), INPUT_IS_WRONG)
    except QdgsError as error:
        return _fail(str(error), FAILED)
    except OSError as error:
        return _fail(_system_sentence(error), FAILED)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail("there is not enough memory; take fewer cells, a smaller batch or fewer images", FAILED)
    if code == INTERRUPTED:
        return _fail(_interrupted(sys.argv[1:] if arguments is None else arguments), INTERRUPTED)
    return code if isinstance(code, int) else DONE


def _interrupted(given: Sequence[str]) -> str:
    command = {" ".join(given[:1]), " ".join(given[:2])}
    if KEEPS_NOTHING & command:
        return "interrupted; nothing was written"
    if BEGINS_AFRESH & command:
        return "interrupted; the same command begins afresh"
    again = "the same command" if GOES_ON_ITSELF & command else "qdgs resume RUN"
    return f"interrupted; what was done is saved, go on with {again}"


@app.command()
def run(config: Config, out: Out = None, set_: Set = None, device: Device = "auto", log: Log = None) -> None:
    """Do every stage: search, flatten, render, audit, report, export."""
    with begun(config, out, set_) as there:
        _complete(there, device, log)


@app.command()
def compare(
    config: Config,
    out: Annotated[Path | None, typer.Option(help="A folder.  [default: runs/NAME of the CONFIG]")] = None,
    set_: Set = None,
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to see that it works.")] = False,
    write: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="Then write its images, of the first seed.  [repeatable]"),
    ] = None,
) -> None:
    """Put ways of balancing a generator side by side; the same command goes on where it stopped."""
    from qdgs.compare_config import load_compare
    from qdgs.comparison.compare import compare as carry_out
    from qdgs.comparison.sets import check_method, write_set

    folder = out or Path("runs") / config.stem
    loaded = load_compare(config, set_ or (), quick=quick)
    for method in write or ():
        check_method(loaded, method)
    with progress_bar() as bar:
        compared = carry_out(loaded, folder, device=device_of(device), watch=bar.watch)
    for cell, sentence in compared.failed.items():
        typer.echo(f"failed: {cell}: {sentence}", err=True)
    typer.echo(f"{folder}: {compared.cells - len(compared.failed)} cells; see {folder / 'comparison.md'}")
    for method in write or ():
        with progress_bar() as bar:
            there = write_set(loaded, folder, method, device=device_of(device), watch=bar.watch)
        left = f"; {there.unlabelled:,} without a label left out" if there.unlabelled else ""
        typer.echo(f"{there.path}: {there.images:,} images{left}")
    if compared.failed:
        raise typer.Exit(FAILED)


@app.command()
def resume(run_folder: RunFolder, set_: Set = None, device: Device = "auto", log: Log = None) -> None:
    """Go on with a run where it stopped."""
    _complete(open_run(run_folder, set_), device, log)


@app.command()
def search(
    target: Annotated[Path, typer.Argument(metavar="CONFIG|RUN", show_default=False)],
    out: Out = None,
    set_: Set = None,
    device: Device = "auto",
    anew: Annotated[bool, typer.Option("--anew", help="Leave the checkpoint aside.")] = False,
    log: Log = None,
) -> None:
    """Search the generator's latents; an interrupted search goes on where it stopped."""
    taken_up = nullcontext(open_run(target, set_)) if target.is_dir() else begun(target, out, set_)
    with taken_up as there:
        do_stage(there, "search", device, log=log, anew=anew)


@app.command()
def flatten(run_folder: RunFolder, set_: Set = None, device: Device = "auto") -> None:
    """Choose the solutions that become the dataset."""
    do_stage(open_run(run_folder, set_), "flatten", device)


@app.command()
def render(run_folder: RunFolder, shard: Shard = None, set_: Set = None, device: Device = "auto") -> None:
    """Render the images of the dataset from its manifest."""
    part = _shard(shard)
    bare = not (run_folder / "config.yaml").exists() and (run_folder / "dataset/manifest.parquet").exists()
    if set_ or not bare:
        do_stage(open_run(run_folder, set_), "render", device, shard=part)
        return
    from qdgs.stages.render import render_manifest

    with progress_bar() as bar:
        render_manifest(run_folder, device=device_of(device), watch=bar.watch, shard=part)


@app.command()
def audit(run_folder: RunFolder, shard: Shard = None, set_: Set = None, device: Device = "auto") -> None:
    """Let the auditor grade the dataset beside as many random samples."""
    part = _shard(shard)
    do_stage(open_run(run_folder, set_), "audit", device, shard=part)


@app.command()
def report(run_folder: RunFolder, set_: Set = None, device: Device = "auto") -> None:
    """Draw the figures and write report.html; of a run, a merged dataset, or a comparison."""
    if kind_of(run_folder) == "compare":
        from qdgs.comparison.page import report_comparison

        typer.echo(f"{report_comparison(run_folder)}: written")
        return
    do_stage(open_dataset(run_folder, set_), "report", device)


@app.command()
def check(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", show_default=False)], set_: Set = None
) -> None:
    """Tell whether configurations hold, and what they would fetch."""
    from qdgs.checking import check_file

    wrong = False
    for path in configs:
        try:
            lines = check_file(path, set_ or ())
        except InputError as error:
            wrong = True
            _fail(str(error) if str(error).startswith(str(path)) else f"{path}: {error}", INPUT_IS_WRONG)
            continue
        for line in lines:
            typer.echo(f"{path}: {line}")
    if wrong:
        raise typer.Exit(INPUT_IS_WRONG)


@app.command()
def fetch(
    config: Config,
    set_: Set = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Tell how to download it on another machine, and do not.")
    ] = False,
) -> None:
    """Download what a configuration needs and this machine lacks."""
    from qdgs.checking import fetch_config, load_any
    from qdgs.needs import commands

    loaded = load_any(config, set_ or ())
    if print_:
        for line in commands(loaded):
            typer.echo(line)
        return
    typer.echo(f"{config}: {fetch_config(loaded)}")


@app.command()
def convert(
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="stylegan2.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its published file.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.", show_default=False)],
) -> None:
    """Turn a published network file into a folder that a generator reads; nothing in the file is run."""
    from qdgs.generators.base import CONVERTERS
    from qdgs.registry import resolve

    typer.echo(f"{out}: {resolve(CONVERTERS, generator, place='GENERATOR')(file, out)}")


@app.command(name="list")
def list_() -> None:
    """List generators, guides, judges, algorithms and samplers, and whether each can be used here."""
    from qdgs.listing import parts_here

    for heading, parts in parts_here().items():
        typer.echo(f"{heading}:")
        width = max(len(part.name) for part in parts)
        for part in parts:
            typer.echo(f"  {part.name:<{width}}  {part.state}")


@app.command()
def doctor() -> None:
    """Tell about this machine and installation; asks no network."""
    from qdgs.doctor import examine

    examined = examine()
    width = max(len(item.name) for item in examined)
    for item in examined:
        typer.echo(f"{'ok ' if item.well else 'BAD'}  {item.name:<{width}}  {item.found}")
    if not all(item.well for item in examined):
        raise typer.Exit(FAILED)


for command in (certify, export, merge, watch, init, schema):
    app.command()(command)
app.command("top-up")(top_up)


def _complete(there: Run, device: str, log: list[str] | None) -> None:
    from qdgs.run import STAGES

    with there.workers():
        for stage in STAGES:
            if not there.finished(stage):
                do_stage(there, stage, device, tell=False, log=log)
    tell_warnings(there)
    typer.echo(_closing(there))


def _closing(there: Run) -> str:
    summary = there.summary
    told = {key: summary.get(key) for key in ("images", "label_agreement", "max_share_error")}
    numbers = ", ".join(f"{key} {value:.4g}" for key, value in told.items() if value is not None)
    return f"{there.path}: {numbers}; see {there.path / 'report.html'}"


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise InputError(f"--shard: expected i/N, got {text!r}")
    index, count = map(int, parts)
    if index >= count:
        raise InputError(f"--shard: expected i/N with i from 0 to N - 1, got {text}")
    return index, count


def _find_modules_here() -> None:
    """Let targets be modules of the working directory too; installed ones come first."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if category.__module__.startswith("qdgs"):
        typer.echo(f"warning: {message}", err=True)


def _system_sentence(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{place}there is no space left on the disk; what was saved before is kept: free some space and "
            "go on with qdgs resume RUN"
        )
    return f"{place}{error.strerror or error}"


def _fail(sentence: str, code: int) -> int:
    typer.echo(f"qdgs: {sentence}", err=True)
    return code
