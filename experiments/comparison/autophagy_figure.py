"""The figure of the autophagy loop."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = ("#1a1a1a", "#e08214", "#2166ac", "#b2182b", "#1b7837", "#762a83", "#888888")
MEASURES = {"minority_share": "share of the minority", "distance": "distance from the data"}


def draw_generations(rows: pd.DataFrame) -> Figure:
    """For each kind of data, the minority's share and the distance from the data over the generations.

    Lines are means over seeds, bands their range.
    """
    kinds = list(rows["data"].unique())
    figure = Figure(figsize=(4.6 * len(kinds), 5.6), layout="constrained")
    panels = figure.subplots(2, len(kinds), squeeze=False, sharex="col")
    names = _names(rows)
    styles = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names.unique())}
    for column, kind in enumerate(kinds):
        of_kind = rows[rows["data"] == kind]
        for row, (measure, title) in enumerate(MEASURES.items()):
            panel = panels[row, column]
            for label, found in of_kind.groupby(names[of_kind.index], sort=False):
                by_generation = found.groupby("generation")[measure].agg(["mean", "min", "max"])
                color = styles[label]
                panel.plot(by_generation.index, by_generation["mean"], color=color, label=label)
                panel.fill_between(
                    by_generation.index, by_generation["min"], by_generation["max"], color=color, alpha=0.12
                )
            panel.set_ylabel(title)
            panel.set_ylim(bottom=0)
        panels[0, column].set_title(kind)
        panels[1, column].set_xlabel("generation (0: the data)")
        panels[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = {text: line for line, text in _labelled(panels.flat)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_samples(rows: Mapping[str, np.ndarray]) -> Figure:
    """Rows of images `(n, height, width, 3)` under their names, nothing chosen."""
    count = min(map(len, rows.values()))
    figure = Figure(figsize=(0.62 * count + 1.7, 0.66 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        for panel, image in zip(line, images, strict=False):
            panel.imshow(image, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_color("#dddddd")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def _names(rows: pd.DataFrame) -> pd.Series:
    """The arm, and its λ where one kind of data has it with several."""
    several = rows.groupby(["data", "arm"])["penalty"].transform("nunique") > 1
    return rows["arm"].where(~several, rows["arm"] + rows["penalty"].map(", λ {:g}".format))


def _labelled(panels: Iterable[Axes]) -> Iterator[tuple[Artist, str]]:
    for panel in panels:
        yield from zip(*panel.get_legend_handles_labels(), strict=True)
