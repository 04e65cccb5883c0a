"""`qdgs watch`: a search drawn in the terminal while it goes on; a place that prints."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdgs.options import RunFolder

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from qdgs.stages.live import Live as LiveSearch

STILL = 120.0
"""Seconds without a change after which a watcher is told of it."""


def watch(
    run_folder: RunFolder,
    once: Annotated[bool, typer.Option("--once", help="Draw it as it is now, and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 2.0,
) -> None:
    """Draw the archive of a search live in the terminal; from another one than it runs in."""
    from qdgs.stages.live import read_live

    live = read_live(run_folder)
    if once:
        from rich.console import Console

        Console().print(picture(live))
    elif sys.stdout.isatty():
        _follow(run_folder, live, every)
    else:
        _follow_plainly(run_folder, live, every)


def _follow(folder: Path, live: LiveSearch, every: float) -> None:
    from rich.live import Live

    from qdgs.stages.live import read_live

    with Live(picture(live), refresh_per_second=4) as shown:
        while not live.archived:
            time.sleep(every)
            live = read_live(folder)
            shown.update(picture(live))


def _follow_plainly(folder: Path, live: LiveSearch, every: float) -> None:
    """One line for each change, until the search is through."""
    from qdgs.stages.live import read_live

    told, since = "", time.monotonic()
    while True:
        if sentence(live) != told:
            told, since = sentence(live), time.monotonic()
            typer.echo(told)
        elif time.monotonic() - since > STILL:
            typer.echo(f"no change for {STILL:.0f} s; is the search still running?", err=True)
            since = time.monotonic()
        if live.archived:
            return
        time.sleep(every)
        live = read_live(folder)


def sentence(live: LiveSearch) -> str:
    """How far the search is, in a line."""
    if not live.numbers:
        return "the search has not begun"
    numbers = live.numbers
    through = "; through" if live.archived else ""
    return (
        f"{numbers['evaluations']:,.0f} evaluations, coverage {numbers['coverage']:.1%}, QD score "
        f"{numbers['qd_score']:,.0f}, mean objective {numbers['objective_mean']:.3g}, "
        f"{numbers['lineages']:,.0f} lineages{through}"
    )


def picture(live: LiveSearch) -> Group:
    """The archive over its first two measures, two rows of cells a line, brighter where it is better."""
    from matplotlib import colormaps
    from rich.console import Group
    from rich.text import Text

    from qdgs.stages.live import best_by_cell

    grid = best_by_cell(live)
    seen = grid[grid == grid]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    colors = colormaps["viridis"]
    shades = [
        [_hex(colors((value - low) / ((high - low) or 1.0))) if value == value else "" for value in row]
        for row in grid
    ]
    empty = [""] * grid.shape[1]
    pairs = zip(shades[::2], [*shades[1::2], *([empty] if len(shades) % 2 else [])], strict=True)
    lines = [_line(upper, lower) for upper, lower in pairs]
    measures = live.config.guide.measures
    axes = [f"across: {measures[0].ends[0]} → {measures[0].ends[1]}"]
    axes += [f"up: {measure.ends[0]} → {measure.ends[1]}" for measure in measures[1:2]]
    return Group(Text(sentence(live)), *lines, *(Text(axis, style="dim") for axis in axes))


def _line(upper: list[str], lower: list[str]) -> Text:
    """Two rows of cells as one of characters, whose halves have colours of their own."""
    from rich.text import Text

    line = Text()
    for top, bottom in zip(upper, lower, strict=True):
        if top and bottom:
            line.append("▀", f"{top} on {bottom}")
        elif top or bottom:
            line.append("▀" if top else "▄", top or bottom)
        else:
            line.append(" ")
    return line


def _hex(color: tuple[float, ...]) -> str:
    red, green, blue = (round(255 * part) for part in color[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"
