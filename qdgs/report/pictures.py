"""Which pictures the files of a run permit, and what each shows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qdgs.config import group_names
from qdgs.report.archive import MeasureAxis, archive_heatmap, choose_elites, image_grid
from qdgs.report.crossed import crossed_sheet
from qdgs.report.curves import learning_curves
from qdgs.report.groups import group_shares
from qdgs.report.run_files import Renderer, RunFiles, measure_axes
from qdgs.report.sheets import before_after, contact_sheet
from qdgs.report.style import percent

SHEET_IMAGES = 64
FIELD_IMAGES = 16
COLUMNS = 8


@dataclass(frozen=True)
class Picture:
    """A figure of a run.

    Attributes:
        file: Its name in the folder figures/.
        figure: What is drawn.
        heading: Heading on the page.
        caption: How to read it.
        alt: What it shows, for those who cannot see it.
    """

    file: str
    figure: Figure
    heading: str
    caption: str
    alt: str


def drawings(files: RunFiles, render: Renderer | None = None) -> list[Callable[[], Picture]]:
    """All pictures that the files permit, the most telling first; each is drawn when it is called.

    Args:
        files: The run's frames.
        render: Draws random samples and elites; without it the pictures that need these are left out, or
            show images of the dataset.
    """
    found: list[Callable[[], Picture]] = []
    if files.rendered and files.shares is not None and render is not None:
        found.append(partial(_before_after, files, files.shares, render))
    if files.shares is not None:
        found.append(partial(_shares, files.shares))
    if files.rendered and len(files.config.dataset.groups) > 1:
        if files.random_readings is not None and render is not None:
            found.append(partial(_random_sheet, files, files.random_readings, render))
        found.append(partial(_balanced_sheet, files))
    if files.rendered:
        found.append(partial(_contact_sheet, files))
    if len(files.config.guide.measures) > 1:
        found += _archive_drawings(files, render)
    if files.metrics is not None and len(files.metrics):
        found.append(partial(_curves, files.metrics))
    return found


def _random_sheet(files: RunFiles, readings: pd.DataFrame, render: Renderer) -> Picture:
    groups = readings["group"].head(FIELD_IMAGES * len(group_names(files.config.dataset.groups)))
    drawn = render.random_samples(len(groups), files.config.seed)
    fields = {
        name: [drawn[place] for place in np.flatnonzero(groups == name)]
        for name in group_names(files.config.dataset.groups)
    }
    return Picture(
        "random_sheet.png",
        crossed_sheet(
            fields,
            _values(files),
            {name: len(images) for name, images in fields.items()},
            f"The first {len(groups)} random samples, as the guide sorts them",
            f"at most {FIELD_IMAGES} of each, also broken ones; under each field, how many there are",
        ),
        "Random samples by group",
        "Sorted by the guide as the dataset is, gaps closed; half-formed images are among them.",
        f"A table of random samples by group: {_counted(groups.dropna())}.",
    )


def _balanced_sheet(files: RunFiles) -> Picture:
    rows = {
        name: files.there[files.there["group"] == name] for name in group_names(files.config.dataset.groups)
    }
    return Picture(
        "balanced_sheet.png",
        crossed_sheet(
            {name: list(files.images(part.head(FIELD_IMAGES))) for name, part in rows.items()},
            _values(files),
            {name: len(part) for name, part in rows.items()},
            "The dataset, as the guide sorts it",
            "the first images of each group, gated, clear of the cuts; under each field, how many there are",
        ),
        "The dataset by group",
        "The first images of each group in the order of the manifest.",
        f"A table of the dataset's images by group: {_counted(files.there['group'])}.",
    )


def _values(files: RunFiles) -> list[tuple[str, ...]]:
    return [group.names for group in files.config.dataset.groups.values()]


def _before_after(files: RunFiles, shares: pd.DataFrame, render: Renderer) -> Picture:
    by_group = {
        group: list(files.images(files.there[files.there["group"] == group].head(SHEET_IMAGES)))
        for group in group_names(files.config.dataset.groups)
    }
    most = max(SHEET_IMAGES, COLUMNS * len(by_group))
    return Picture(
        "before_after.png",
        before_after(render.random_samples(most, files.config.seed), by_group, shares, columns=COLUMNS),
        "Before and after",
        "Left: random samples. Right: the dataset's first images of each group. Below: the groups' shares.",
        "Two sheets of images, random samples beside the dataset in rows by group. "
        + shares_in_words(shares),
    )


def _shares(shares: pd.DataFrame) -> Picture:
    return Picture(
        "group_shares.png",
        group_shares(shares),
        "Shares of the groups",
        "Shares over the images that the auditor can read; black lines mark the target.",
        f"Bars of each group's share. {shares_in_words(shares)}",
    )


def _contact_sheet(files: RunFiles) -> Picture:
    first = files.there.head(SHEET_IMAGES)
    return Picture(
        "contact_sheet.png",
        contact_sheet(list(files.images(first)), SHEET_IMAGES),
        "First images of the dataset",
        f"The first {len(first)} images in the order of the manifest; nothing was chosen.",
        f"A sheet of the first {len(first)} images of the dataset, groups: {_counted(first['group'])}.",
    )


def _archive_drawings(files: RunFiles, render: Renderer | None) -> list[Callable[[], Picture]]:
    if files.archive is None or files.archive.empty:
        return []
    axes = measure_axes(files, files.archive)
    found: list[Callable[[], Picture]] = []
    if render is not None:
        found.append(partial(_elite_grid, files.archive, axes[0], axes[1], render))
    elif files.rendered:
        found.append(partial(_dataset_grid, files, axes[0], axes[1]))
    for x, y in combinations(axes, 2):
        found.append(partial(_heatmap, files.archive, x, y, first=(x, y) == (axes[0], axes[1])))
    return found


def _elite_grid(archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis, render: Renderer) -> Picture:
    cells = choose_elites(archive, x, y)
    return Picture(
        "image_grid.png",
        image_grid(list(render.elites(archive.iloc[cells["position"]])), cells, x, y),
        "Elites along the measures",
        "Each picture is the elite nearest the middle of its cell, not the best; none was left out.",
        f"Pictures of {len(cells)} elites laid out by {x.name} (left to right: {_ends(x)}) "
        f"and {y.name} (bottom to top: {_ends(y)}).",
    )


def _dataset_grid(files: RunFiles, x: MeasureAxis, y: MeasureAxis) -> Picture:
    cells = choose_elites(files.there, x, y)
    images = list(files.images(files.there.iloc[cells["position"]]))
    return Picture(
        "image_grid.png",
        image_grid(images, cells, x, y, heading="What the dataset shows"),
        "The dataset along the measures",
        "Each picture is the image nearest the middle of its cell; gaps between groups stay grey.",
        f"Pictures of {len(cells)} images of the dataset laid out by {x.name} (left to right: {_ends(x)}) "
        f"and {y.name} (bottom to top: {_ends(y)}).",
    )


def _heatmap(archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis, *, first: bool) -> Picture:
    return Picture(
        "archive_heatmap.png" if first else f"archive_heatmap_{x.name}_{y.name}.png",
        archive_heatmap(archive, x, y),
        f"The archive: {x.name} × {y.name}",
        "Colour is the guide's objective; a filled cell does not prove that its image is what it should be.",
        f"Map of {len(archive)} elites by {x.name} and {y.name}; their objectives run from "
        f"{archive['objective'].min():.3g} to {archive['objective'].max():.3g}.",
    )


def _curves(metrics: pd.DataFrame) -> Picture:
    last = metrics.iloc[-1]
    return Picture(
        "learning_curves.png",
        learning_curves(metrics),
        "How the search went",
        "A coverage that still rises at the end says that a longer search would find more.",
        f"Four curves against evaluations; at the end QD score {last['qd_score']:,.0f}, coverage "
        f"{percent(last['coverage'])}, mean objective {last['objective_mean']:.3g}, "
        f"{percent(last['clipped_fraction'])} outside the measure ranges.",
    )


def _ends(axis: MeasureAxis) -> str:
    return f"{axis.low_prompt} to {axis.high_prompt}"


def shares_in_words(shares: pd.DataFrame) -> str:
    """The share of each group as a sentence."""
    with_random = "random_share" in shares
    return " ".join(
        f"{row['group']}: {percent(row['share'])} of the dataset"
        + (f", {percent(row['random_share'])} of random samples" if with_random else "")
        + f", target {percent(row['target'])}."
        for _, row in shares.iterrows()
    )


def _counted(groups: "pd.Series[str]") -> str:
    return ", ".join(f"{count} {name}" for name, count in groups.value_counts(sort=False).items())
