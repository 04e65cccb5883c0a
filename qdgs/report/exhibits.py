"""The pictures of the page, packed, and what its scripts know of them."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.config import group_names
from qdgs.report.explorer import (
    choose_images,
    choose_solutions,
    opinions_table,
    palette,
    solutions_table,
    space,
)
from qdgs.report.labelling import dataset_key, offered, questions
from qdgs.report.opinions import elite_opinions, image_opinions
from qdgs.report.run_files import Renderer, RunFiles, measure_axes
from qdgs.report.sheets import Pixels, mosaic
from qdgs.report.sprites import Pictures, Rows, SpriteSheets, encode, pack
from qdgs.roles import judge_names

SOLUTIONS_BYTES, IMAGES_BYTES, LABELLING_BYTES = 6_000_000, 1_500_000, 1_800_000
"""Budgets of the packed pictures; with base64 and all else the page stays below 15 MB."""

FIRST = 64
COLUMNS = 8

Progress = Callable[[str, int, int], None]
"""Called with what is made ("figures" or "pictures"), how many are, and how many there will be."""


@dataclass(frozen=True, eq=False)
class Packing:
    """Pictures that are chosen and wait to be packed; the fields are arguments of `pack`."""

    pictures: Pictures
    rows: Rows
    size: int
    budget: int
    largest: int = 96


@dataclass(frozen=True)
class Sheet:
    """One picture of many images, for the top of the page.

    Attributes:
        webp: The file.
        images: How many it shows.
        group: Of one group alone.
    """

    webp: bytes
    images: int
    group: str | None = None

    @property
    def uri(self) -> str:
        """The file as the source of an `<img>`."""
        return f"data:image/webp;base64,{base64.b64encode(self.webp).decode()}"


@dataclass
class Exhibits:
    """Everything that the page shows as pictures.

    Attributes:
        data: What the scripts read, plain.
        sprites: Packed pictures by name.
        random: Random samples.
        groups: The first images of each group.
        crossed: For "images" and "elites" the counts of the guide's groups by the judge's.
        names: Groups of these tables.
    """

    data: dict[str, Any]
    sprites: dict[str, SpriteSheets] = field(default_factory=dict)
    random: Sheet | None = None
    groups: list[Sheet] = field(default_factory=list)
    crossed: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def encoded(self) -> list[tuple[str, str]]:
        """Name and base64 of every sheet."""
        return [
            (f"{name}-{number}", sheet)
            for name, sprites in self.sprites.items()
            for number, sheet in enumerate(sprites.encoded)
        ]


def exhibits(files: RunFiles, render: Renderer | None, progress: Progress | None = None) -> Exhibits:
    """Choose, render and pack the pictures that a run's files permit.

    Args:
        files: The run's files.
        render: Draws elites and random samples; without it the explorer shows images of the dataset.
        progress: Told of the pictures that are packed.
    """
    auditor = files.config.judges.auditor
    shown = Exhibits({"palette": palette(), "judge": ", ".join(judge_names(auditor)) if auditor else None})
    _sheets(shown, files, render)
    chosen = {"elites": _solutions(shown, files, render)}
    if files.rendered:
        chosen |= {"images": _images(shown, files), "labelling": _labelling(shown, files)}
    shown.sprites = _packed({name: one for name, one in chosen.items() if one is not None}, progress)
    shown.data["names"] = shown.names
    shown.data["sprites"] = {name: sprites.layout for name, sprites in shown.sprites.items()}
    return shown


def _packed(chosen: dict[str, Packing], progress: Progress | None) -> dict[str, SpriteSheets]:
    total, before = sum(len(one.rows) for one in chosen.values()), 0
    packed = {}
    for name, one in chosen.items():
        tell = None if progress is None else partial(_tell, progress, before, total)
        packed[name] = pack(
            one.pictures, one.rows, one.size, budget=one.budget, largest=one.largest, progress=tell
        )
        before += len(one.rows)
    return packed


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress("pictures", before + done, total)


def _sheets(shown: Exhibits, files: RunFiles, render: Renderer | None) -> None:
    names = group_names(files.config.dataset.groups)
    rows = max(1, COLUMNS // len(names))
    shown.groups = group_sheets(files, rows * COLUMNS)
    if render is not None:
        count = max(FIRST, rows * COLUMNS * len(names)) if files.rendered else FIRST
        shown.random = _sheet(render.random_samples(count, files.config.seed))


def group_sheets(files: RunFiles, each: int, *, columns: int = COLUMNS, largest: int = 80) -> list[Sheet]:
    """The first `each` images of every group that has some, in rows of tiles of at most `largest` pixels."""
    if not files.rendered:
        return []
    by_group = files.there.groupby("group")
    there = [name for name in group_names(files.config.dataset.groups) if name in by_group.groups]
    return [
        _sheet(files.images(by_group.get_group(name).head(each)), name, columns=columns, largest=largest)
        for name in there
    ]


def _sheet(
    images: Iterable[Pixels], group: str | None = None, *, columns: int = COLUMNS, largest: int = 80
) -> Sheet:
    tiles = list(images)
    size = min(largest, tiles[0].shape[0])
    return Sheet(encode(mosaic(tiles, columns, size, gap=1)), len(tiles), group)


def _solutions(shown: Exhibits, files: RunFiles, render: Renderer | None) -> Packing | None:
    if files.archive is None or files.archive.empty:
        return None
    dataset, seed = files.config.dataset, files.config.seed
    of_elites = elite_opinions(files.archive, dataset, files.cuts, files.elite_readings)
    shown.names, shown.crossed["elites"] = of_elites.audited_names, of_elites.crossed()
    solutions, opinions, pictures = files.archive, of_elites, None
    size = 0
    if render is not None:
        size, pictures = render.image_size, _elites(files.archive, render)
    elif files.rendered:
        solutions = files.there
        opinions = image_opinions(solutions, dataset, files.image_readings)
        size, pictures = _size(files), _stored(files, solutions)
    axes, chosen = measure_axes(files, files.archive), choose_solutions(solutions, seed)
    shown.data["space"] = space(axes, dataset, files.cuts)
    shown.data["elites"] = solutions_table(solutions, axes, opinions, chosen)
    shown.data["elites"]["kind"] = "elite" if solutions is files.archive else "image"
    return None if pictures is None else Packing(pictures, chosen.rows, size, SOLUTIONS_BYTES)


def _images(shown: Exhibits, files: RunFiles) -> Packing:
    opinions = image_opinions(files.there, files.config.dataset, files.image_readings)
    chosen = choose_images(opinions, files.there["objective"].to_numpy(np.float64))
    rows = files.there.iloc[chosen.rows]
    shown.names, shown.crossed["images"] = opinions.audited_names, opinions.crossed()
    shown.data["images"] = {
        "total": chosen.total,
        "id": rows["id"].tolist(),
        **opinions_table(rows["objective"], opinions.take(chosen.rows)),
    }
    return Packing(_stored(files, files.there), chosen.rows, _size(files), IMAGES_BYTES)


def _labelling(shown: Exhibits, files: RunFiles) -> Packing | None:
    assert files.manifest is not None
    if len(files.there) < len(files.manifest):
        return None
    rows = np.array(offered(files.manifest, files.config.seed), dtype=np.int64)
    shown.data["labelling"] = {
        "dataset": dataset_key(files.manifest),
        "run": files.folder.resolve().name,
        "total": len(files.manifest),
        "id": files.manifest["id"].iloc[rows].tolist(),
        "questions": [
            {"text": question.text, "measures": question.measures, "answers": question.answers}
            for question in questions(files.config.dataset)
        ],
    }
    pictures = _stored(files, files.manifest)
    return Packing(pictures, rows, _size(files), LABELLING_BYTES, largest=128)


def _elites(archive: pd.DataFrame, render: Renderer) -> Pictures:
    return lambda rows: render.elites(archive.iloc[rows])


def _stored(files: RunFiles, manifest: pd.DataFrame) -> Pictures:
    return lambda rows: files.images(manifest.iloc[rows])


def _size(files: RunFiles) -> int:
    return int(next(iter(files.images(files.there.head(1)))).shape[0])
