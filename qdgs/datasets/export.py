"""A rendered dataset in the formats that people train on."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qdgs.datasets import croissant as cr
from qdgs.datasets.datasheet import FILE as DATASHEET
from qdgs.datasets.datasheet import datasheet_text
from qdgs.datasets.manifest import read_manifest, write_failure
from qdgs.datasets.metadata import METADATA, declared_features, label_names, metadata_arrow
from qdgs.datasets.published_card import published_card
from qdgs.datasets.splits import WHOLE, assign_splits
from qdgs.errors import CorruptFileError, InputError, QdgsError
from qdgs.registry import nearest

SHARD_IMAGES = 10_000
SHARD_BYTES = 10**9
ROW_GROUP = 100
TOLD = 256
"""Images after which a watcher is told."""


@dataclass(frozen=True)
class Source:
    """A rendered dataset on its way out.

    Attributes:
        folder: RUN/dataset.
        out: The new folder.
        table: One row an image: metadata.parquet with `label_name` and `split`.
        labels: Names of the label in the order of their numbers.
        shard_images: Images a shard, at most.
        shard_bytes: Bytes a shard, at most, unless one image has more.
        taken: Called for every image that goes out.
    """

    folder: Path
    out: Path
    table: pd.DataFrame
    labels: list[str]
    shard_images: int
    shard_bytes: int
    taken: Callable[[], None]

    def image(self, row: Mapping[Hashable, Any]) -> bytes:
        """The PNG of a row."""
        self.taken()
        return Path(self.folder, "train", row["file_name"]).read_bytes()

    def splits(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Name and rows of every split that has images, in the order of the images."""
        for split in dict.fromkeys(self.table["split"]):
            yield split, self.table[self.table["split"] == split]

    def shards(self, rows: pd.DataFrame, overhead: int) -> list[pd.DataFrame]:
        """Rows in parts that hold to the limits, `overhead` bytes an image beside the PNG."""
        sizes = [(self.folder / "train" / file).stat().st_size + overhead for file in rows["file_name"]]
        starts, images, size = [0], 0, 0
        for place, bytes_ in enumerate(sizes):
            if images and (images == self.shard_images or size + bytes_ > self.shard_bytes):
                starts.append(place)
                images, size = 0, 0
            images, size = images + 1, size + bytes_
        return [rows.iloc[start:end] for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)]


def export(
    dataset: Path,
    out: Path,
    *,
    format: str,
    splits: Mapping[str, float] = WHOLE,
    seed: int = 0,
    shard_images: int = SHARD_IMAGES,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Copy a rendered dataset into another format.

    - `imagefolder`: `<split>/<label>/<id>.png`, or by identity where the dataset is, with a
      `metadata.parquet` a split, for Hugging Face and for torchvision's ImageFolder.
    - `csv`: the same images and `index.csv`, one row an image, labels by number and by name.
    - `parquet`: `data/<split>-00000-of-0000N.parquet` with the bytes of the images, for Hugging Face and
      pandas.
    - `webdataset`: `<split>-000000.tar`, … with `<id>.png`, `<id>.cls` and `<id>.json`, and `rows.parquet`.

    Beside them the dataset card, a datasheet and Croissant metadata. The same dataset gives the same bytes
    every time.

    Args:
        dataset: RUN/dataset.
        out: A folder that does not exist, or is empty; it appears whole or not at all.
        format: One of the above.
        splits: Split → share, stratified by group.
        seed: Of the splits.
        shard_images: Images a shard of `webdataset` or `parquet`.
        shard_bytes: Bytes of such a shard.
        progress: Called now and then with images that went out and images in all.

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
    table, metadata, labels = _read(dataset)
    table["split"] = assign_splits(table, splits, np.random.default_rng(seed))
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        count = _Count(len(table), progress)
        source = Source(dataset, temporary, table, labels, shard_images, shard_bytes, count)
        FORMATS[format].write(source)
        _write_documents(source, metadata, splits, format)
        if out.exists():
            out.rmdir()
        temporary.replace(out)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise QdgsError(f"{out}: cannot be written: {write_failure(error)}; free some space") from None
    return sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())


class _Count:
    """Counts images as they go out, and tells now and then."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def __call__(self) -> None:
        self._done += 1
        if self._progress is not None and (self._done % TOLD == 0 or self._done == self._total):
            self._progress(self._done, self._total)


def _read(dataset: Path) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Rows of metadata.parquet with `label_name`; what the manifest says of all; names of the label."""
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
    return table, manifest.metadata, names


def _write_documents(
    source: Source, metadata: Mapping[str, Any], splits: Mapping[str, float], format: str
) -> None:
    """Card, datasheet and Croissant metadata."""
    card = source.folder / "README.md"
    title = f"{' × '.join(metadata['values'])}, balanced"
    if card.is_file():
        data_files = FORMATS[format].data_files
        patterns = (
            {split: data_files.format(split=split) for split, _ in source.splits()} if data_files else {}
        )
        text = published_card(
            card.read_text(encoding="utf-8"),
            patterns,
            columns=FORMATS[format].declared,
            use=FORMATS[format].use,
        )
        (source.out / "README.md").write_text(text, encoding="utf-8")
    sheet = datasheet_text(source.table, metadata, splits, title=title)
    (source.out / DATASHEET).write_text(sheet, encoding="utf-8")
    described = cr.croissant(
        FORMATS[format].columns(source.table), metadata, FORMATS[format].resources(source), title=title
    )
    (source.out / cr.FILE).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _imagefolder(source: Source) -> None:
    _copy_images(source)
    for split, rows in source.splits():
        # What tells of the folder's name and what repeats the label stays out, as in the dataset itself.
        table = metadata_arrow(rows.drop(columns=["label_name", "split"]), source.labels)
        pq.write_table(table, source.out / split / "metadata.parquet", write_page_checksum=True)


def _csv(source: Source) -> None:
    _copy_images(source)
    files = (source.table["split"] + "/" + source.table["file_name"]).rename("file")
    index = pd.concat([files, source.table.drop(columns="file_name")], axis=1)
    index.to_csv(source.out / "index.csv", index=False, lineterminator="\n")


def _parquet(source: Source) -> None:
    (source.out / "data").mkdir()
    columns = source.table.drop(columns=["file_name", "split"])
    schema = _image_schema(columns, source.labels)
    for split, rows in source.splits():
        shards = source.shards(rows, overhead=0)
        for number, shard in enumerate(shards):
            path = source.out / "data" / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
            with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
                for start in range(0, len(shard), ROW_GROUP):
                    writer.write_table(_with_images(source, shard.iloc[start : start + ROW_GROUP], schema))


def _image_schema(columns: pd.DataFrame, labels: list[str]) -> pa.Schema:
    """Hugging Face's features of a table that holds its images."""
    features = {"image": {"_type": "Image"}, **declared_features(columns, labels)}
    fields = metadata_arrow(columns, labels).schema
    image = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    declared = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return pa.schema([image, *fields], metadata=declared)


def _with_images(source: Source, rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    images = [{"bytes": source.image(row), "path": f"{row['id']}.png"} for row in rows.to_dict("records")]
    columns = rows.drop(columns=["file_name", "split"])
    table = pa.Table.from_pandas(columns, schema=pa.schema(list(schema)[1:]), preserve_index=False)
    return table.add_column(0, schema.field("image"), pa.array(images, schema.field("image").type)).cast(
        schema
    )


def _webdataset(source: Source) -> None:
    for split, rows in source.splits():
        for number, shard in enumerate(source.shards(rows, overhead=4096)):
            # USTAR and fixed owners and times: the same dataset gives the same bytes.
            path = source.out / f"{split}-{number:06d}.tar"
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for row in shard.to_dict("records"):
                    _add(tar, f"{row['id']}.png", source.image(row))
                    _add(tar, f"{row['id']}.cls", str(row["label"]).encode())
                    _add(tar, f"{row['id']}.json", json.dumps(row, sort_keys=True).encode())
    # The same rows as a table, since Croissant cannot look into the JSON of an archive.
    pq.write_table(metadata_arrow(source.table, source.labels), source.out / "rows.parquet")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _copy_images(source: Source) -> None:
    for split, file in zip(source.table["split"], source.table["file_name"], strict=True):
        target = source.out / split / file
        target.parent.mkdir(parents=True, exist_ok=True)
        source.taken()
        shutil.copyfile(source.folder / "train" / file, target)


def _folder_resources(source: Source) -> cr.Resources:
    images = cr.file_set("image-files", [f"{split}/*.png" for split, _ in source.splits()], cr.PNG)
    tables = cr.file_set("tables", [f"{split}/metadata.parquet" for split, _ in source.splits()], cr.PARQUET)
    return cr.Resources(
        [images, tables],
        {"fileSet": {"@id": "tables"}},
        _of_image("fileProperty", "content"),
        (_of_image("fileProperty", "fullpath", r"^(?:[^/]+/)??([^/]+/[^/]+)$"), "file_name"),
    )


def _csv_resources(source: Source) -> cr.Resources:
    images = cr.file_set("image-files", [f"{split}/*.png" for split, _ in source.splits()], cr.PNG)
    index = cr.file_object(source.out / "index.csv", source.out, cr.CSV)
    table = {"fileObject": {"@id": index["@id"]}}
    # A reader of CSV takes 000123 for a number; the file's name keeps its zeros.
    named = {**table, "extract": {"column": "file"}, "transform": {"regex": r"^.*/([^/]+)\.png$"}}
    return cr.Resources(
        [images, index],
        table,
        _of_image("fileProperty", "content"),
        (_of_image("fileProperty", "fullpath", r"^(.+)$"), "file"),
        named,
    )


def _parquet_resources(source: Source) -> cr.Resources:
    files = cr.file_set("tables", ["data/*.parquet"], cr.PARQUET)
    table = {"fileSet": {"@id": "tables"}}
    return cr.Resources(
        [files], table, {**table, "extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}
    )


def _webdataset_resources(source: Source) -> cr.Resources:
    tars = [cr.file_object(path, source.out, cr.TAR) for path in sorted(source.out.glob("*.tar"))]
    names = [tar["@id"] for tar in tars]
    images = cr.file_set("image-files", ["*.png"], cr.PNG, names)
    table = cr.file_object(source.out / "rows.parquet", source.out, cr.PARQUET)
    return cr.Resources(
        [*tars, images, table],
        {"fileObject": {"@id": table["@id"]}},
        _of_image("fileProperty", "content"),
        (_of_image("fileProperty", "filename", r"^(.+?)(?:\.png)?$"), "id"),
    )


def _of_image(kind: str, what: str, regex: str | None = None) -> dict[str, Any]:
    """Source of something of an image's file. A regex is applied to its own result too."""
    source = {"fileSet": {"@id": "image-files"}, "extract": {kind: what}}
    return source if regex is None else {**source, "transform": {"regex": regex}}


def _all_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table


def _without_split(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="split")


def _metadata_alone(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["label_name", "split"])


@dataclass(frozen=True)
class Format:
    """A format to export into.

    Attributes:
        write: Writes images and tables.
        resources: Describes them for Croissant.
        columns: What of the table is in them.
        data_files: Where a split's files are, for Hugging Face; empty where it cannot read them by itself.
        use: How to read it, in Python.
        declared: Columns that it has beside those that the card declares; None where it declares its own.
    """

    write: Callable[[Source], None]
    resources: Callable[[Source], cr.Resources]
    columns: Callable[[pd.DataFrame], pd.DataFrame]
    data_files: str
    use: str
    declared: tuple[str, ...] | None = None


_LOAD = """\
from datasets import load_dataset

images = load_dataset("DATASET", split="train")  # the folder of this card
"""
FORMATS: Mapping[str, Format] = {
    "csv": Format(
        _csv,
        _csv_resources,
        _all_columns,
        "",
        'import pandas as pd\n\nrows = pd.read_csv("DATASET/index.csv", dtype={"id": str})  # column file\n',
    ),
    "imagefolder": Format(_imagefolder, _folder_resources, _metadata_alone, "{split}/**", _LOAD, ()),
    "parquet": Format(
        _parquet, _parquet_resources, _without_split, "data/{split}-*.parquet", _LOAD, ("label_name",)
    ),
    "webdataset": Format(
        _webdataset,
        _webdataset_resources,
        _all_columns,
        "{split}-*.tar",
        "import webdataset\n\n"
        'images = webdataset.WebDataset("DATASET/train-000000.tar").decode("pil")  # keys png, cls, json\n',
    ),
}
