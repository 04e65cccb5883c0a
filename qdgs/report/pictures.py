"""Which pictures the files of a run permit, and what each shows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from qdgs.config import MeasureConfig, RunConfig, group_names
from qdgs.generators.base import Generator, generate
from qdgs.randomness import Stream, stream
from qdgs.report.archive import MeasureAxis, archive_heatmap, choose_elites, image_grid
from qdgs.report.curves import learning_curves
from qdgs.report.groups import group_shares
from qdgs.report.sheets import Pixels, as_pixels, before_after, contact_sheet
from qdgs.report.style import percent

SHEET_IMAGES = 64


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


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds, as far as pictures need it; None where a stage has not run.

    Attributes:
        folder: The run folder.
        config: Its configuration.
        ranges: Range of each measure, as the search settled them.
        archive: Elites.
        metrics: How the search went.
        manifest: The dataset.
        shares: The audit by group.
    """

    folder: Path
    config: RunConfig
    ranges: Sequence[tuple[float, float]] | None
    archive: pd.DataFrame | None
    metrics: pd.DataFrame | None
    manifest: pd.DataFrame | None
    shares: pd.DataFrame | None

    @classmethod
    def read(cls, folder: Path, config: RunConfig) -> "RunFiles":
        """Read the frames of a run folder."""
        return cls(
            folder=folder,
            config=config,
            ranges=_ranges(folder / "search" / "settled.json"),
            archive=_frame(folder / "search" / "archive.parquet"),
            metrics=_frame(folder / "search" / "metrics.csv"),
            manifest=_frame(folder / "dataset" / "manifest.parquet"),
            shares=_frame(folder / "audit.csv"),
        )

    def images(self, rows: pd.DataFrame) -> list[Pixels]:
        """The dataset's images of some rows of its manifest."""
        return [read_image(self.folder / "dataset" / file) for file in rows["file"]]

    @property
    def rendered(self) -> bool:
        """Whether the images of the manifest are there."""
        return (
            self.manifest is not None
            and (self.folder / "dataset" / str(self.manifest["file"].iloc[0])).exists()
        )


def pictures(
    files: RunFiles, generator: Generator | None = None, *, device: torch.device | str = "cpu"
) -> Iterator[Picture]:
    """All pictures that the files permit, the most telling first.

    Args:
        files: The run's frames.
        generator: Renders random samples and elites; without it the pictures that need these are left
            out, or show images of the dataset.
        device: Where the generator works.
    """
    render = None if generator is None else _Renderer(generator, device)
    if files.rendered and files.shares is not None and render is not None:
        yield _before_after(files, files.shares, render)
    if files.shares is not None:
        yield _shares(files.shares)
    if files.rendered:
        yield _contact_sheet(files)
    if len(files.config.guide.measures) > 1:
        yield from _archive_pictures(files, render)
    if files.metrics is not None and len(files.metrics):
        yield _curves(files.metrics)


def measure_axes(files: RunFiles, solutions: pd.DataFrame) -> list[MeasureAxis]:
    """The measures of a run as axes; where a range is not settled, it is what the solutions span."""
    measures = files.config.guide.measures
    settled = files.ranges if files.ranges and len(files.ranges) == len(measures) else [None] * len(measures)
    return [
        _measure_axis(measure, solutions, known) for measure, known in zip(measures, settled, strict=True)
    ]


def read_image(path: Path) -> Pixels:
    """A PNG as `(height, width, 3)`."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _before_after(files: RunFiles, shares: pd.DataFrame, render: "_Renderer") -> Picture:
    assert files.manifest is not None
    by_group = {
        group: files.images(files.manifest[files.manifest["group"] == group].head(SHEET_IMAGES))
        for group in group_names(files.config.dataset.groups)
    }
    return Picture(
        "before_after.png",
        before_after(render.random_samples(SHEET_IMAGES, files.config.seed), by_group, shares),
        "Before and after",
        "Left: random samples. Right: the dataset's first images of each group. Below: the groups' shares.",
        "Two sheets of images, random samples beside the dataset in rows by group. "
        + _shares_in_words(shares),
    )


def _shares(shares: pd.DataFrame) -> Picture:
    return Picture(
        "group_shares.png",
        group_shares(shares),
        "Shares of the groups",
        "Shares over the images that the auditor can read; black lines mark the target.",
        f"Bars of each group's share. {_shares_in_words(shares)}",
    )


def _contact_sheet(files: RunFiles) -> Picture:
    assert files.manifest is not None
    first = files.manifest.head(SHEET_IMAGES)
    return Picture(
        "contact_sheet.png",
        contact_sheet(files.images(first), SHEET_IMAGES),
        "First images of the dataset",
        f"The first {len(first)} images in the order of the manifest; nothing was chosen.",
        f"A sheet of the first {len(first)} images of the dataset, groups: {_counted(first['group'])}.",
    )


def _archive_pictures(files: RunFiles, render: "_Renderer | None") -> Iterator[Picture]:
    if files.archive is not None and len(files.archive):
        axes = measure_axes(files, files.archive)
        if render is not None:
            yield _elite_grid(files.archive, axes[0], axes[1], render)
        elif files.rendered:
            yield _dataset_grid(files, axes[0], axes[1])
        for x, y in combinations(axes, 2):
            yield _heatmap(files.archive, x, y, first=(x, y) == (axes[0], axes[1]))


def _elite_grid(archive: pd.DataFrame, x: MeasureAxis, y: MeasureAxis, render: "_Renderer") -> Picture:
    cells = choose_elites(archive, x, y)
    latents = (
        archive.filter(regex=r"^latent_\d+$").iloc[cells["position"]].to_numpy(dtype=np.float32, copy=True)
    )
    return Picture(
        "image_grid.png",
        image_grid(render(torch.from_numpy(latents)), cells, x, y),
        "Elites along the measures",
        "Each picture is the elite nearest the middle of its cell, not the best; none was left out.",
        f"Pictures of {len(cells)} elites laid out by {x.name} (left to right: {_ends(x)}) "
        f"and {y.name} (bottom to top: {_ends(y)}).",
    )


def _dataset_grid(files: RunFiles, x: MeasureAxis, y: MeasureAxis) -> Picture:
    assert files.manifest is not None
    cells = choose_elites(files.manifest, x, y)
    images = files.images(files.manifest.iloc[cells["position"]])
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


class _Renderer:
    def __init__(self, generator: Generator, device: torch.device | str) -> None:
        self._generator = generator
        self._device = device

    def __call__(self, latents: Tensor) -> Pixels:
        batches = generate(self._generator, latents.to(self._device))
        return np.concatenate([as_pixels(images) for images in batches])

    def random_samples(self, n: int, seed: int) -> Pixels:
        """The first of those that the audit compares with."""
        return self(self._generator.sample_latents(n, stream(seed, Stream.RANDOM_SAMPLES)))


def _frame(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def _ranges(path: Path) -> list[tuple[float, float]] | None:
    if not path.exists():
        return None
    return [(low, high) for low, high in json.loads(path.read_text())["calibration"]["ranges"]]


def _measure_axis(
    measure: MeasureConfig, solutions: pd.DataFrame, settled: tuple[float, float] | None
) -> MeasureAxis:
    low, high = settled or (measure.range if measure.range != "auto" else _span(solutions[measure.name]))
    return MeasureAxis(measure.name, low, high, measure.cells, *measure.ends)


def _span(values: "pd.Series[float]") -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0


def _ends(axis: MeasureAxis) -> str:
    return f"{axis.low_prompt} to {axis.high_prompt}"


def _shares_in_words(shares: pd.DataFrame) -> str:
    with_random = "random_share" in shares
    return " ".join(
        f"{row['group']}: {percent(row['share'])} of the dataset"
        + (f", {percent(row['random_share'])} of random samples" if with_random else "")
        + f", target {percent(row['target'])}."
        for _, row in shares.iterrows()
    )


def _counted(groups: "pd.Series[str]") -> str:
    return ", ".join(f"{count} {name}" for name, count in groups.value_counts(sort=False).items())
