"""What commands have in common: arguments, options, and the device that a name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qdgs.errors import InputError
from qdgs.registry import nearest

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="The run's folder.  [default: runs/NAME of the CONFIG]")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=VALUE", help="Override a key of the configuration.")
]
Log = Annotated[
    list[str] | None,
    typer.Option(help="Where numbers go too: tensorboard, or a callback as package.module:function."),
]
Shard = Annotated[str | None, typer.Option(metavar="i/N", help="Only part i of N, from 0.")]
Device = Annotated[str, typer.Option(help="Where models work: auto, cpu, cuda, cuda:1, mps.")]


def device_of(name: str) -> str:
    """The device that a user named, "auto" for a GPU where there is one.

    Raises:
        InputError: This machine has none such.
    """
    import torch

    known = ("auto", "cpu", "cuda", "mps")
    kind = name.partition(":")[0]
    if kind not in known:
        raise InputError(f"--device: unknown {name!r}{nearest(kind, known)}")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not _has_cuda(name):
        raise InputError(f"--device: expected a device of this machine, got {name!r}; take cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device: expected a device of this machine, got 'mps'; take cpu or auto")
    return name


def _has_cuda(name: str) -> bool:
    import torch

    index = name.partition(":")[2] or "0"
    return torch.cuda.is_available() and index.isdigit() and int(index) < torch.cuda.device_count()
