"""Measure the images that a user has, and make what their thin groups lack."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qdgs.config import RunConfig, target_shares
from qdgs.datasets.gaps import TOP_UP, missing_images
from qdgs.datasets.image_folder import Squares, image_files
from qdgs.errors import InputError
from qdgs.fairness.audit import audited_groups, audited_targets, read_groups
from qdgs.fairness.shares import count_groups
from qdgs.files import write_json
from qdgs.judges.base import JUDGES, Judge, judge_batches
from qdgs.parts import load_generator, load_judge
from qdgs.registry import resolve
from qdgs.roles import Judges, Named
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.judges import check_attributes

ROLES = ("teacher", "gate", "auditor")
MANY_UNREADABLE = 0.2


@dataclass(frozen=True)
class GroupGap:
    """What one group lacks.

    Attributes:
        group: Its audited values joined with "/".
        target: Share that it is to have.
        there: Images that the judge reads as it.
        missing: Images to be made.
    """

    group: str
    target: float
    there: int
    missing: int


@dataclass(frozen=True)
class TopUp:
    """What a folder of images holds and lacks.

    Attributes:
        folder: The folder.
        judge: Who counted.
        images: Image files in it.
        unreadable: Images that the judge cannot read: they count for no group.
        damaged: Files that are no images.
        gaps: Every group.
        limit: How many images may be made at most, None for all that lack.
    """

    folder: str
    judge: str
    images: int
    unreadable: int
    damaged: tuple[str, ...]
    gaps: tuple[GroupGap, ...]
    limit: int | None = None

    @property
    def missing(self) -> int:
        """Images to be made."""
        return sum(gap.missing for gap in self.gaps)

    @property
    def readable(self) -> int:
        """Images that the judge reads."""
        return sum(gap.there for gap in self.gaps)

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {**asdict(self), "missing": self.missing}

    def sentences(self) -> list[str]:
        """What a reader has to know beside the counts."""
        told = [f"{self.judge} read {self.readable:,} of {self.images:,} images of {self.folder}."]
        if self.unreadable > MANY_UNREADABLE * self.images:
            told.append(
                f"It could not read {self.unreadable:,}: the counts hold for the others alone; another judge "
                "may see more."
            )
        if self.damaged:
            told.append(f"Damaged files: {len(self.damaged):,}, {self.damaged[0]} among them.")
        kept = [gap for gap in self.gaps if gap.target == 0 and gap.there]
        told += [f"{gap.there:,} images are {gap.group}, which was to have none." for gap in kept]
        if self.limit is not None and self.limit == self.missing:
            told.append(f"At most {self.limit:,} images were asked for: the thinnest groups come first.")
        return told


def measure_folder(
    folder: Path,
    config: RunConfig,
    *,
    judge: str | None = None,
    images: int | None = None,
    device: str = "cpu",
    watch: Watch = unwatched,
) -> TopUp:
    """Count the groups of a folder's images as a judge reads them, and what they lack of the target.

    Args:
        folder: Images in any layout; labels that folders may give are not read.
        config: Groups and target, and the judges.
        judge: A role of the configuration or the name of a judge; by default the teacher, else the gate,
            else the auditor.
        images: At most so many are to be made.
        device: Where the judge works.
        watch: Told after each batch.

    Raises:
        InputError: There are no images, or none that the judge reads.
        ConfigError: The judge is unknown, or does not tell the groups.
    """
    named = _judge_of(config, judge)
    groups = audited_groups(config.dataset)
    files = image_files(folder)
    reader = load_judge(named, device=device, role="teacher")
    check_attributes(groups, reader, named.who)
    size = load_generator(config.generator, device=device).image_size
    squares = Squares(files, size)
    read = read_groups(_read(reader, squares, folder, len(files), device, watch), groups)
    targets = audited_targets(config.dataset)
    *counts, unreadable = count_groups(read, list(targets)).tolist()
    there = dict(zip(targets, counts, strict=True))
    if not any(there[name] for name, share in targets.items() if share > 0):
        raise InputError(
            f"{folder}: expected images of the groups {', '.join(targets)}, got none that {named.who} reads "
            f"as one ({unreadable:,} unreadable); name another judge with --judge"
        )
    missing = missing_images(there, targets, images)
    gaps = [GroupGap(name, targets[name], there[name], missing[name]) for name in targets]
    damaged = tuple(path.relative_to(folder).as_posix() for path in squares.damaged)
    return TopUp(str(folder), named.who, len(files), unreadable, damaged, tuple(gaps), images)


def top_up_config(config: RunConfig, found: TopUp) -> RunConfig:
    """The configuration of the run that makes what is missing, and nothing else.

    Where a measure of the groups is not audited, its values share what is missing as the target has them.

    Raises:
        InputError: Nothing is missing.
    """
    if not found.missing:
        raise InputError(
            f"{found.folder}: expected a group that lacks images, got none; there is nothing to make"
        )
    missing = {gap.group: gap.missing for gap in found.gaps}
    whole, audited = target_shares(config.dataset), audited_targets(config.dataset)
    kept = [place for place, group in enumerate(config.dataset.groups.values()) if group.audit is not None]
    shares = {}
    for name, share in whole.items():
        values = name.split("/")
        group = "/".join(values[place] for place in kept)
        shares[name] = missing[group] / found.missing * share / audited[group] if audited[group] else 0.0
    dataset = config.dataset.model_copy(update={"images": found.missing, "target": shares})
    return config.model_copy(update={"dataset": dataset})


def begin_top_up(config: RunConfig, found: TopUp, out: Path) -> Run:
    """The run that makes what is missing, in a new folder or taken up in its own.

    Raises:
        InputError: Nothing is missing, or the folder holds something else.
    """
    run = Run.create(top_up_config(config, found), out)
    write_json(run.path / TOP_UP, found.to_json())
    return run


def _judge_of(config: RunConfig, name: str | None) -> Judges:
    judges = config.judges
    held: dict[str, Judges] = {
        role: getattr(judges, role) for role in ROLES if getattr(judges, role) is not None
    }
    if name is None:
        if not held:
            raise InputError("judges: expected a judge to count the images, got none; name one with --judge")
        return next(iter(held.values()))
    if name in held:
        return held[name]
    for one in held.values():
        if isinstance(one, Named) and one.name == name:
            return one
    resolve({**JUDGES, **held}, name, place="--judge")
    return Named(name=name)


def _read(
    judge: Judge, squares: Squares, folder: Path, total: int, device: str, watch: Watch
) -> pd.DataFrame:
    done, rows = 0, []
    for images in squares:
        rows.append(judge_batches(judge, [images.to(device)]))
        done += len(images)
        watch(Step("count", done + len(squares.damaged), total, "images"))
    if not rows:
        raise InputError(f"{folder}: expected images that can be read, got {total:,} damaged files")
    return pd.concat(rows, ignore_index=True)
