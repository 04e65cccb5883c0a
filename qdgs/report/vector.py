"""Figures as SVG that takes its colours from the page, so that they follow light and dark."""

import io
import re

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from qdgs.report.style import DATASET, FAINT, INK, LINE, RANDOM, TARGET, lay_out

VARIABLES = {
    DATASET: "--dataset",
    RANDOM: "--random",
    TARGET: "--ink",
    INK: "--ink",
    FAINT: "--faint",
    LINE: "--line",
}
"""Colours of `qdgs.report.style` and the page's own."""


def as_svg(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as an `<svg>` to stand in a page: text stays text, the paper is transparent.

    Args:
        figure: What is drawn.
        name: Distinguishes its parts from those of other figures of the page.
        alt: What it shows, for those who cannot see it.
    """
    lay_out(figure)
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    opening = re.search(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', file.getvalue())
    assert opening is not None
    body = file.getvalue()[opening.end() :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r'(?<=<g) id="[^"]*"'):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    body = re.sub(r'style="[^"]*"', _styled, body.replace("xlink:href=", "href="))
    return Markup(f'<svg role="img" aria-label="{escape(alt)}" {opening[1]}>{body.strip()}')


def _styled(found: "re.Match[str]") -> str:
    style = re.sub(r"font-family:[^;\"]*", "font-family: var(--sans)", found[0])
    for color, variable in VARIABLES.items():
        style = re.sub(rf"{color}\b", f"var({variable})", style, flags=re.IGNORECASE)
    return style
