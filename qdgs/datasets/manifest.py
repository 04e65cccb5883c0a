"""The manifest: one row an image, and enough about generator and guide to render it again.

Columns: `id` ("000123"), `file` ("train/<label>/<id>.png"), `label` (value of the label measure), `group`
(values joined with "/"), `group_<measure>` a grouped measure, `cell`, `rank`, `objective`, the measures by
their names, `lineage`, and the latent as `latent_0000`, …

With identities also `identity` ("0012") and `offset`: 0 where the latent is the archive's own, else the
number of the offset that is in it. Laid out by identity, `file` is "train/<identity>/<id>.png".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qdgs.errors import CorruptFileError, InputError, QdgsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

KEY = b"qdgs"
ROW_GROUP = 16_384
"""Rows that are stored, and can be read, together."""

LAYOUTS = {"label": "labels", "identity": "identities"}
"""Columns that may name the folders of the images, and what many of them are called."""


class Manifest(NamedTuple):
    """A manifest as it is stored.

    Attributes:
        rows: One row an image.
        metadata: What `manifest_metadata` builds.
    """

    rows: pd.DataFrame
    metadata: dict[str, Any]


class StoredManifest:
    """A manifest that stays on disk and is read in parts, so that its length costs no memory.

    Args:
        path: The file.

    Attributes:
        metadata: What `manifest_metadata` builds.
        columns: Names of its columns.

    Raises:
        InputError: There is none.
        CorruptFileError: It is damaged, or is not a manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reading(path):
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self.metadata: dict[str, Any] = json.loads((self._file.schema_arrow.metadata or {})[KEY])
        self.columns: list[str] = self._file.schema_arrow.names
        groups = [self._file.metadata.row_group(index).num_rows for index in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *groups])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, start: int, stop: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows from `start` to `stop`, checked where all columns are read.

        Raises:
            CorruptFileError: They are damaged, or lead out of the dataset's folder.
        """
        groups = [
            group
            for group, first in enumerate(self._starts[:-1])
            if first < stop and self._starts[group + 1] > start
        ]
        with _reading(self.path):
            table = self._file.read_row_groups(groups, columns=columns)
        first = int(self._starts[groups[0]]) if groups else 0
        rows: pd.DataFrame = table.slice(start - first, stop - start).to_pandas()
        if columns is None:
            _check(self.path, rows, _layout(self.metadata))
        return rows

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """All rows, `ROW_GROUP` at a time."""
        for start in range(0, len(self), ROW_GROUP):
            yield self.rows(start, min(start + ROW_GROUP, len(self)), columns)


def manifest_metadata(
    *,
    generator: Mapping[str, Any],
    guide: Mapping[str, Any],
    label: str,
    values: Mapping[str, Sequence[str]],
    micro_batch: int,
    image_size: int,
    device: str,
    version: str,
    cuts: Mapping[str, Any] | None = None,
    judges: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    report: Mapping[str, Any] | None = None,
    license: str = "unknown",
    layout: str = "label",
) -> dict[str, Any]:
    """What a manifest says of the dataset as a whole; the dataset card is written from it.

    Args:
        generator: Name, options and the hash of its weights.
        guide: The guide's configuration: clip, objective, measures.
        label: The measure that labels the images.
        values: Grouped measure → its values from low to high.
        micro_batch: Rows rendered at once.
        image_size: Pixels a side.
        device: Kind of device that the pixels hold for, for instance "cpu".
        version: Version of qdgs.
        cuts: Grouped measure → its cut points, or what `Cut.to_json` gives for calibrated ones.
        judges: Role → name of the judge; under "shared", other role → which of the auditor's judges hold it.
        search: What is worth telling of the search, for instance algorithm and evaluations.
        report: What `FlattenReport.to_json` gives.
        license: Licence of the images, as Hugging Face spells it.
        layout: Column that names the folders of the images; told where it is not the label.
    """
    laid_out = {} if layout == "label" else {"layout": layout}
    return {
        "generator": dict(generator),
        "guide": dict(guide),
        "label": label,
        "values": {measure: list(names) for measure, names in values.items()},
        "micro_batch": micro_batch,
        "image_size": image_size,
        "device": device,
        "version": version,
        "cuts": dict(cuts or {}),
        "judges": dict(judges or {}),
        "search": dict(search or {}),
        "report": dict(report) if report is not None else None,
        "license": license,
        **laid_out,
    }


def latent_columns(rows: pd.DataFrame) -> list[str]:
    """Names of the latent's columns, in order."""
    return sorted(column for column in rows.columns if column.startswith("latent_"))


def latents_of(rows: pd.DataFrame, device: torch.device | str = "cpu") -> Tensor:
    """Latents `(n, latent_dim)`, float32."""
    import torch  # who only reads a table needs none

    return torch.tensor(rows[latent_columns(rows)].to_numpy("float32"), device=device)


def write_manifest(path: Path, rows: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Write a manifest; an earlier one is replaced only once this one is whole.

    Raises:
        QdgsError: The file cannot be written.
    """
    table = pa.Table.from_pandas(rows, preserve_index=False)
    schema = {**(table.schema.metadata or {}), KEY: json.dumps(metadata).encode()}
    write_parquet(path, table.replace_schema_metadata(schema))


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest.

    Raises:
        InputError: There is none.
        CorruptFileError: It is damaged, or is not a manifest.
    """
    path = Path(path)
    with _reading(path):
        table = pq.read_table(path, page_checksum_verification=True)
        metadata = json.loads((table.schema.metadata or {})[KEY])
    rows: pd.DataFrame = table.to_pandas()
    _check(path, rows, _layout(metadata))
    return Manifest(rows, metadata)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in one sentence what is wrong with a manifest that is read."""
    if not path.is_file():
        raise InputError(f"{path}: expected a manifest, got no file; run qdgs flatten first")
    try:
        yield
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise CorruptFileError(
            f"{path}: expected a manifest that qdgs wrote, got a damaged or foreign file "
            f"({_first_line(error)}); run qdgs flatten again"
        ) from None


def _layout(metadata: Any) -> str:
    return metadata.get("layout", "label") if isinstance(metadata, dict) else "label"


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table with page checksums beside its place, then move it there."""
    write_parts(path, table.schema, [table])


def write_parts(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema one after another into one file, as `write_parquet` does."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROW_GROUP)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise QdgsError(
            f"{path}: cannot be written: {write_failure(error)}; what was there before is kept"
        ) from None


def write_failure(error: OSError) -> str:
    """Why a file could not be written, in the system's few words."""
    return os.strerror(error.errno) if error.errno else _first_line(error)


def _check(path: Path, rows: pd.DataFrame, layout: str) -> None:
    if layout not in LAYOUTS:
        raise CorruptFileError(f"{path}: expected a layout among {', '.join(LAYOUTS)}, got {layout!r}")
    needed = dict.fromkeys(("id", "file", "label", "group", layout))
    missing = [column for column in needed if column not in rows]
    if missing or not latent_columns(rows):
        raise CorruptFileError(f"{path}: expected columns {', '.join(needed)} and latents, got no {missing}")
    if rows["id"].duplicated().any():
        raise CorruptFileError(f"{path}: expected distinct ids, got {rows['id'].duplicated().sum()} twice")
    # A manifest may come from elsewhere: its paths must not lead out of the dataset's folder.
    expected = "train/" + rows[layout] + "/" + rows["id"] + ".png"
    names = {name for column in (layout, "id") for name in rows[column].unique()}
    outside = any(name.strip(".") == "" or set(name) & set("/\\\0") for name in names)
    if outside or not (rows["file"] == expected).all():
        wrong = rows.loc[rows["file"] != expected, "file"]
        got = repr(wrong.iloc[0]) if len(wrong) else f"{LAYOUTS[layout]} or ids that are no plain names"
        raise CorruptFileError(f"{path}: expected files train/<{layout}>/<id>.png, got {got}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
