from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from qdgs.datasets.flatten import Flattened
from qdgs.datasets.manifest import StoredManifest, latents_of, read_manifest, write_manifest
from qdgs.errors import CorruptFileError, InputError, QdgsError


def test_a_manifest_comes_back_as_it_was_written(
    stored: Path, flattened: Flattened, metadata: dict[str, Any]
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    pd.testing.assert_frame_equal(rows, flattened.manifest)
    assert told == metadata
    assert list(told["values"]) == ["tint", "form"]  # order is part of the meaning


def test_pandas_reads_it_without_us(stored: Path, flattened: Flattened) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(stored / "manifest.parquet"), flattened.manifest)


def test_equal_manifests_are_equal_files(
    tmp_path: Path, stored: Path, flattened: Flattened, metadata: dict[str, Any]
) -> None:
    write_manifest(tmp_path / "again.parquet", flattened.manifest, metadata)
    assert (tmp_path / "again.parquet").read_bytes() == (stored / "manifest.parquet").read_bytes()


def test_latents_are_the_columns_in_order(flattened: Flattened) -> None:
    latents = latents_of(flattened.manifest)
    assert latents.dtype == torch.float32
    assert latents.shape == (50, 3)
    assert latents[:, 2].tolist() == flattened.manifest["latent_0002"].tolist()


def test_no_manifest_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a manifest, got no file; run qdgs flatten first$"):
        read_manifest(tmp_path / "manifest.parquet")


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9])
def test_a_truncated_manifest_is_named(stored: Path, keep: float) -> None:
    path = stored / "manifest.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(CorruptFileError, match=r"manifest\.parquet: expected a manifest") as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_noticed(stored: Path) -> None:
    path = stored / "manifest.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 4] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError, match=r"manifest\.parquet: expected"):
        read_manifest(path)


def test_a_foreign_parquet_file_is_no_manifest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "manifest.parquet")
    with pytest.raises(CorruptFileError, match="damaged or foreign"):
        read_manifest(tmp_path / "manifest.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../outside.png"}, "expected files train/<label>/<id>.png"),
        ({"file": "train/../000000.png", "label": ".."}, "expected files train/<label>/<id>.png"),
        ({"id": "000001"}, "expected distinct ids"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(
    tmp_path: Path, flattened: Flattened, metadata: dict[str, Any], change: dict[str, str], message: str
) -> None:
    rows = flattened.manifest.copy()
    for column, value in change.items():
        rows.loc[0, column] = value
    write_manifest(tmp_path / "manifest.parquet", rows, metadata)
    with pytest.raises(CorruptFileError, match=message):
        read_manifest(tmp_path / "manifest.parquet")


def test_a_missing_column_is_named(tmp_path: Path, flattened: Flattened, metadata: dict[str, Any]) -> None:
    write_manifest(tmp_path / "manifest.parquet", flattened.manifest.drop(columns="group"), metadata)
    with pytest.raises(CorruptFileError, match="group"):
        read_manifest(tmp_path / "manifest.parquet")


def test_a_failed_write_keeps_the_earlier_manifest(
    stored: Path,
    flattened: Flattened,
    metadata: dict[str, Any],
    full_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    path = stored / "manifest.parquet"
    before = path.read_bytes()
    with (
        full_disk(),
        pytest.raises(QdgsError, match=r"cannot be written: .*; what was there before is kept$"),
    ):
        write_manifest(path, flattened.manifest.iloc[:3], metadata)
    assert path.read_bytes() == before
    assert [file.name for file in stored.iterdir()] == ["manifest.parquet"]


def test_a_manifest_that_stays_on_disk_gives_the_same_rows_in_parts(
    tmp_path: Path, flattened: Flattened, metadata: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdgs.datasets.manifest.ROW_GROUP", 16)
    write_manifest(tmp_path / "manifest.parquet", flattened.manifest, metadata)
    whole = read_manifest(tmp_path / "manifest.parquet")
    stored = StoredManifest(tmp_path / "manifest.parquet")
    assert (len(stored), stored.metadata) == (len(whole.rows), whole.metadata)
    for start, stop in ((0, 50), (0, 1), (10, 20), (15, 17), (16, 32), (40, 50), (50, 50)):
        expected = whole.rows.iloc[start:stop].reset_index(drop=True)
        pd.testing.assert_frame_equal(stored.rows(start, stop), expected)
    assert [len(part) for part in stored.parts(["id"])] == [16, 16, 16, 2]


def test_rows_that_lead_out_of_the_folder_are_refused_in_parts_too(
    tmp_path: Path, flattened: Flattened, metadata: dict[str, Any]
) -> None:
    rows = flattened.manifest.copy()
    rows.loc[30, "file"] = "train/../../elsewhere.png"
    write_manifest(tmp_path / "manifest.parquet", rows, metadata)
    stored = StoredManifest(tmp_path / "manifest.parquet")
    assert len(stored.rows(0, 30)) == 30
    with pytest.raises(CorruptFileError, match=r"expected files train/<label>/<id>.png, got"):
        stored.rows(16, 48)
