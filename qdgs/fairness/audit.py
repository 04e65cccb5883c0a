"""The auditor's report: what a dataset holds, beside as many random samples of the same generator."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from qdgs.config import DatasetConfig, GroupConfig, group_names, target_shares
from qdgs.errors import InputError
from qdgs.fairness.correction import CorrectedShares, corrected_shares
from qdgs.fairness.diversity import (
    GroupDiversity,
    group_diversity_ratio,
    kernel_bandwidth,
    near_duplicates,
)
from qdgs.fairness.intervals import LEVEL, RESAMPLES, Array, Estimate, finite, proportion
from qdgs.fairness.shares import GroupShares, group_shares

_SHARE_KEYS = ("normalized_entropy", "smallest_group_share", "max_share_error", "fairness_discrepancy")


@dataclass(frozen=True, eq=False)
class JudgedImages:
    """Images as the auditor sees them.

    Attributes:
        judged: The auditor's rows (see `qdgs.judges.base.Judge.judge`), `(n, …)`.
        embeddings: Pixel embeddings `(n, embedding_dim)`.
        labels: The label of each image as the dataset, or the guide, gives it; missing where it gives none,
            None where there are no labels at all.
    """

    judged: pd.DataFrame
    embeddings: Array
    labels: Sequence[str | None] | pd.Series | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.judged), len(self.embeddings)}
        if self.labels is not None:
            lengths.add(len(self.labels))
        if len(lengths) > 1:
            raise InputError(
                "audit: expected a judge's row, an embedding and a label for each image, "
                f"got different numbers of them: {sorted(lengths)}"
            )

    def __len__(self) -> int:
        return len(self.judged)

    def head(self, n: int) -> JudgedImages:
        """The first n images."""
        labels = None if self.labels is None else pd.Series(self.labels, dtype=object).iloc[:n]
        return JudgedImages(self.judged.iloc[:n], self.embeddings[:n], labels)


@dataclass(frozen=True)
class SetAudit:
    """What the auditor says of one set of images.

    Attributes:
        shares: Groups as it reads them.
        label_agreement: Share of the labelled images whose label it confirms; an image that it cannot read
            counts against. NaN where the label is not audited.
        corrected: The shares after the correction for its own errors, where its confusion is known.
    """

    shares: GroupShares
    label_agreement: Estimate
    corrected: CorrectedShares | None


@dataclass(frozen=True)
class AuditResult:
    """A dataset beside as many random samples of the same generator.

    Attributes:
        attributes: Measure → the judged attribute that answers to it, None where none does.
        dataset: The dataset.
        random: The random samples.
        diversity: Vendi scores by group, the set's over random samples'.
        near_duplicates: Share of the set's images that are near-duplicates of another.
        notes: What a reader has to know beside the numbers, a sentence each.
    """

    attributes: Mapping[str, str | None]
    dataset: SetAudit
    random: SetAudit
    diversity: GroupDiversity
    near_duplicates: float
    notes: tuple[str, ...]

    def summary(self) -> dict[str, float | None]:
        """The auditor's keys of summary.json; None where there is nothing to tell a number from."""
        numbers = {"label_agreement": self.dataset.label_agreement.value}
        numbers |= {key: getattr(self.dataset.shares, key).value for key in _SHARE_KEYS}
        numbers["unreadable_share"] = self.dataset.shares.unreadable_share.value
        corrected = self.dataset.corrected
        numbers["corrected_max_share_error"] = corrected.max_share_error.value if corrected else math.nan
        numbers["group_diversity_ratio"] = self.diversity.ratio
        numbers["near_duplicates"] = self.near_duplicates
        numbers["random_label_agreement"] = self.random.label_agreement.value
        numbers |= {f"random_{key}": getattr(self.random.shares, key).value for key in _SHARE_KEYS}
        return {key: finite(value) for key, value in numbers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, in plain types that JSON has."""
        whole: dict[str, Any] = finite({"summary": self.summary()} | asdict(self))
        return whole

    def to_json(self) -> str:
        """Everything, as the text of audit.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_frame(self) -> pd.DataFrame:
        """One row a group, the columns of audit.csv.

        `group, target, count, share, share_low, share_high`, and `random_` + each of the last four. The
        interval is Wilson's, of the share as read.
        """
        frame = pd.DataFrame(
            {"group": list(self.dataset.shares.groups), "target": list(self.dataset.shares.targets)}
        )
        for prefix, shares in (("", self.dataset.shares), ("random_", self.random.shares)):
            frame[f"{prefix}count"] = list(shares.counts)
            frame[f"{prefix}share"] = list(shares.shares)
            frame[f"{prefix}share_low"] = list(shares.low)
            frame[f"{prefix}share_high"] = list(shares.high)
        return frame


def audit(
    images: JudgedImages,
    random_samples: JudgedImages,
    dataset: DatasetConfig,
    rng: np.random.Generator,
    *,
    bank: JudgedImages | None = None,
    confusion: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> AuditResult:
    """Compare a dataset with as many random samples, by what the auditor reads off both.

    Groups are combinations of the audited measures' values; targets are summed over measures that no
    attribute answers to. An image is readable where the auditor accepts it and tells each audited attribute
    as one of the groups' values.

    Args:
        images: The dataset's images, labelled by the dataset.
        random_samples: At least as many random samples, labelled by the guide; the first as many count.
        dataset: Groups, target and label.
        rng: Source of resamples and draws.
        bank: Further random samples, for the diversity of rare groups and the kernel's bandwidth; without
            one the random samples serve.
        confusion: Counts of groups as read (columns) by known group (rows) on images of known group, for the
            correction of the auditor's errors.
        notes: Further sentences for the reader, for instance that judges share a model.
        resamples: Bootstrap resamples.
        level: Coverage of the intervals.

    Raises:
        InputError: No image, too few random samples, no audited measure, or frames that do not hold what
            the configuration names.
    """
    _check_sets(images, random_samples)
    random_samples = random_samples.head(len(images))
    reference = bank or random_samples
    audited, targets = audited_groups(dataset), audited_targets(dataset)
    groups = [read_groups(which.judged, audited) for which in (images, random_samples, reference)]
    _check_values([images, random_samples, reference], audited)
    count = _Counting(dataset, targets, confusion, rng, resamples, level)
    of_dataset, of_random = count(images, groups[0]), count(random_samples, groups[1])
    wanted = [name for name, share in targets.items() if share > 0]  # of the others nothing was asked
    diversity = group_diversity_ratio(
        _by_group(images.embeddings, groups[0], wanted),
        _by_group(reference.embeddings, groups[2], wanted),
        kernel_bandwidth(reference.embeddings),
        rng,
    )
    return AuditResult(
        attributes={name: group.audit for name, group in dataset.groups.items()},
        dataset=of_dataset,
        random=of_random,
        diversity=diversity,
        near_duplicates=near_duplicates(images.embeddings, random_samples.embeddings),
        notes=(*notes, *_notes(dataset, of_dataset, of_random, diversity)),
    )


@dataclass(frozen=True, eq=False)
class _Counting:
    dataset: DatasetConfig
    targets: Mapping[str, float]
    confusion: pd.DataFrame | None
    rng: np.random.Generator
    resamples: int
    level: float

    def __call__(self, images: JudgedImages, groups: pd.Series) -> SetAudit:
        options: dict[str, Any] = {"resamples": self.resamples, "level": self.level}
        shares = group_shares(groups, self.targets, self.rng, **options)
        corrected = None
        if self.confusion is not None:
            corrected = corrected_shares(shares, self.confusion, self.rng, **options)
        return SetAudit(shares, label_agreement(images, self.dataset, self.level), corrected)


def audited_groups(dataset: DatasetConfig) -> dict[str, GroupConfig]:
    """The measures that a judged attribute answers to.

    Raises:
        InputError: There is none.
    """
    audited = {name: group for name, group in dataset.groups.items() if group.audit is not None}
    if not audited:
        raise InputError("dataset.groups: expected at least one group with `audit: ATTRIBUTE`, got none")
    return audited


def audited_targets(dataset: DatasetConfig) -> dict[str, float]:
    """Audited group → share that it is to have, summed over the measures that are not audited."""
    audited = audited_groups(dataset)
    kept = [position for position, name in enumerate(dataset.groups) if name in audited]
    targets = dict.fromkeys(group_names(audited), 0.0)
    for name, share in target_shares(dataset).items():
        values = name.split("/")
        targets["/".join(values[position] for position in kept)] += share
    return targets


def read_groups(judged: pd.DataFrame, groups: Mapping[str, GroupConfig]) -> pd.Series:
    """The group of each image as the auditor reads it, missing where it cannot.

    Args:
        judged: The auditor's rows.
        groups: The audited measures.

    Raises:
        InputError: The auditor does not tell an attribute.
    """
    read = pd.Series([""] * len(judged), dtype=object)
    readable = _column(judged, "accepted").to_numpy(dtype=bool)
    for group in groups.values():
        values = _column(judged, str(group.audit)).astype(object).reset_index(drop=True)
        readable = readable & values.isin(group.names).to_numpy()
        read = read + "/" + values.where(readable, "").astype(str)
    return read.str[1:].astype(object).where(readable, None)


def label_agreement(images: JudgedImages, dataset: DatasetConfig, level: float = LEVEL) -> Estimate:
    """Share of the labelled images whose label the auditor confirms, with its Wilson interval.

    An image that it does not accept, or whose label's attribute it cannot tell, counts against.
    """
    attribute = dataset.groups[dataset.label].audit
    if attribute is None or images.labels is None:
        return Estimate(math.nan)
    labels = pd.Series(images.labels, dtype=object).reset_index(drop=True)
    read = _column(images.judged, attribute).astype(object).reset_index(drop=True)
    accepted = _column(images.judged, "accepted").to_numpy(dtype=bool)
    labelled = labels.notna().to_numpy()
    confirmed = accepted & labelled & (labels == read).fillna(False).to_numpy(dtype=bool)
    return proportion(int(confirmed.sum()), int(labelled.sum()), level)


def _by_group(embeddings: Array, groups: pd.Series, names: Sequence[str]) -> dict[str, Array]:
    return {name: embeddings[(groups == name).to_numpy(dtype=bool)] for name in names}


def _column(judged: pd.DataFrame, name: str) -> pd.Series:
    if name not in judged.columns:
        raise InputError(f"auditor: expected a column {name!r}, got {', '.join(map(str, judged.columns))}")
    return judged[name]


def _check_sets(images: JudgedImages, random_samples: JudgedImages) -> None:
    if not len(images):
        raise InputError("audit: expected at least one image, got none")
    if len(random_samples) < len(images):
        raise InputError(
            f"audit: expected at least as many random samples as images ({len(images)}), "
            f"got {len(random_samples)}"
        )


def _check_values(sets: Sequence[JudgedImages], groups: Mapping[str, GroupConfig]) -> None:
    for name, group in groups.items():
        told = pd.concat([which.judged[str(group.audit)].dropna().astype(str) for which in sets])
        if len(told) and not told.isin(group.names).any():
            raise InputError(
                f"dataset.groups.{name}: expected values that the auditor gives for {group.audit!r} "
                f"({', '.join(sorted(told.unique()))}), got {', '.join(group.names)}"
            )


def _notes(
    dataset: DatasetConfig, of_dataset: SetAudit, of_random: SetAudit, diversity: GroupDiversity
) -> list[str]:
    notes = [
        f"No judge audits {name!r}: groups are counted without it."
        for name, group in dataset.groups.items()
        if group.audit is None
    ]
    if of_dataset.corrected is None:
        notes.append(
            "The auditor's own errors on images of known group were not given: nothing is corrected."
        )
    notes += [
        f"None of {of_random.shares.images} random samples is read as {group}: "
        f"at most {3 / of_random.shares.images:.2g} of all are (95 %)."
        for group, count in zip(of_random.shares.groups, of_random.shares.counts, strict=True)
        if count == 0
    ]
    notes += [f"Diversity leaves {group} out: {why}." for group, why in diversity.left_out.items()]
    return notes
