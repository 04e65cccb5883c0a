"""`qdgs probe` and `qdgs amplification`: parts of the command line, and as it the only places that print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdgs.options import Device, Set, device_of

if TYPE_CHECKING:
    from qdgs.display import Bar

Guide = Annotated[
    str | None,
    typer.Option(
        metavar="CONFIG",
        help="A YAML file of kind run or probe: guide, judges, groups.  [default: qdgs-mini and shapes]",
    ),
]
Generator = Annotated[str | None, typer.Option(metavar="NAME", help="In place of the configuration's.")]


def probe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|CONFIG",
            help="A file of TorchScript or ONNX, a folder of transformers, module:factory, or a YAML.",
            show_default=False,
        ),
    ],
    generator: Generator = None,
    guide: Guide = None,
    out: Annotated[Path | None, typer.Option(help="A folder.  [default: runs/probe-MODEL]")] = None,
    set_: Set = None,
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to see that it works.")] = False,
) -> None:
    """Find what a model gets wrong, and why, with balanced images of a generator."""
    from qdgs.probe.carry_out import TABLE, probe_model
    from qdgs.probe_config import load_probe

    config = load_probe(model, guide=guide, generator=generator, overrides=set_ or (), quick=quick)
    folder = out or Path("runs") / f"probe-{Path(model.replace(':', '-')).stem}"
    with _bar() as bar:
        found = probe_model(config, folder, device=device_of(device), watch=bar.watch)
    for sentence in found.examined.warnings:
        typer.echo(f"warning: {sentence}", err=True)
    cause = found.examined.cause
    told = (
        "no attribute is found to move it"
        if cause is None
        else f"{cause.effect.attribute} moves it (p {cause.p:.2g})"
    )
    typer.echo(f"{folder}: {told}; see {folder / TABLE} and {folder / 'report.html'}")


def amplification(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML file of kind run or probe.", show_default=False)
    ],
    data: Annotated[Path, typer.Option(help="Folder of training images.", show_default=False)],
    held_out: Annotated[
        Path | None, typer.Option(help="Folder of such images that it was not trained on.")
    ] = None,
    generator: Generator = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Random samples.  [default: as many as training images]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder.  [default: runs/amplification]")] = None,
    set_: Set = None,
    device: Device = "auto",
) -> None:
    """Compare a generator's samples with its training images: groups, and copies."""
    from qdgs.probe.amplification import TABLE, amplification
    from qdgs.probe_config import load_probe

    loaded = load_probe("none", guide=config, generator=generator, overrides=set_ or ())
    folder = out or Path("runs") / "amplification"
    with _bar() as bar:
        found = amplification(
            loaded,
            data,
            folder,
            held_out=held_out,
            samples=samples,
            device=device_of(device),
            watch=bar.watch,
        )
    excess = found.excess
    told = (
        f"the bias is {found.verdict}, as far as these images tell (discrepancy {excess.value:+.3f}, "
        f"{excess.low:+.3f} to {excess.high:+.3f})"
    )
    copied = "" if found.copying is None else f"; data-copying score {found.copying.score:+.1f}"
    for sentence in found.warnings:
        typer.echo(f"warning: {sentence}", err=True)
    typer.echo(f"{folder}: {told}{copied}; see {folder / TABLE}")
    if found.copying is not None and found.copying.copies:
        typer.echo("warning: samples are nearer to training images than unseen images are", err=True)


def _bar() -> Bar:
    from qdgs.display import Bar

    return Bar(sys.stderr)
