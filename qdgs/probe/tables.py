"""Tables of a probe's folder, and its summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from qdgs.fairness.intervals import finite
from qdgs.probe.answers import Answers
from qdgs.probe.examine import Examined
from qdgs.probe.failures import Found
from qdgs.probe.pairs import PairEffect
from qdgs.probe_config import ProbeConfig


def groups_table(examined: Examined) -> pd.DataFrame:
    """The content of groups.csv: probe.csv, what was counted, and on how many images the model failed."""
    rows = [
        {
            "group": told.group,
            "images": told.images,
            "failed": told.failed,
            "error": told.error.value,
            "low": told.error.low,
            "high": told.error.high,
            "observed": told.observed.value,
            "observed_low": told.observed.low,
            "observed_high": told.observed.high,
        }
        for told in examined.groups
    ]
    return pd.DataFrame(rows)


def effects_table(examined: Examined) -> pd.DataFrame:
    """The content of effects.csv: every effect on all images, and of each attribute the one tested."""
    told = {
        (finding.effect.attribute, finding.effect.answer, finding.effect.low, finding.effect.high): finding
        for finding in examined.findings
    }
    rows = []
    for effect in examined.effects:
        finding = told.get((effect.attribute, effect.answer, effect.low, effect.high))
        rows.append(
            {
                "attribute": effect.attribute,
                "answer": effect.answer,
                "from": effect.low,
                "to": effect.high,
                "change": effect.change.value,
                "low": effect.change.low,
                "high": effect.change.high,
                "tested_change": finding.effect.change.value if finding else math.nan,
                "p": finding.p if finding else math.nan,
                "finding": finding.significant if finding else None,
            }
        )
    return pd.DataFrame(rows)


def summary_of(
    config: ProbeConfig,
    examined: Examined,
    pairs: Sequence[PairEffect],
    failures: Found | None,
    *,
    answers: Answers,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The content of summary.json."""
    cause, worst = examined.cause, examined.worst
    strongest = max(pairs, key=lambda pair: abs(np.nan_to_num(pair.change.value)), default=None)
    told: dict[str, Any] = {
        "model": config.model.who,
        "task": config.model.task,
        "images": len(answers),
        "failed": int(answers.failed.sum()),
        "error": examined.overall,
        "worst_group": worst.group,
        "worst_group_error": worst.error.value,
        "worst_group_error_low": worst.error.low,
        "worst_group_error_high": worst.error.high,
        "other_groups_error": worst.others.value,
        "cause": cause.effect.attribute if cause else None,
        "cause_change": cause.effect.change.value if cause else None,
        "cause_p": cause.p if cause else min((f.p for f in examined.findings), default=None),
        "margin": config.findings.margin,
        "pairs": sum(pair.kept for pair in pairs),
        "pairs_attribute": strongest.attribute if strongest else None,
        "pairs_flip_rate": strongest.flips.value if strongest else None,
    }
    if failures is not None:
        told |= failures.summary
    told["warnings"] = list(examined.warnings)
    told["notes"] = list(notes)
    result: dict[str, Any] = finite(told)
    return result
