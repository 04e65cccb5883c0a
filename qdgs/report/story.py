"""What the page says first: what was asked, what was missing, what came out, and what is not there yet."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from qdgs.config import target_shares
from qdgs.report.numbers import SECTIONS, Number
from qdgs.report.run_files import RunFiles

HEADLINES = (
    ("smallest_group_share", "smallest group"),
    ("label_agreement", "labels that the auditor confirms"),
    ("max_share_error", "largest error of a group's share"),
)
_NUMBERS = {number.key: number for numbers in SECTIONS.values() for number in numbers}


@dataclass(frozen=True)
class Fact:
    """One of the few numbers that stand on top.

    Attributes:
        label: Its name.
        value: Of the dataset.
        before: Of random samples, where it is known.
    """

    label: str
    value: str
    before: str | None


@dataclass(frozen=True)
class GroupStory:
    """What became of a group.

    Attributes:
        name: The group.
        target: Share that it was to have.
        share: Share in the dataset.
        random: Share among random samples, where it is known.
        count: Images of it.
    """

    name: str
    target: float
    share: float
    random: float | None
    count: int

    @property
    def missing(self) -> bool:
        """Whether random samples have less than half of what was asked for."""
        return self.random is not None and self.random < self.target / 2


def facts(summary: Mapping[str, Any]) -> list[Fact]:
    """The headline numbers that a summary holds."""
    found = [
        _fact(_NUMBERS[key], label, summary) for key, label in HEADLINES if _number(summary, key) is not None
    ]
    diversity = _number(summary, "group_diversity_ratio")
    if diversity is not None:
        found.append(Fact("diversity within groups", f"{diversity:.2f} ×", "1 ×"))
    return found


def group_stories(files: RunFiles) -> list[GroupStory]:
    """Every group, the scarcest among random samples first.

    Where no auditor has counted, the counts are the guide's own.
    """
    shares = files.shares if files.shares is not None else _counted(files)
    stories = [
        GroupStory(
            name=str(row["group"]),
            target=float(row["target"]),
            share=float(row["share"]),
            random=float(row["random_share"]) if "random_share" in row else None,
            count=int(row["count"]),
        )
        for row in shares.to_dict("records")
    ]
    return sorted(stories, key=lambda story: story.share if story.random is None else story.random)


def absences(files: RunFiles) -> list[str]:
    """What a whole run has and this one lacks, a sentence each that names the command."""
    run = files.folder
    if files.merged:
        no_auditor = "The runs have no auditor in common: nobody has counted the groups of this dataset."
        return [no_auditor] if files.shares is None else []
    if files.archive is None:
        return [f"The search is not through: there is no archive yet. Go on with qdgs resume {run}."]
    found = [] if len(files.archive) else ["The search found nothing: the archive is empty."]
    if files.manifest is None:
        return [*found, f"There is no dataset yet. Go on with qdgs resume {run}."]
    if len(files.there) < len(files.manifest):
        found.append(
            f"{len(files.there):,} of {len(files.manifest):,} images are rendered. "
            f"Go on with qdgs render {run}."
        )
    if files.config.judges.auditor is None:
        return [*found, "No auditor was named: nobody has checked what the images show."]
    if files.shares is None:
        found.append(f"The auditor has not graded the dataset. Go on with qdgs audit {run}.")
    elif files.image_readings is None:
        found.append(
            "What the auditor reads off single images is not in this run folder: pictures stand without its "
            f"opinion. qdgs audit {run} adds it."
        )
    return found


def _fact(number: Number, label: str, summary: Mapping[str, Any]) -> Fact:
    before = _number(summary, f"random_{number.key}")
    return Fact(label, number.text(summary[number.key]), None if before is None else number.text(before))


def _number(summary: Mapping[str, Any], key: str) -> float | None:
    value = summary.get(key)
    return None if value is None or not math.isfinite(value) else float(value)


def _counted(files: RunFiles) -> pd.DataFrame:
    if files.manifest is None:
        return pd.DataFrame()
    targets = target_shares(files.config.dataset)
    counts = files.manifest["group"].value_counts()
    rows = [(name, target, int(counts.get(name, 0))) for name, target in targets.items()]
    frame = pd.DataFrame(rows, columns=["group", "target", "count"])
    return frame.assign(share=frame["count"] / max(len(files.manifest), 1))
