"""Judges in their roles, checked before anything is spent on them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch

from qdgs.clip.encoder import ClipEncoder
from qdgs.config import DatasetConfig, GroupConfig, JudgesConfig, RunConfig, audited_attributes
from qdgs.errors import ConfigError
from qdgs.guides.base import SearchGuide
from qdgs.judges.base import JUDGES, Judge
from qdgs.judges.own import check_rows
from qdgs.parts import Device, is_brought, load_judge
from qdgs.registry import nearest
from qdgs.roles import Judges, Named


def check_judges(
    config: RunConfig, *, device: Device = "cpu", image_size: int = 64, guide: SearchGuide | None = None
) -> None:
    """Load every judge and see that it tells what its role asks of it, before a search is spent.

    Args:
        config: Of the run.
        device: Where judges work.
        image_size: Of the generator, for a look at what a user's own judge tells of images.
        guide: Whose CLIP no judge may be; None where it is not here.

    Raises:
        ConfigError: A judge is unknown, does not tell an attribute or value of a group, or is the guide.
        InputError: A judge's weights are damaged.
    """
    for place, one in config.judges.each():
        _check_brought(one, place, device=device, image_size=image_size, guide=guide)
    judges, automatic = config.judges, automatic_groups(config.dataset)
    if judges.gate:
        load_judge(judges.gate, device=device, role="gate")
    if automatic:
        teacher = teacher_of(judges)
        check_attributes(automatic, load_judge(teacher, device=device, role="teacher"), teacher.who)
    if judges.auditor:
        auditor = load_judge(judges.auditor, device=device, role="auditor")
        check_attributes(_audited(config.dataset, judges.auditor.who), auditor, judges.auditor.who)
        _check_measures(config, auditor, judges.auditor.who)
    for named, columns in readers(config):
        judge = load_judge(named, device=device, role=config.dataset.balance[columns[0]].judge)
        read = judge.judge(torch.zeros(1, 3, 64, 64, device=device))
        for column in columns:
            check_column(column, read, named.who)


def _check_brought(
    named: Named, place: str, *, device: Device, image_size: int, guide: SearchGuide | None
) -> None:
    """Look at a judge that the user brought: at its rows, and whether it is the guide."""
    brought = is_brought(JUDGES, named)
    if not (brought or "clip" in named.options):
        return
    judge = load_judge(named, device=device, role=place)
    if brought:
        check_rows(judge, torch.full((2, 3, image_size, image_size), 0.5, device=device), f"judges.{place}")
    one, other = getattr(judge, "encoder", None), guide and guide.encoder
    if isinstance(one, ClipEncoder) and isinstance(other, ClipEncoder) and one.sees_as(other):
        raise ConfigError(
            f"judges.{place}.clip: expected another CLIP than the guide's, got {one.name!r}, which embeds as "
            f"{other.name!r} does: no guide judges"
        )


def readers(config: RunConfig) -> list[tuple[Judges, list[str]]]:
    """Each judge that reads what is to be balanced within groups, and which of its columns that are."""
    found: list[tuple[Judges, list[str]]] = []
    for column, nuisance in config.dataset.balance.items():
        named = config.judges.reader(nuisance.judge)
        assert named is not None, "the configuration was checked for it"
        columns = next((columns for other, columns in found if other == named), None)
        if columns is None:
            found.append((named, [column]))
        else:
            columns.append(column)
    return found


def check_column(column: str, read: pd.DataFrame, name: str) -> None:
    """See that a judge tells a number of that name.

    Args:
        column: The name.
        read: The judge's rows.
        name: The judge's name.

    Raises:
        ConfigError: It tells no such column, or one that holds no numbers.
    """
    numbers = [str(other) for other in read if _is_number(read[other])]
    if column not in numbers:
        raise ConfigError(
            f"dataset.balance.{column}: expected a number that {name!r} tells of an image, got "
            f"{'a column of other values' if column in read else 'none'}{nearest(column, numbers)}"
        )


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def automatic_groups(dataset: DatasetConfig) -> dict[str, GroupConfig]:
    """Measures whose cut is to be found."""
    return {name: group for name, group in dataset.groups.items() if group.cuts is None}


def teacher_of(judges: JudgesConfig) -> Judges:
    """Who labels the images that cuts are found on: the teacher, or the gate where there is none.

    Raises:
        ConfigError: There is neither.
    """
    teacher = judges.teacher or judges.gate
    if teacher is None:
        raise ConfigError(
            "judges.teacher: expected a judge to find the cuts `auto` by, got none; name one, or give the "
            "cuts as numbers"
        )
    return teacher


def check_attributes(groups: Mapping[str, GroupConfig], judge: Judge, name: str) -> None:
    """See that a judge tells the attributes and values of groups.

    Raises:
        ConfigError: Names the first that it does not tell, and those that it does.
    """
    for measure, group in groups.items():
        if group.audit is None or group.audit not in judge.attributes:
            told = ", ".join(judge.attributes)
            raise ConfigError(
                f"dataset.groups.{measure}.audit: expected an attribute of {name!r} ({told}), got "
                f"{repr(group.audit) if group.audit else 'none'}"
            )
        values = judge.attributes[group.audit]
        unknown = [value for value in group.names if value not in values]
        if unknown:
            raise ConfigError(
                f"dataset.groups.{measure}: expected values that {name!r} tells of {group.audit!r} "
                f"({', '.join(values)}), got {unknown[0]!r}"
            )


def _check_measures(config: RunConfig, auditor: Judge, name: str) -> None:
    for measure, attribute in audited_attributes(config).items():
        if attribute not in auditor.attributes:
            raise ConfigError(
                f"guide.measures.{measure}.audit: expected an attribute of {name!r} "
                f"({', '.join(auditor.attributes)}), got {attribute!r}"
            )


def _audited(dataset: DatasetConfig, auditor: str) -> dict[str, GroupConfig]:
    audited = {name: group for name, group in dataset.groups.items() if group.audit is not None}
    if not audited:
        raise ConfigError(
            f"dataset.groups: expected at least one group with an attribute of {auditor!r} as `audit`, "
            "got none"
        )
    return audited
