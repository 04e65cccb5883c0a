"""A balance certificate: group shares of a judged dataset, corrected by the labels of a person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdgs.errors import InputError
from qdgs.fairness.intervals import (
    LEVEL,
    RESAMPLES,
    Array,
    Estimate,
    finite,
    percentile_interval,
    proportion,
)
from qdgs.fairness.shares import check_targets, normalize, share_numbers

Codes = NDArray[np.int64]
CANNOT_TELL = -1


@dataclass(frozen=True, eq=False)
class Labels:
    """What a person says of some images of a dataset.

    Attributes:
        rows: Positions of the labelled images in the dataset `(n,)`, each once.
        groups: Position of the group that the person sees `(n,)`, −1 where they cannot tell.
    """

    rows: Codes
    groups: Codes


@dataclass(frozen=True)
class Certificate:
    """Shares of groups after the correction by a person's labels; intervals hold what is still unknown.

    Shares are over the images in which a person can tell the group.

    Attributes:
        groups: Names.
        targets: Share that each group was to have.
        read: Share of each group as the judge reads it, over the images that it can read; None without one.
        shares: Corrected share of each group.
        unreadable_share: Share of images in which a person cannot tell the group.
        max_share_error: Over the groups that have a target above 0; so is the next.
        smallest_group_share: The smallest corrected share.
        fairness_discrepancy: ‖p̂ − p‖₂.
        images: Images of the dataset.
        labelled: How many of them a person labelled.
        judge_agreement: Share of images of which the person says what the judge says; NaN without a judge.
        worst_group: The group that is farthest from its target, relative to it.
        more_to_halve: Further labels that halve the intervals.
    """

    groups: tuple[str, ...]
    targets: tuple[float, ...]
    read: tuple[float, ...] | None
    shares: tuple[Estimate, ...]
    unreadable_share: Estimate
    max_share_error: Estimate
    smallest_group_share: Estimate
    fairness_discrepancy: Estimate
    images: int
    labelled: int
    judge_agreement: Estimate
    worst_group: str
    more_to_halve: int

    def to_dict(self) -> dict[str, Any]:
        """The content of certificate.json, in plain types: one entry a group, and the numbers of all."""
        plain = asdict(self)
        read = self.read or [None] * len(self.groups)
        columns = zip(self.groups, self.targets, read, plain["shares"], strict=True)
        groups = [dict(zip(("group", "target", "read", "share"), row, strict=True)) for row in columns]
        for key in ("targets", "read", "shares"):
            del plain[key]
        told: dict[str, Any] = finite(plain | {"groups": groups})
        return told


def certify(
    labels: Labels,
    strata: Codes,
    read: Codes | None,
    targets: Mapping[str, float],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Certificate:
    """Correct the shares that a judge counted by a person's labels of a stratified random sample.

    The judge has read all N images; of the N_r that it reads as r a person sees the share θ_rk as k, which
    the labels tell: p_k = Σ_r N_r/N θ_rk. Labels are weighted by N_h/n_h of their stratum h. This is the
    post-stratified form of a prediction-powered estimate: a judge that is often right makes the intervals
    narrow, one that is often wrong makes them wide, and neither makes them false.

    An interval holds the posterior draws of what was not labelled: θ_r from the Dirichlet posterior of the
    weighted counts, under a prior that weighs one image in all, and the unlabelled images of r from the
    multinomial of θ_r. A dataset that is labelled whole has intervals without width. The estimate itself
    uses the bare counts; where nothing that is read as r was labelled, the judge is believed.

    Args:
        labels: The person's.
        strata: Group of each image `(N,)` by which the labelled images were drawn, at random within each.
        read: Group of each image as the judge reads it `(N,)`, −1 where it cannot; None without a judge.
        targets: Group → share.
        rng: Source of the draws.
        resamples: How many.
        level: Coverage of the intervals.

    Raises:
        InputError: There are no labels, or none tells a group.

    References:
        Angelopoulos et al. (2023), Prediction-powered inference; Cochran (1977), Sampling Techniques,
        section 5A (post-stratification); Teo, Abdollahzadeh and Cheung (2023), CLEAM.
    """
    check_targets(targets)
    if not (labels.groups >= 0).any():
        raise InputError("labels: expected at least one image whose group a person can tell, got none")
    names, p = tuple(targets), np.array(list(targets.values()))
    seen = _Seen(labels, strata, np.zeros_like(strata) if read is None else read + 1, len(names))
    estimate, draws = seen.estimate(), seen.draws(rng, resamples)
    shares, drawn = normalize(estimate[:-1]), normalize(draws[:, :-1])
    told = [percentile_interval(float(shares[k]), drawn[:, k], level) for k in range(len(names))]
    numbers, drawn_numbers = share_numbers(shares, p), share_numbers(drawn, p)
    worst = _worst(shares, p)
    return Certificate(
        groups=names,
        targets=tuple(p.tolist()),
        read=None if read is None else tuple(_read_shares(read, len(names)).tolist()),
        shares=tuple(told),
        unreadable_share=percentile_interval(float(estimate[-1]), draws[:, -1], level),
        images=len(strata),
        labelled=len(labels.rows),
        judge_agreement=Estimate(math.nan) if read is None else seen.agreement(labels, read),
        worst_group=names[worst],
        more_to_halve=more_to_halve(len(labels.rows), len(strata)),
        **{
            name: percentile_interval(float(numbers[name]), drawn_numbers[name], level)
            for name in ("max_share_error", "smallest_group_share", "fairness_discrepancy")
        },
    )


def more_to_halve(labelled: int, images: int) -> int:
    """Further labels that make an interval half as wide.

    The variance of a share falls as 1/n − 1/N, so a quarter of it is at 1/n' = (1/n + 3/N)/4.

    Args:
        labelled: n.
        images: N.
    """
    needed = math.ceil(4 / (1 / labelled + 3 / images) - 1e-9)
    return min(needed, images) - labelled


def labeller(told: Mapping[str, Any]) -> str:
    """Who labelled, by what a file of labels or a certificate says as `labelled_by`; else a person."""
    name = told.get("labelled_by")
    return name if isinstance(name, str) and name.strip() else "a person"


def certificate_sentences(certificate: Mapping[str, Any]) -> list[str]:
    """What a certificate says beside its table, from the content of certificate.json."""
    worst = next(row for row in certificate["groups"] if row["group"] == certificate["worst_group"])
    error = certificate["max_share_error"]
    lines = [
        f"The worst group, {worst['group']}, has {_spread(worst['share'])} of the set; "
        f"{worst['target']:.1%} were asked for. The largest error of a share is {_spread(error)} of its "
        "target.",
        f"In {_spread(certificate['unreadable_share'])} of the images the group could not be told.",
    ]
    if certificate["judge_agreement"]["value"] is not None:
        lines.append(
            f"Labels and judge say the same of {_spread(certificate['judge_agreement'])} of the images."
        )
    more = certificate["more_to_halve"]
    if more:
        lines.append(f"{more:,} further labels would make the intervals half as wide.")
    return lines


def certificate_lines(certificate: Mapping[str, Any]) -> list[str]:
    """The table of a certificate and its sentences, for a terminal."""
    width = max(len(row["group"]) for row in certificate["groups"])
    rows = [
        f"{row['group']:<{width}}  asked {row['target']:6.1%}  corrected {_spread(row['share'])}"
        for row in certificate["groups"]
    ]
    return [*rows, *certificate_sentences(certificate)]


def _spread(estimate: Mapping[str, float]) -> str:
    if estimate["low"] is None:
        return f"{estimate['value']:.1%}"
    return f"{estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%})"


class _Seen:
    """Labels counted by reading: rows are what the judge reads (0: cannot), columns what a person sees."""

    def __init__(self, labels: Labels, strata: Codes, reading: Codes, groups: int) -> None:
        self.images = np.bincount(reading, minlength=groups + 1)
        self.counts = np.zeros((groups + 1, groups + 1))
        self.weighted = np.zeros_like(self.counts)
        self.weights = _weights(strata, labels.rows)
        seen = np.where(labels.groups < 0, groups, labels.groups)
        np.add.at(self.counts, (reading[labels.rows], seen), 1.0)
        np.add.at(self.weighted, (reading[labels.rows], seen), self.weights)

    def estimate(self) -> Array:
        """Share of each group, and in the last place of images that a person cannot tell."""
        theta = normalize(self.weighted)
        believed = np.roll(np.eye(len(theta)), 1, axis=0)
        theta = np.where(np.isnan(theta), believed, theta)
        shares: Array = self.images @ theta / self.images.sum()
        return shares

    def draws(self, rng: np.random.Generator, resamples: int) -> Array:
        """The same, `(resamples, groups + 1)`, drawn from what the labels leave open."""
        alpha = self.weighted + 1 / len(self.weighted)
        theta = normalize(rng.standard_gamma(alpha, size=(resamples, *alpha.shape)))
        unlabelled = (self.images - self.counts.sum(axis=1)).astype(np.int64)
        drawn = rng.multinomial(unlabelled, theta).sum(axis=1)
        shares: Array = (self.counts.sum(axis=0) + drawn) / self.images.sum()
        return shares

    def agreement(self, labels: Labels, read: Codes) -> Estimate:
        """Share of the images of which person and judge say the same, with Wilson's interval."""
        same = labels.groups == read[labels.rows]
        return proportion(int(same.sum()), len(same))


def _weights(strata: Codes, rows: Codes) -> Array:
    """N_h/n_h of each labelled image, scaled to a mean of 1."""
    size = np.bincount(strata)
    drawn = np.bincount(strata[rows], minlength=len(size))
    weights = size[strata[rows]] / drawn[strata[rows]]
    scaled: Array = weights / weights.mean()
    return scaled


def _read_shares(read: Codes, groups: int) -> Array:
    shares: Array = normalize(np.bincount(read[read >= 0], minlength=groups))
    return shares


def _worst(shares: Array, targets: Array) -> int:
    wanted = targets > 0
    error = np.where(wanted, np.abs(shares - targets) / np.where(wanted, targets, 1), -1.0)
    return int(np.argmax(error))


def read_labels(content: Any, *, dataset: str, offered: Sequence[str]) -> list[Mapping[str, str | None]]:
    """Values that a person gave, in the order in which the images were offered.

    Args:
        content: What a labels file holds.
        dataset: Key of the dataset that the labels must be of.
        offered: Ids of its images in the order in which they are offered.

    Raises:
        InputError: The file is not one of labels, is of another dataset, or leaves images out.
    """
    if not isinstance(content, dict) or content.get("kind") != "qdgs-labels":
        raise InputError("expected a file of labels saved by the report's page, got something else")
    if content.get("dataset") != dataset:
        raise InputError(
            "expected labels of this run's dataset, got those of another; label it in its report"
        )
    labels = content.get("labels")
    if not isinstance(labels, list) or not labels:
        raise InputError("expected at least one label, got none; label some images in the report first")
    given = []
    for place, label in enumerate(labels):
        expected = offered[place] if place < len(offered) else "no more"
        if (
            not isinstance(label, dict)
            or label.get("id") != expected
            or not isinstance(label.get("values"), dict)
        ):
            got = label.get("id") if isinstance(label, dict) else label
            raise InputError(
                f"labels.{place}: expected image {expected}, as the report offers them, got {got!r}; a "
                "sample that leaves images out proves nothing"
            )
        given.append(label["values"])
    return given
