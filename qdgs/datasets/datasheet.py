"""A datasheet: why a dataset was made, what is in it, how it was made, and what for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from qdgs.datasets.limits import limits

FILE = "DATASHEET.md"


def datasheet_text(
    table: pd.DataFrame, metadata: Mapping[str, Any], shares: Mapping[str, float], *, title: str
) -> str:
    """The datasheet as Markdown.

    Args:
        table: One row an image, with its `group`, `label_name` and `split`.
        metadata: The manifest's.
        shares: Split → its share.
        title: Name of the dataset.

    References:
        Gebru et al. (2021), Datasheets for Datasets: its seven sections; the words are ours.
    """
    sections = {
        "Motivation": _motivation(metadata),
        "Composition": _composition(table, metadata, shares),
        "Collection": _collection(metadata),
        "Preprocessing and labelling": _labelling(metadata),
        "Uses": limits(metadata),
        "Distribution": [
            f"Licence: {metadata.get('license') or 'unknown'}. The generator's own licence and terms hold as "
            "well."
        ],
        "Maintenance": [
            "Nobody is named as a maintainer by the tool that wrote this; whoever publishes the set fills in "
            "a contact here.",
            "Where `manifest.parquet` is published with it, the images can be made again from their latents.",
        ],
    }
    parts = [f"# Datasheet: {title}"]
    parts += [f"## {heading}\n\n{_told(text)}" for heading, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _told(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "\n".join(f"- {line}" for line in text)


def _motivation(metadata: Mapping[str, Any]) -> list[str]:
    return [
        f"The generator {metadata['generator'].get('name', 'unknown')} draws some groups of "
        f"{' × '.join(metadata['values'])} far more often than others. This set has every group in its "
        "share, to train classifiers and to study bias."
    ]


def _composition(table: pd.DataFrame, metadata: Mapping[str, Any], shares: Mapping[str, float]) -> list[str]:
    size = metadata["image_size"]
    lines = [
        f"{len(table):,} synthetic images of {size}×{size} pixels; no photographs.",
        f"Label `{metadata['label']}`: {_counts(table['label_name'])}.",
        f"Groups: {_counts(table['group'])}.",
    ]
    if len(shares) > 1:
        parts = ", ".join(f"{name} {count:,}" for name, count in table["split"].value_counts().items())
        lines.append(f"Splits, stratified by group: {parts}.")
        if "identity" in table:
            lines.append("All images of one identity are in one split.")
    return lines


def _counts(values: pd.Series[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(values.value_counts().items()))


def _collection(metadata: Mapping[str, Any]) -> list[str]:
    search = metadata.get("search") or {}
    told = ", ".join(f"{key} {value}" for key, value in search.items())
    return [
        "Nothing was collected from people. A quality-diversity search over the generator's latents "
        f"({told or 'settings unknown'}) filled an archive, and the images are its best solutions.",
        f"Written by qdgs {metadata['version']}.",
    ]


def _labelling(metadata: Mapping[str, Any]) -> list[str]:
    judges = metadata.get("judges") or {}
    named = [f"{role} `{judges[role]}`" for role in ("teacher", "gate", "auditor") if judges.get(role)]
    return [
        "Groups and labels come from the measures of a guide, a vision-language model, and cut points on "
        "them; no person labelled the images, unless the dataset card has a certificate.",
        f"Judges: {', '.join(named)}." if named else "No judge read the images.",
    ]
