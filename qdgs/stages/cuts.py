"""Where the groups end: given, or found on random samples that the teacher has labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qdgs.config import DatasetConfig, JudgesConfig, group_names
from qdgs.datasets.cuts import calibrate_cut
from qdgs.datasets.groups import IN_GAP, assign_values, group_codes
from qdgs.datasets.shortage import PriorCounts
from qdgs.parts import Device, load_judge
from qdgs.stages.bank import Bank
from qdgs.stages.judges import automatic_groups, check_attributes, teacher_of


@dataclass(frozen=True)
class Cuts:
    """Cut points of every grouped measure, ascending, and how the automatic ones were found."""

    points: dict[str, list[float]]
    calibrated: dict[str, dict[str, Any]]


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
        InputError: The samples do not tell where to cut.
    """
    automatic = automatic_groups(dataset)
    points = {name: list(group.cuts) for name, group in dataset.groups.items() if group.cuts is not None}
    if not automatic:
        return Cuts(points, {})
    name = teacher_of(judges)
    teacher = load_judge(name, device=device, role="teacher")
    check_attributes(automatic, teacher, name.name)
    labelled = bank.judged(teacher)
    calibrated = {}
    for measure, group in automatic.items():
        read = labelled[str(group.audit)].astype(object)
        kept = labelled["accepted"].to_numpy(bool) & read.isin(group.names).to_numpy()
        is_high = (read[kept] == group.names[1]).to_numpy(bool)
        values = (group.names[0], group.names[1])
        cut = calibrate_cut(samples[measure].to_numpy()[kept], is_high, name=measure, values=values)
        points[measure] = [cut.value]
        calibrated[measure] = {**cut.to_json(), "teacher": name.name, "images": "random samples"}
    return Cuts({measure: points[measure] for measure in dataset.groups}, calibrated)


def guide_values(samples: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts, measure: str) -> list[str | None]:
    """The value that the guide's measure gives each sample, None in a gap."""
    values = assign_values(samples, dataset, cuts.points)[:, list(dataset.groups).index(measure)]
    names = dataset.groups[measure].names
    return [None if code == IN_GAP else names[code] for code in values]


def prior_counts(samples: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts) -> PriorCounts:
    """How often random samples fall into each group, as the guide sees them."""
    codes = group_codes(assign_values(samples, dataset, cuts.points), dataset)
    names = group_names(dataset.groups)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return PriorCounts(dict(zip(names, counts.tolist(), strict=True)), len(samples))
