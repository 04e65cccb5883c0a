"""The numbers of a comparison: what tables call them, which way is better, and their means over seeds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from qdgs.fairness.classification import paired_interval
from qdgs.fairness.intervals import Estimate, proportion

SHOWN: Mapping[str, tuple[str, int]] = {
    "fairness_discrepancy": ("FD", -1),
    "corrected_fairness_discrepancy": ("FD corrected", -1),
    "fairness_discrepancy_ratio": ("FD / random's", -1),
    "kl": ("KL to target", -1),
    "normalized_entropy": ("entropy", 1),
    "max_share_error": ("max share error", -1),
    "smallest_group_share": ("smallest group", 1),
    "unreadable_share": ("unreadable", -1),
    "label_agreement": ("label agreement", 1),
    "judged_quality": ("quality", 1),
    "group_diversity_ratio": ("diversity", 1),
    "near_duplicates": ("near-duplicates", -1),
    "kernel_distance": ("KID (pixels)", -1),
    "mean_accuracy": ("mean accuracy", 1),
    "worst_group_accuracy": ("worst group", 1),
    "average_precision": ("AP", 1),
    "equal_opportunity_difference": ("DEO", -1),
    "bias_amplification": ("BA", 0),
    "score_divergence": ("KL of scores", -1),
}
"""Metric → its heading, and whether more is better (1), less is (−1) or near 0 is (0)."""

COSTS: Mapping[str, str] = {
    "generator_calls": "generator calls",
    "judge_labels": "judge labels",
    "guide_scores": "guide scores",
    "reference_images": "images brought",
    "trained_on": "trained on",
    "forwards": "forwards",
    "backwards": "backwards",
    "seconds": "seconds",
}
"""Cost → its heading; less is better."""

CORRECTED = "corrected_max_share_error"
BY_GROUP = "accuracy of "

PROPORTIONS = (
    "smallest_group_share", "unreadable_share", "label_agreement", "near_duplicates", "mean_accuracy",
    "worst_group_accuracy",
)  # fmt: skip
"""Shares of images, or means of shares: between 0 and 1."""

RELATIVE = ("fairness_discrepancy_ratio", "group_diversity_ratio", "near_duplicates")
"""Told relative to random samples of a method's own generator, so that two generators' do not compare."""

SIGNED = ("bias_amplification", "kernel_distance")
"""What may be below 0; its unbiased estimate, for the distance."""


def better(metric: str) -> int | None:
    """Whether more of a metric is better (1), less is (−1) or near 0 is (0); None where nobody can say."""
    if metric in SHOWN:
        return SHOWN[metric][1]
    if metric.startswith(BY_GROUP):
        return 1
    return -1 if metric in COSTS or metric == CORRECTED else None


def over_seeds(frame: pd.DataFrame, method: str, generator: str, metric: str) -> Estimate | None:
    """Mean over seeds with its interval: Student's for several, that of its images for one.

    Three things are seen to, since neither interval sees them. What is 0 or 1 in every seed has Wilson's
    interval of all tries together. A correction for a judge's errors rests on the same few known images in
    every seed, so that their doubt does not shrink with seeds: the mean of the seeds' own ends is within.
    Ends lie where the number can.
    """
    rows = _rows(frame, (method, generator), metric)
    if not len(rows):
        return None
    values = rows["value"].to_numpy(float)
    if _proportion(metric) and set(values) in ({0.0}, {1.0}):
        tries = _tries(frame, (method, generator), rows, metric)
        return proportion(round(values[0] * tries), tries)
    if len(rows) == 1:
        told = Estimate(float(values[0]), float(rows["low"].iloc[0]), float(rows["high"].iloc[0]))
    else:
        told = paired_interval(values, np.zeros_like(values))
        if metric.startswith("corrected_"):
            ends = min(told.low, float(rows["low"].mean())), max(told.high, float(rows["high"].mean()))
            told = Estimate(told.value, *ends)
    return told if metric in SIGNED else _within(told, 1.0 if _proportion(metric) else None)


def best_of(
    frame: pd.DataFrame, keys: Sequence[tuple[str, str]], metric: str, generator: str
) -> set[Hashable]:
    """The methods with their generators that are best at a metric: none where none is better than another.

    Where near 0 is better, the mean of the distances from 0 counts: +0.1 and −0.1 are not 0. Random samples
    of a method's own generator are a yardstick and never the best; of what is told relative to them the best
    is one of the methods that share `generator`, the comparison's.
    """
    sign = SHOWN[metric][1] if metric in SHOWN else None
    if sign is None:
        return set()
    if metric in RELATIVE:
        keys = [key for key in keys if key[1] == generator]
    keys = [key for key in keys if key[0] != "random" or key[1] == generator]
    values = {key: _rows(frame, key, metric)["value"] for key in keys}
    means = {
        key: -float(of.abs().mean()) if sign == 0 else sign * float(of.mean())
        for key, of in values.items()
        if len(of)
    }
    return {key for key, mean in means.items() if mean == max(means.values())}


def _tries(frame: pd.DataFrame, key: tuple[str, str], rows: pd.DataFrame, metric: str) -> int:
    """On how many images a share rests, in all seeds: of the worst group on those of a smallest one."""
    if metric == "worst_group_accuracy":
        mine = (frame["method"] == key[0]) & (frame["generator"] == key[1])
        groups = frame[mine & frame["metric"].str.startswith(BY_GROUP)]
        if len(groups):
            return int(groups.groupby("seed")["n"].min().sum())
    return int(rows["n"].sum())


def _proportion(metric: str) -> bool:
    return metric in PROPORTIONS or metric.startswith(BY_GROUP)


def _within(told: Estimate, most: float | None) -> Estimate:
    low, high = np.clip((told.low, told.high), min(0.0, told.value), most)
    return Estimate(told.value, float(low), float(high))


def number_text(value: float, name: str) -> str:
    """A metric's value as tables have it."""
    return f"{value:,.0f}" if name in COSTS else f"{value:.3f}"


def _rows(frame: pd.DataFrame, key: tuple[str, str], metric: str) -> pd.DataFrame:
    method, generator = key
    of = (frame["method"] == method) & (frame["generator"] == generator) & (frame["metric"] == metric)
    return frame[of]
