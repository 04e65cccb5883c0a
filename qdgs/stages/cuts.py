"""Where the groups end: given, or found on random samples that the teacher has labelled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qdgs.config import DatasetConfig, GroupConfig, JudgesConfig, group_names
from qdgs.datasets.cuts import Cut, calibrate_cut
from qdgs.datasets.groups import IN_GAP, assign_values, group_codes
from qdgs.datasets.shortage import PriorCounts
from qdgs.errors import InputError
from qdgs.parts import Device, load_judge
from qdgs.stages.bank import Bank
from qdgs.stages.judges import automatic_groups, check_attributes, teacher_of


@dataclass(frozen=True)
class Cuts:
    """Cut points of every grouped measure, ascending, and how the automatic ones were found."""

    points: dict[str, list[float]]
    calibrated: dict[str, list[dict[str, Any]]]


def settle_cuts(
    dataset: DatasetConfig, judges: JudgesConfig, bank: Bank, samples: pd.DataFrame, *, device: Device
) -> Cuts:
    """Cut points of every grouped measure.

    Args:
        dataset: Groups.
        judges: The teacher labels the samples; the gate, where there is no teacher.
        bank: Random samples.
        samples: Their measures by name, one row a sample.
        device: Where the teacher works.

    Raises:
        ConfigError: A cut is to be found and no teacher tells the attribute.
        InputError: The samples do not tell where to cut, or the cuts do not grow with the values.
    """
    automatic = automatic_groups(dataset)
    points = {name: list(group.cuts) for name, group in dataset.groups.items() if group.cuts is not None}
    if not automatic:
        return Cuts(points, {})
    name = teacher_of(judges)
    teacher = load_judge(name, device=device, role="teacher")
    check_attributes(automatic, teacher, name.who)
    labelled = bank.judged(teacher)
    calibrated: dict[str, list[dict[str, Any]]] = {}
    for measure, group in automatic.items():
        found = _calibrated(samples[measure].to_numpy(), labelled, measure, group)
        points[measure] = [cut.value for cut in found]
        told = {"teacher": name.who, "images": "random samples"}
        calibrated[measure] = [{**cut.to_json(), **told} for cut in found]
    return Cuts({measure: points[measure] for measure in dataset.groups}, calibrated)


def _calibrated(values: np.ndarray, labelled: pd.DataFrame, measure: str, group: GroupConfig) -> list[Cut]:
    """A cut between each value and the next: what lies below it against what lies above."""
    read = labelled[str(group.audit)].astype(object)
    kept = labelled["accepted"].to_numpy(bool) & read.isin(group.names).to_numpy()
    places = read[kept].map(list(group.names).index).to_numpy(dtype=np.int64)
    cuts = [
        calibrate_cut(
            values[kept],
            places > place,
            name=measure,
            values=(" or ".join(group.names[: place + 1]), " or ".join(group.names[place + 1 :])),
        )
        for place in range(len(group.names) - 1)
    ]
    found = [cut.value for cut in cuts]
    if found != sorted(set(found)):
        raise InputError(
            f"dataset.groups.{measure}.cut: expected cuts that grow with the values, got "
            f"{', '.join(f'{cut:.4g}' for cut in found)}; check the prompts, or give the cuts as numbers"
        )
    return cuts


def guide_values(samples: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts, measure: str) -> list[str | None]:
    """The value that the guide's measure gives each sample, None in a gap."""
    values = assign_values(samples, dataset, cuts.points)[:, list(dataset.groups).index(measure)]
    names = dataset.groups[measure].names
    return [None if code == IN_GAP else names[code] for code in values]


def guide_groups(samples: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts) -> list[str | None]:
    """The group that the guide's measures put each sample into, None in a gap."""
    names = group_names(dataset.groups)
    codes = group_codes(assign_values(samples, dataset, cuts.points), dataset)
    return [None if code == IN_GAP else names[code] for code in codes]


def prior_counts(samples: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts) -> PriorCounts:
    """How often random samples fall into each group, as the guide sees them."""
    counts = Counter(guide_groups(samples, dataset, cuts))
    return PriorCounts({name: counts[name] for name in group_names(dataset.groups)}, len(samples))
