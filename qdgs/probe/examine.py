"""What a model's answers on a balanced set say: errors by group, differences, effects, findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame
from numpy.typing import NDArray

from qdgs.fairness.intervals import RESAMPLES, percentile_interval
from qdgs.probe.answers import FOUND, Answers
from qdgs.probe.effects import Effect, Finding, effects, findings
from qdgs.probe.errors import Confusion, GroupError, WorstGroup, group_errors, worst_group
from qdgs.probe.samples import HALF, ProbeSet
from qdgs.probe_config import FindingsConfig

Codes = NDArray[np.int64]
ALL = "all"
DISPARITIES = [
    *("attribute", "metric", "overall", "least", "most"),
    *("difference", "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high"),
]


@dataclass(frozen=True, eq=False)
class Examined:
    """What a model's answers say.

    Attributes:
        groups: Errors of every group.
        worst: The worst of them.
        disparities: By attribute and metric: overall, least, most, difference and ratio, with intervals.
        effects: How far every attribute moves every answer, on all images.
        findings: The largest effect of each attribute, chosen on one half, told and tested on the other.
        overall: Share of wrong answers, every group counting the same.
        warnings: What makes the numbers say less than they seem to.
    """

    groups: list[GroupError]
    worst: WorstGroup
    disparities: pd.DataFrame
    effects: list[Effect]
    findings: list[Finding]
    overall: float
    warnings: tuple[str, ...]

    @property
    def cause(self) -> Finding | None:
        """The attribute that moves the model most, where one moves it by more than the margin."""
        return next((finding for finding in self.findings if finding.significant), None)

    @property
    def probe_table(self) -> pd.DataFrame:
        """The content of probe.csv: `group, n, error, low, high`; empty where a group has too few answers."""
        rows = [
            (told.group, told.answered, told.error.value, told.error.low, told.error.high)
            for told in self.groups
        ]
        return pd.DataFrame(rows, columns=["group", "n", "error", "low", "high"])


def right_answers(
    probe_set: ProbeSet, values: Sequence[str], attribute: str | None, right: Codes | None = None
) -> tuple[Codes, Codes]:
    """Position of the right answer, of each group `(K,)` and of each image `(n,)`.

    Args:
        probe_set: The images.
        values: The answers.
        attribute: What a classifier is to tell; of a detector None: everything is to be found.
        right: That of each group, where it is known otherwise.
    """
    if right is not None:
        return right.astype(np.int64), right[probe_set.codes].astype(np.int64)
    if attribute is None:
        of_group = np.full(len(probe_set.groups), list(values).index(FOUND))
    else:
        place = list(probe_set.attributes).index(attribute)
        of_group = np.array([list(values).index(name.split("/")[place]) for name in probe_set.groups])
    return of_group.astype(np.int64), of_group[probe_set.codes].astype(np.int64)


def examine(
    answers: Answers,
    probe_set: ProbeSet,
    rng: np.random.Generator,
    *,
    attribute: str | None,
    settings: FindingsConfig,
    confusion: Confusion | None = None,
    prior: Codes | None = None,
    right: Codes | None = None,
) -> Examined:
    """Everything that the answers to a balanced set say.

    Args:
        answers: One an image of the set.
        probe_set: The images.
        rng: Source of the resamples.
        attribute: What a classifier is to tell; None of a detector.
        settings: What counts as a finding.
        confusion: How the judge reads images of known group, where that is known.
        prior: How often each group is read in random samples `(K,)`.
        right: The right answer of each group `(K,)`, where the answers are neither values of the attribute
            nor a detector's; effects are then told of the right answer alone.
    """
    of_group, truth = right_answers(probe_set, answers.values, attribute, right)
    level = 1 - settings.level
    groups = group_errors(
        probe_set.groups,
        probe_set.codes,
        answers.given,
        of_group,
        len(answers.values),
        rng,
        confusion=confusion,
        prior=prior,
        smallest=settings.smallest,
        level=level,
    )
    wrong = answers.given != truth
    halves = probe_set.rows[HALF].to_numpy(np.int64)
    causes = [name for name in probe_set.attributes if name != attribute]
    told_of = answers.values if right is None else ()
    whole = _effects(answers, told_of, probe_set, truth, causes, level, None)
    first, second = (
        _effects(answers, told_of, probe_set, truth, causes, level, halves == half) for half in (0, 1)
    )
    known = [told.error.value for told in groups if not math.isnan(told.error.value)]
    return Examined(
        groups=groups,
        worst=worst_group(
            probe_set.groups,
            probe_set.codes,
            halves,
            wrong,
            ~answers.failed,
            smallest=settings.smallest,
            level=level,
        ),
        disparities=disparities(answers, truth, probe_set, causes, rng, told_of=told_of, level=level),
        effects=whole,
        findings=findings(first, second, margin=settings.margin, level=settings.level),
        overall=float(np.mean(known)) if known else math.nan,
        warnings=tuple(_warnings(answers, wrong, groups, whole, settings)),
    )


def disparities(
    answers: Answers,
    truth: Codes,
    probe_set: ProbeSet,
    causes: Sequence[str],
    rng: np.random.Generator,
    *,
    told_of: Sequence[str],
    level: float,
) -> pd.DataFrame:
    """Difference and ratio of the error and of how often each answer is given, by attribute and over groups.

    Fairlearn's MetricFrame counts them; intervals are percentiles over resamples of images within groups. Of
    two answers the second is told, as the first mirrors it.

    Args:
        answers: One an image.
        truth: The right ones `(n,)`.
        probe_set: The images.
        causes: Attributes that should not matter; the groups of all attributes are told as "all".
        rng: Source of the resamples.
        told_of: Answers whose shares are told beside the error.
        level: Coverage.
    """
    there = ~answers.failed
    given, rows = answers.given[there], probe_set.rows[there]
    told = [(at, name) for at, name in enumerate(answers.values) if name in told_of]
    told = told[1:] if len(answers.values) == 2 else told
    counted = {"error": given != truth[there], **{f"answers {name}": given == at for at, name in told}}
    columns = {**{name: f"group_{name}" for name in causes}, ALL: "group"}
    frames = [
        _disparity(name, rows[column], counted, rng, level)
        for name, column in columns.items()
        if rows[column].nunique() > 1
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=DISPARITIES)


def _disparity(
    attribute: str,
    features: pd.Series,
    counted: Mapping[str, NDArray[np.bool_]],
    rng: np.random.Generator,
    level: float,
) -> pd.DataFrame:
    rows = []
    for metric, hits in counted.items():
        frame = MetricFrame(
            metrics=lambda _, hit: float(np.mean(hit)),
            y_true=hits,
            y_pred=hits,
            sensitive_features=features.rename(attribute),
        )
        sizes = features.value_counts().reindex(frame.by_group.index).to_numpy(np.int64)
        shares = frame.by_group.to_numpy(np.float64)
        drawn = rng.binomial(sizes, shares, size=(RESAMPLES, len(sizes))) / sizes
        least, most = drawn.min(axis=1), drawn.max(axis=1)
        ratios = np.divide(least, most, out=np.ones(RESAMPLES), where=most > 0)
        difference = percentile_interval(float(frame.difference()), most - least, level)
        ratio = percentile_interval(float(frame.ratio()), ratios, level)
        rows.append(
            [
                attribute,
                metric,
                float(frame.overall),
                float(frame.group_min()),
                float(frame.group_max()),
                *(difference.value, difference.low, difference.high),
                *(ratio.value, ratio.low, ratio.high),
            ]
        )
    return pd.DataFrame(rows, columns=DISPARITIES)


def _effects(
    answers: Answers,
    told_of: Sequence[str],
    probe_set: ProbeSet,
    truth: Codes,
    causes: Sequence[str],
    level: float,
    rows: NDArray[np.bool_] | None,
) -> list[Effect]:
    places: Mapping[str, Codes] = {name: probe_set.places(name) for name in probe_set.attributes}
    return effects(
        answers.probabilities,
        answers.values,
        truth,
        places,
        probe_set.attributes,
        causes,
        rows,
        told_of=told_of,
        level=level,
    )


def _warnings(
    answers: Answers,
    wrong: NDArray[np.bool_],
    groups: Sequence[GroupError],
    whole: Sequence[Effect],
    settings: FindingsConfig,
) -> list[str]:
    told = []
    if answers.only is not None and wrong.any():
        alike = ", with the same probability" if answers.constant else ""
        told.append(
            f"The model gives the answer {answers.only} to every image{alike}: its errors by group tell "
            "that, and nothing of the groups."
        )
    for group in groups:
        if math.isnan(group.error.value):
            told.append(
                f"{group.group} has {group.answered:,} answered images, fewer than the {settings.smallest} "
                "that an interval takes: nothing is said of it."
            )
    for reason, count in list(answers.failures.items())[:5]:
        told.append(f"The model failed on {count:,} of {len(answers):,} images: {reason}.")
    for name in dict.fromkeys(effect.attribute for effect in whole if effect.missing):
        missing = max(effect.missing for effect in whole if effect.attribute == name)
        told.append(f"Of {name} {missing} comparisons between groups are left out: too few images.")
    return told


def failed_ids(answers: Answers, probe_set: ProbeSet) -> pd.DataFrame:
    """The images that the model failed on: `id`, `group`, `reason`."""
    failed = answers.failed
    told = probe_set.rows.loc[failed, ["id", "group"]].reset_index(drop=True)
    return told.assign(reason=answers.reasons[failed])
