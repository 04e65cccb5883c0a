"""A rendered dataset in the formats that people train on."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qdgs.datasets.manifest import read_manifest, write_failure
from qdgs.datasets.metadata import METADATA, label_names
from qdgs.errors import CorruptFileError, InputError, QdgsError
from qdgs.registry import nearest

SHARD_IMAGES = 10_000


def export(dataset: Path, out: Path, *, format: str, shard_images: int = SHARD_IMAGES) -> list[Path]:
    """Copy a rendered dataset into another format.

    - `imagefolder`: `train/<label>/<id>.png`, or by identity where the dataset is, with `metadata.parquet`
      and the card, for Hugging Face and for torchvision's ImageFolder.
    - `csv`: the same images and `index.csv`, one row an image, labels by number and by name.
    - `webdataset`: `train-000000.tar`, … with `<id>.png`, `<id>.cls` and `<id>.json`; the same bytes every
      time.

    Args:
        dataset: RUN/dataset.
        out: A folder that does not exist, or is empty; it appears whole or not at all.
        format: One of the above.
        shard_images: Images a shard of `webdataset`.

    Returns:
        The files written, relative to `out`, sorted.

    Raises:
        InputError: The format is unknown, or the dataset is not rendered.
        QdgsError: `out` cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format: unknown {format!r}{nearest(format, FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: expected a new or empty folder, got one that holds files; choose another")
    table = _read(dataset)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        FORMATS[format](dataset, temporary, table, shard_images)
        if (dataset / "README.md").is_file():
            shutil.copyfile(dataset / "README.md", temporary / "README.md")
        if out.exists():
            out.rmdir()
        temporary.replace(out)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise QdgsError(f"{out}: cannot be written: {write_failure(error)}; free some space") from None
    return sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())


def _read(dataset: Path) -> pd.DataFrame:
    """Rows of metadata.parquet with `label_name`, every image being there."""
    path = dataset / METADATA
    if not path.is_file():
        raise InputError(f"{path}: expected a rendered dataset, got no file; run qdgs render first")
    try:
        table: pd.DataFrame = pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (OSError, pa.ArrowException):
        raise CorruptFileError(f"{path}: cannot be read; run qdgs render again") from None
    manifest = read_manifest(dataset / "manifest.parquet")
    names = label_names(manifest.rows, manifest.metadata)
    missing = [file for file in table["file_name"] if not (dataset / "train" / file).is_file()]
    if missing:
        raise InputError(
            f"{dataset}: expected {len(table):,} images, got {len(table) - len(missing):,} "
            f"(train/{missing[0]} is missing); run qdgs render again"
        )
    table.insert(2, "label_name", [names[number] for number in table["label"]])
    return table


def _imagefolder(dataset: Path, out: Path, table: pd.DataFrame, shard_images: int) -> None:
    _copy_images(dataset, out, table)
    shutil.copyfile(dataset / METADATA, out / METADATA)


def _csv(dataset: Path, out: Path, table: pd.DataFrame, shard_images: int) -> None:
    _copy_images(dataset, out, table)
    files = ("train/" + table["file_name"]).rename("file")
    index = pd.concat([files, table.drop(columns="file_name")], axis=1)
    index.to_csv(out / "index.csv", index=False, lineterminator="\n")


def _webdataset(dataset: Path, out: Path, table: pd.DataFrame, shard_images: int) -> None:
    for shard, start in enumerate(range(0, len(table), shard_images)):
        # USTAR and fixed owners and times: the same dataset gives the same bytes.
        with tarfile.open(out / f"train-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in table.iloc[start : start + shard_images].to_dict("records"):
                _add(tar, f"{row['id']}.png", (dataset / "train" / row["file_name"]).read_bytes())
                _add(tar, f"{row['id']}.cls", str(row["label"]).encode())
                _add(tar, f"{row['id']}.json", json.dumps(row, sort_keys=True).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _copy_images(dataset: Path, out: Path, table: pd.DataFrame) -> None:
    for file in table["file_name"]:
        target = out / "train" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dataset / "train" / file, target)


FORMATS: Mapping[str, Callable[[Path, Path, pd.DataFrame, int], Any]] = {
    "csv": _csv,
    "imagefolder": _imagefolder,
    "webdataset": _webdataset,
}
