"""Which images a person is asked to label, in which order, and what about them."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qdgs.config import DatasetConfig, GroupConfig, group_names
from qdgs.datasets.manifest import latent_columns
from qdgs.files import read_json
from qdgs.randomness import Stream, stream

OFFERED = 600
ONE_CLICK = 9


@dataclass(frozen=True)
class Question:
    """What a person says of an image with one click.

    Attributes:
        text: What is asked.
        measures: The grouped measures that the answer settles.
        answers: Values of these measures, joined with "/".
    """

    text: str
    measures: tuple[str, ...]
    answers: tuple[str, ...]


def questions(dataset: DatasetConfig) -> list[Question]:
    """One question for the group where there are few groups, else one for each grouped measure."""
    asked = asked_groups(dataset)
    names = group_names(asked)
    if len(names) <= ONE_CLICK:
        return [Question("What does this image show?", tuple(asked), tuple(names))]
    return [Question(f"{name}?", (name,), group.names) for name, group in asked.items()]


def asked_groups(dataset: DatasetConfig) -> dict[str, GroupConfig]:
    """The measures that a person is asked for: those that are audited, or all where none is."""
    audited = {name: group for name, group in dataset.groups.items() if group.audit}
    return audited or dataset.groups


def offered(manifest: pd.DataFrame, seed: int, images: int = OFFERED) -> list[int]:
    """Rows of the manifest in the order in which they are offered, stratified by group.

    Within a group the order is random; groups take turns in proportion to their size, so that the first n
    are a proportionally stratified random sample for every n. The image k of a group of N_h has the place
    (k − u)/N_h with u one uniform number a group, and places are ordered.

    Args:
        manifest: One row an image, with its `group`.
        seed: The run's.
        images: How many, at most.
    """
    rng = stream(seed, Stream.LABELLING)
    places = np.empty(len(manifest))
    for _, rows in sorted(manifest.reset_index(drop=True).groupby("group").indices.items()):
        turns = rng.permutation(len(rows)) + rng.uniform()
        places[rows] = turns / len(rows)
    return [int(row) for row in np.argsort(places, kind="stable")[:images]]


def read_certificate(path: Path, manifest: pd.DataFrame | None) -> dict[str, Any] | None:
    """What a person's labels say of a dataset; None where there are none, or they are of an earlier one."""
    if manifest is None or not path.exists():
        return None
    told = read_json(path)
    return told if told.get("dataset") == dataset_key(manifest) else None


def dataset_key(manifest: pd.DataFrame) -> str:
    """SHA-256 of which images a dataset holds: labels belong to the dataset that they were given to."""
    known = manifest[["id", "group", *latent_columns(manifest)]]
    return sha256(pd.util.hash_pandas_object(known, index=False).to_numpy().tobytes()).hexdigest()
