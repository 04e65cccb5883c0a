"""What a comparison says of the endpoints that its configuration names."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from qdgs.compare_config import ARMS, CompareConfig, EndpointConfig
from qdgs.compare_metrics import better
from qdgs.fairness.classification import paired_interval
from qdgs.fairness.intervals import Estimate

GATED = ("rejection", "qdgs", "qdgs-gradient")
"""Samplers whose images the gate chooses."""

FAMILIES = (("qdgs", "qdgs-gradient"), ("fairtl", "fairtl++"))
"""Variants of one method: none is the other's best rival."""


def endpoint_sentences(frame: pd.DataFrame, config: CompareConfig) -> list[str]:
    """What the comparison says of each endpoint, a sentence each.

    Random samples of a method's own generator are nobody's rival, and arms without generated images are left
    out: where one of them is the best of all, a sentence says so.
    """
    names = {method.title: method.name for method in config.methods}
    own = frame["method"].eq("random") & frame["generator"].ne(config.run.generator.name)
    frame = frame[frame["method"].isin({*names, *ARMS}) & ~own]
    return [sentence for endpoint in config.endpoints for sentence in _endpoint(frame, endpoint, names)]


def verdict(room: float, least: float) -> str:
    """What is said of an endpoint.

    Args:
        room: How far the mean is on the right side.
        least: The same of the worse end of its interval, NaN where it has none.
    """
    if math.isnan(least):
        return ("holds" if room >= 0 else "does not hold") + " on this one seed, which settles nothing"
    if least >= 0:
        return "holds"
    return "holds in the mean, the interval does not settle it" if room >= 0 else "does not hold"


def _endpoint(frame: pd.DataFrame, endpoint: EndpointConfig, names: Mapping[str, str]) -> list[str]:
    sign = better(endpoint.metric)
    values = frame[frame["metric"] == endpoint.metric]
    table = values.pivot(index="seed", columns="method", values="value")
    if not sign:  # near 0 is better
        table, sign = table.abs(), -1
    methods = table.drop(columns=[name for name in table if name in ARMS])
    if endpoint.method not in methods:
        return [f"{endpoint.metric}: {endpoint.method} has no value"]
    if endpoint.at_most is not None:
        return [_bounded(methods[endpoint.method].dropna(), endpoint, endpoint.at_most)]
    rivals = _rivals(methods, endpoint, sign, names)
    told = [_against(methods, endpoint, rival, sign) for rival in rivals]
    if endpoint.against == "best":
        told += _arms_ahead(table, endpoint, sign)
    return told or [f"{endpoint.metric}: nothing to compare {endpoint.method} with"]


def _bounded(values: pd.Series, endpoint: EndpointConfig, bound: float) -> str:
    found = paired_interval(values, np.zeros(len(values)))
    return (
        f"{endpoint.metric}: {endpoint.method} has {found.value:.3f}{_ends(found, '.3f')}, "
        f"wanted at most {bound:g}: {verdict(bound - found.value, bound - found.high)}"
    )


def _rivals(table: pd.DataFrame, endpoint: EndpointConfig, sign: int, names: Mapping[str, str]) -> list[str]:
    """Whom an endpoint is told against; `names` are the methods' own by their titles."""
    others = [str(name) for name in table if name != endpoint.method and table[name].notna().any()]
    if endpoint.against == "best":
        own = names.get(endpoint.method, endpoint.method)
        family = next((family for family in FAMILIES if own in family), ())
        others = [name for name in others if names.get(name) not in family]
        return [max(others, key=lambda name: sign * table[name].mean())] if others else []
    if endpoint.against == "ungated":
        return [name for name in others if names.get(name) not in GATED]
    return [name for name in others if name == endpoint.against]


def _against(table: pd.DataFrame, endpoint: EndpointConfig, rival: str, sign: int) -> str:
    both = table[[endpoint.method, rival]].dropna()
    if not len(both):
        return f"{endpoint.metric}: {endpoint.method} and {rival} have no seed in common"
    ours, theirs = (sign * both[name].to_numpy(float) for name in both)
    gain = paired_interval(ours, theirs)
    said = verdict(gain.value + endpoint.margin, gain.low + endpoint.margin)
    return (
        f"{endpoint.metric}: {endpoint.method} is better than {rival} by {gain.value:+.3f}"
        f"{_ends(gain, '+.3f')}, wanted at least {0 - endpoint.margin:g}: {said}"
    )


def _arms_ahead(table: pd.DataFrame, endpoint: EndpointConfig, sign: int) -> list[str]:
    """Which arms without generated images are better in the mean; balanced drawings are the ceiling."""
    means = sign * table.mean()
    ahead = [
        f"{name} ({sign * means[name]:.3f})"
        for name in means.index
        if name in ARMS and name != "drawn" and means[name] > means[endpoint.method]
    ]
    if not ahead:
        return []
    return [f"{endpoint.metric}: without generated images better than {endpoint.method}: {', '.join(ahead)}"]


def _ends(estimate: Estimate, form: str) -> str:
    if math.isnan(estimate.low):
        return ""
    half = (estimate.high - estimate.low) / 2
    return f" ({estimate.low:{form}} to {estimate.high:{form}}, half-width {half:.3f})"
