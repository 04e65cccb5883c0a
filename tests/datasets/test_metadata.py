import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from qdgs.datasets.flatten import Flattened
from qdgs.datasets.metadata import label_names, metadata_table, write_metadata
from qdgs.errors import InputError


def test_labels_are_numbered_from_low_to_high(flattened: Flattened, metadata: dict[str, Any]) -> None:
    names = label_names(flattened.manifest, metadata)
    assert names == ["triangle", "square"]
    table = metadata_table(flattened.manifest, names)
    assert [names[number] for number in table["label"]] == list(flattened.manifest["label"])


def test_without_metadata_labels_are_sorted(flattened: Flattened) -> None:
    assert label_names(flattened.manifest, None) == ["square", "triangle"]


def test_it_holds_files_labels_groups_and_measures_but_no_latents(
    tmp_path: Path, flattened: Flattened
) -> None:
    write_metadata([flattened.manifest], tmp_path, ["triangle", "square"])
    table = pd.read_parquet(tmp_path / "train" / "metadata.parquet")
    assert list(table.columns[:4]) == ["file_name", "label", "id", "group"]
    assert {"group_tint", "tint", "form", "objective", "lineage"} < set(table.columns)
    assert not any(column.startswith("latent_") for column in table.columns)
    assert ("train/" + table["file_name"] == flattened.manifest["file"]).all()
    assert table["label"].dtype == "int64"


def test_the_schema_declares_the_class_label(tmp_path: Path, flattened: Flattened) -> None:
    write_metadata([flattened.manifest], tmp_path, ["triangle", "square"])
    schema = pq.read_schema(tmp_path / "train" / "metadata.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["label"] == {"_type": "ClassLabel", "names": ["triangle", "square"]}
    assert features["tint"] == {"_type": "Value", "dtype": "float32"}
    assert features["group"] == {"_type": "Value", "dtype": "string"}


def test_datasets_reads_the_class_label(tmp_path: Path, flattened: Flattened) -> None:
    features = pytest.importorskip("datasets").Features
    write_metadata([flattened.manifest], tmp_path, ["triangle", "square"])
    read = features.from_arrow_schema(pq.read_schema(tmp_path / "train" / "metadata.parquet"))
    assert read["label"].names == ["triangle", "square"]


def test_an_unknown_label_is_refused(flattened: Flattened) -> None:
    with pytest.raises(InputError, match=r"^manifest: expected labels among a, b, got square, triangle$"):
        metadata_table(flattened.manifest, ["a", "b"])
