"""An archive and a dataset as objects: to be asked by a program, and looked at in a notebook."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from qdgs.config import RunConfig
from qdgs.errors import InputError
from qdgs.report.archive import MeasureAxis, archive_heatmap
from qdgs.report.exhibits import Sheet, group_sheets
from qdgs.report.page import environment
from qdgs.report.run_files import RunFiles, measure_axes
from qdgs.report.story import group_stories
from qdgs.report.style import percent

EACH, TILE = 12, 44
MOST_GROUPS = 16
"""Groups of which a notebook shows images; all are in the table."""
DPI = 72


@dataclass(frozen=True, eq=False, repr=False)
class Archive:
    """The elites of a search.

    Attributes:
        elites: One row an elite: `cell`, `objective`, the measures by name, `lineage`, and the latent.
        axes: The measures with their ranges and numbers of cells.
    """

    elites: pd.DataFrame
    axes: tuple[MeasureAxis, ...]

    def __len__(self) -> int:
        return len(self.elites)

    @property
    def cells(self) -> int:
        """Cells, filled or not."""
        return math.prod(axis.cells for axis in self.axes)

    @property
    def coverage(self) -> float:
        """Share of the cells that hold an elite."""
        return len(self) / self.cells

    def heatmap(self, x: str | None = None, y: str | None = None) -> Figure:
        """A map of the best objectives over two measures, by default the first two.

        Raises:
            InputError: There are not two measures, no elite, or none of such a name.
        """
        if len(self.axes) < 2 or self.elites.empty:
            raise InputError(f"heatmap: expected elites over two measures, got {self}")
        along, up = (self._axis(name, default) for name, default in zip((x, y), self.axes[:2], strict=True))
        return archive_heatmap(self.elites, along, up)

    def _axis(self, name: str | None, default: MeasureAxis) -> MeasureAxis:
        if name is None:
            return default
        for axis in self.axes:
            if axis.name == name:
                return axis
        known = ", ".join(axis.name for axis in self.axes)
        raise InputError(f"heatmap: unknown measure {name!r}; known: {known}")

    def __repr__(self) -> str:
        over = " × ".join(axis.name for axis in self.axes)
        return f"Archive of {len(self):,} elites in {self.cells:,} cells ({percent(self.coverage)}): {over}"

    def _repr_html_(self) -> str:
        drawn = len(self.axes) > 1 and len(self) > 0
        picture = _png(self.heatmap()) if drawn else None
        return _html("archive_view.html", archive=self, picture=picture)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """The images of a dataset, and how many of each group there are.

    Attributes:
        folder: Where the images lie.
        rows: The manifest: one row an image with `id`, `file`, `label`, `group`, objective, measures, latent.
        groups: One row a group, the scarcest among random samples first: `name`, `target`, `share`,
            `random` (share among random samples) and `count`.
        counted_by: The auditor whose readings `groups` holds; None where they are the guide's groups.
        rendered: Images that are there.
        sheets: Some images of each group.
    """

    folder: Path
    rows: pd.DataFrame
    groups: pd.DataFrame
    counted_by: str | None
    rendered: int
    sheets: tuple[Sheet, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def files(self) -> list[Path]:
        """Every image's file, in the order of `rows`."""
        return [self.folder / file for file in self.rows["file"]]

    @property
    def unreadable(self) -> int:
        """Images that the auditor could not put into a group."""
        return len(self) - int(self.groups["count"].sum())

    @property
    def told(self) -> str:
        """What a reader has to know of `groups`."""
        there = "" if self.rendered == len(self) else f", {self.rendered:,} of them rendered"
        by = "as they were made" if self.counted_by is None else f"as {self.counted_by} reads them"
        lost = f"; it cannot read {self.unreadable:,}" if self.unreadable else ""
        return f"{len(self):,} images{there}; groups {by}{lost}"

    def __repr__(self) -> str:
        lines = [
            f"  {name}: {count:,} ({percent(share)}, asked for {percent(target)})"
            for name, target, share, count in self.groups[["name", "target", "share", "count"]].to_numpy()
        ]
        return "\n".join([f"Dataset: {self.told}", *lines])

    def _repr_html_(self) -> str:
        return _html("dataset_view.html", dataset=self, groups=self.groups.to_dict("records"))


def archive_of(folder: Path, config: RunConfig) -> Archive:
    """The archive of a run folder.

    Raises:
        InputError: There is none yet.
        CorruptFileError: It is damaged.
    """
    files = RunFiles.read(folder, config)
    if files.archive is None:
        raise InputError(f"{folder}: expected an archive, got none; run qdgs search {folder} first")
    return Archive(files.archive, tuple(measure_axes(files, files.archive)))


def dataset_of(folder: Path, config: RunConfig) -> Dataset:
    """The dataset of a run folder, or of a merged one.

    Raises:
        InputError: There is none yet.
        CorruptFileError: One of its files is damaged.
    """
    files = RunFiles.read(folder, config)
    if files.manifest is None:
        raise InputError(f"{folder}: expected a dataset, got none; run qdgs flatten {folder} first")
    auditor = config.judges.auditor
    return Dataset(
        folder=folder / "dataset",
        rows=files.manifest,
        groups=pd.DataFrame([vars(story) for story in group_stories(files)]),
        counted_by=None if files.shares is None else "the auditor" if auditor is None else auditor.who,
        rendered=len(files.there),
        sheets=tuple(group_sheets(files, EACH, columns=EACH, largest=TILE)[:MOST_GROUPS]),
    )


def _png(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _html(template: str, **shown: Any) -> str:
    return environment().get_template(template).render(**shown)
