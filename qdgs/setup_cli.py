"""Commands for whoever begins: a first configuration, and the schema of all; a place that prints and asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qdgs.errors import InputError

Prompts = Annotated[list[str] | None, typer.Option(help="A prompt of good images; may be repeated.")]


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("qdgs.yaml"),
    generator: Annotated[str | None, typer.Option(help="A generator of `qdgs list`.")] = None,
    clip: Annotated[
        str, typer.Option(help="qdgs-mini, or ARCHITECTURE/TAG of open_clip.")
    ] = "ViT-B-32/openai",
    good: Prompts = None,
    bad: Annotated[list[str] | None, typer.Option(help="A prompt of images that are not wanted.")] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME: LOW | HIGH'", help="A difference to balance; may be repeated."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The measure that a classifier is to learn.")] = None,
    images: Annotated[int, typer.Option(min=1, help="How many.")] = 2000,
    ask: Annotated[bool, typer.Option("--ask", help="Ask for the words, one after the other.")] = False,
) -> None:
    """Write a commented configuration to begin with: the shapes, or what flags or answers say."""
    from qdgs.files import write_text
    from qdgs.starter import STARTER, Wishes, parse_difference, starter_of

    if path.exists():
        raise InputError(f"{path}: expected a new file, got one that exists; choose another name")
    if ask:
        generator, good, bad, measure = _asked(generator, good, bad, measure)
    text = STARTER
    if generator or good or bad or measure or label:
        if not good or not measure:
            raise InputError("init: expected --good and --measure, or no flags for the shapes to begin with")
        differences = [parse_difference(one) for one in measure]
        wishes = Wishes(generator or "shapes-vae", good, differences, bad or (), clip, images, label)
        text = starter_of(wishes)
        _check(text)
    write_text(path, text)
    typer.echo(f"{path}: written; check it with qdgs check {path}, start it with qdgs run {path}")


def schema(
    kind: Annotated[str, typer.Argument(help="run, compare, probe or recognition.")] = "run",
    out: Annotated[Path | None, typer.Option(help="A file.  [default: print it]")] = None,
) -> None:
    """Tell the JSON Schema of a kind of configuration, for editors."""
    from qdgs.files import write_text
    from qdgs.schema import schema_text

    text = schema_text(kind)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(out, text)
    typer.echo(f"{out}: written; first line of a configuration: # yaml-language-server: $schema={out}")


def _asked(
    generator: str | None, good: list[str] | None, bad: list[str] | None, measure: list[str] | None
) -> tuple[str, list[str], list[str], list[str]]:
    """What is not given as flags, asked for."""
    generator = generator or typer.prompt(
        "Which generator (qdgs list shows them)?", default="shapes-vae", err=True
    )
    good = good or [typer.prompt("What does a good image show, in a sentence?", err=True)]
    if not bad:
        told = typer.prompt(
            "What does a bad one show? (Enter for nothing)", default="", show_default=False, err=True
        )
        bad = [told] if told.strip() else []
    measure = list(measure or [])
    while not measure or typer.confirm("Another difference?", default=False, err=True):
        name = typer.prompt("A difference to balance, its name in one word", err=True)
        low = typer.prompt(f"  one end of {name}, in a sentence", err=True)
        high = typer.prompt(f"  the other end of {name}", err=True)
        measure.append(f"{name}: {low} | {high}")
    return generator, good, bad, measure


def _check(text: str) -> None:
    """See that what was said makes a configuration."""
    import yaml

    from qdgs.config import parse_config

    parse_config(yaml.safe_load(text))
