"""One manifest out of several, with a target share in every group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.datasets.groups import exact_counts
from qdgs.datasets.manifest import latent_columns
from qdgs.errors import InputError

MERGED = "merge.json"
"""In the folder of a merged dataset: which runs it comes from."""
SOURCE, SOURCE_ID = "source", "source_id"
"""Columns of a merged manifest: the run that an image comes from, and its id there."""


def in_turns(manifests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All rows of all manifests, the sources taking turns within each group; columns `source`, `source_id`.

    Every source keeps its own order. Columns that a source does not have are missing there; identities get
    the number of their source, since those of two runs have nothing to do with each other.
    """
    parts = []
    for number, (source, rows) in enumerate(manifests.items()):
        part = rows.assign(source=source, source_id=rows["id"])
        if "identity" in part:
            part["identity"] = f"{number}-" + part["identity"]
        turn = part.groupby("group").cumcount()
        parts.append(part.assign(_turn=turn, _number=number))
    joined = pd.concat(parts, ignore_index=True)
    ordered = joined.sort_values(["_turn", "_number", "group"], kind="stable", ignore_index=True)
    return ordered.drop(columns=["_turn", "_number"])


def most_images(available: Mapping[str, int], target: Mapping[str, float]) -> int:
    """The largest number of images of which no group's share is more than it has."""
    limits = [available.get(name, 0) / share for name, share in target.items() if share > 0]
    images = int(min(limits) + 1e-9)
    # Largest remainders may ask a group for one image more than the floor of its share.
    while images and not _fits(exact_counts(target, images), available):
        images -= 1
    return images


def choose(
    candidates: pd.DataFrame, kept: NDArray[np.bool_], target: Mapping[str, float], images: int | None
) -> pd.DataFrame:
    """The first candidates of each group that are kept, as many as its share asks for.

    They are numbered so that every prefix has the groups in about their shares.

    Args:
        candidates: What `in_turns` gives.
        kept: Which of them may be taken, `(n,)`.
        target: Group → share.
        images: How many in all; None is as many as there can be.

    Raises:
        InputError: There are not so many, or none at all.
    """
    free = candidates[kept]
    available = {name: int((free["group"] == name).sum()) for name in target}
    most = most_images(available, target)
    if not most or (images or 0) > most:
        wanted = [name for name, share in target.items() if share > 0]
        scarce = min(wanted, key=lambda name: available[name] / target[name])
        raise InputError(
            f"--images: expected at most {most:,} for this target, got {images or 'no number'}: "
            f"group {scarce!r} has {available[scarce]:,} images in all; search for more, or change --target"
        )
    counts = exact_counts(target, images or most)
    parts = [free[free["group"] == name].head(count) for name, count in counts.items()]
    placed = [part.assign(_place=(np.arange(len(part)) + 0.5) / max(len(part), 1)) for part in parts]
    return pd.concat(placed).sort_values("_place", kind="stable", ignore_index=True).drop(columns="_place")


def renumbered(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows with new ids and files, columns in the order of a manifest."""
    width = max(6, len(str(len(chosen))))
    ids = [f"{number:0{width}d}" for number in range(len(chosen))]
    files = [f"train/{label}/{name}.png" for label, name in zip(chosen["label"], ids, strict=True)]
    rows = chosen.assign(id=ids, file=files)
    first = ["id", "file", "label", "group", SOURCE, SOURCE_ID]
    latents = latent_columns(rows)
    middle = [column for column in rows if column not in {*first, *latents}]
    return rows[[*first, *middle, *latents]]


def check_same_groups(metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse datasets whose groups or labels differ.

    Args:
        metadata: Source → what its manifest says of the whole.

    Raises:
        InputError: Names the first that differs, and in what.
    """
    (first, known), *others = metadata.items()
    for source, told in others:
        for key, what in (("values", "groups"), ("label", "the label")):
            if list_of(told[key]) != list_of(known[key]):
                raise InputError(
                    f"{source}: expected {what} of {first} ({_shown(known[key])}), got {_shown(told[key])}; "
                    "only datasets of the same groups and label can be merged"
                )


def list_of(value: Any) -> Any:
    """A mapping as pairs, whose order counts."""
    return list(value.items()) if isinstance(value, Mapping) else value


def _shown(value: Any) -> str:
    if not isinstance(value, Mapping):
        return repr(value)
    return "; ".join(f"{name}: {', '.join(names)}" for name, names in value.items())


def _fits(counts: Mapping[str, int], available: Mapping[str, int]) -> bool:
    return all(count <= available.get(name, 0) for name, count in counts.items())


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, later ones of those that are the same numbered."""
    given: list[str] = []
    for name in names:
        number, told = 2, name
        while told in given:
            told, number = f"{name}-{number}", number + 1
        given.append(told)
    return given
