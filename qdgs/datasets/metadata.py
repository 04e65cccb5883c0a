"""`train/metadata.parquet`: what a trainer needs to know of each image, for Hugging Face's imagefolder."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from qdgs.datasets.manifest import latent_columns, write_parts
from qdgs.errors import InputError

METADATA = "train/metadata.parquet"


def label_names(manifest: pd.DataFrame, metadata: Mapping[str, Any] | None) -> list[str]:
    """Names of the label in the order of their numbers: from low to high where `metadata` tells."""
    if metadata is not None and "values" in metadata and "label" in metadata:
        return list(metadata["values"][metadata["label"]])
    return sorted(set(manifest["label"]))


def metadata_table(manifest: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """One row an image: file name, label as a number, id, groups, measures; no latents.

    Raises:
        InputError: An image has a label that is not among `labels`.
    """
    unknown = sorted(set(manifest["label"]) - set(labels))
    if unknown:
        raise InputError(f"manifest: expected labels among {', '.join(labels)}, got {', '.join(unknown)}")
    left_out = {"file", "label", *latent_columns(manifest)}
    numbers = manifest["label"].map({name: number for number, name in enumerate(labels)})
    table = manifest[[column for column in manifest.columns if column not in left_out]].copy()
    table.insert(0, "file_name", manifest["file"].str.removeprefix("train/"))
    table.insert(1, "label", numbers.astype("int64"))
    return table


def column_types(table: pd.DataFrame) -> dict[str, str]:
    """Column → its type as Hugging Face spells it."""
    return {
        column: "string" if pd.api.types.is_string_dtype(table[column]) else str(table[column].dtype)
        for column in table.columns
    }


def write_metadata(parts: Iterable[pd.DataFrame], root: Path, labels: Sequence[str]) -> None:
    """Write `train/metadata.parquet` of a manifest's rows, which may come in parts.

    Where it is there, folder names no longer count as labels for Hugging Face's `imagefolder`, and the
    card's features do not count for a local folder: the schema itself has to declare the ClassLabel.
    """
    tables = (metadata_arrow(metadata_table(part, labels), labels) for part in parts)
    first = next(tables)
    write_parts(root / METADATA, first.schema, chain([first], tables))


def metadata_arrow(frame: pd.DataFrame, labels: Sequence[str]) -> pa.Table:
    """A table of images as it is stored, with Hugging Face's features declared in its schema."""
    fields = [(name, pa.type_for_alias(dtype)) for name, dtype in column_types(frame).items()]
    declared = {b"huggingface": json.dumps({"info": {"features": declared_features(frame, labels)}}).encode()}
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    return table.replace_schema_metadata(declared)


def declared_features(frame: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """Hugging Face's features of a table of images; the label is a ClassLabel."""
    types = column_types(frame)
    features: dict[str, Any] = {name: {"_type": "Value", "dtype": dtype} for name, dtype in types.items()}
    features["label"] = {"_type": "ClassLabel", "names": list(labels)}
    return features
