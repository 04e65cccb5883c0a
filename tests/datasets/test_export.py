import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from qdgs.datasets.card import write_card
from qdgs.datasets.export import FORMATS, export
from qdgs.datasets.manifest import read_manifest
from qdgs.datasets.render import render
from qdgs.errors import CorruptFileError, InputError, QdgsError

Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def rendered(stored: Path, generator: Any) -> Path:
    rows, metadata = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=metadata)
    write_card(stored / "README.md", rows, metadata)
    return stored


def test_imagefolder_is_the_dataset_without_its_manifest(
    rendered: Path, tmp_path: Path, contents: Contents
) -> None:
    written = export(rendered, tmp_path / "out", format="imagefolder")
    expected = {file: bytes_ for file, bytes_ in contents(rendered).items() if file.startswith("train/")}
    found = contents(tmp_path / "out")
    assert {file: bytes_ for file, bytes_ in found.items() if file.startswith("train/")} == expected
    assert {path.as_posix() for path in written} - set(expected) == {
        "README.md",
        "DATASHEET.md",
        "croissant.json",
    }


def test_csv_has_one_row_an_image(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(rendered, out, format="csv")
    rows = list(csv.DictReader(io.StringIO((out / "index.csv").read_text())))
    manifest = pd.read_parquet(rendered / "manifest.parquet")
    assert [row["file"] for row in rows] == list(manifest["file"])
    assert [row["label_name"] for row in rows] == list(manifest["label"])
    assert {(row["label"], row["label_name"]) for row in rows} == {("0", "triangle"), ("1", "square")}
    assert all((out / row["file"]).read_bytes() == (rendered / row["file"]).read_bytes() for row in rows)


def test_webdataset_shards_hold_every_image_once_with_label_and_json(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = export(rendered, out, format="webdataset", shard_images=20)
    assert [path.name for path in written] == [
        "DATASHEET.md",
        "README.md",
        "croissant.json",
        "rows.parquet",
        *(f"train-{shard:06d}.tar" for shard in range(3)),
    ]
    members: dict[str, bytes] = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert [name.split(".")[1] for name in names] == ["png", "cls", "json"] * (len(names) // 3)
            members |= {name: tar.extractfile(name).read() for name in names}
    manifest = pd.read_parquet(rendered / "manifest.parquet").set_index("id")
    assert {name.split(".")[0] for name in members} == set(manifest.index)
    for key, row in manifest.iterrows():
        told = json.loads(members[f"{key}.json"])
        assert (told["label_name"], told["group"]) == (row["label"], row["group"])
        assert members[f"{key}.cls"].decode() == str(told["label"])
        with Image.open(io.BytesIO(members[f"{key}.png"])) as image:
            assert image.size == (16, 16)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_exporting_again_gives_the_same_bytes(
    rendered: Path, tmp_path: Path, contents: Contents, format: str
) -> None:
    for name in ("one", "other"):
        export(rendered, tmp_path / name, format=format)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_unknown_format_names_the_nearest(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown 'webdatset'; did you mean 'webdataset'"):
        export(rendered, tmp_path / "out", format="webdatset")


def test_a_folder_with_files_is_left_alone(rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        export(rendered, tmp_path / "out", format="csv")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_used(rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert export(rendered, tmp_path / "out", format="csv")


def test_what_is_not_rendered_or_not_whole_is_refused(stored: Path, rendered: Path, tmp_path: Path) -> None:
    gone = next((rendered / "train").glob("*/*.png"))
    gone.unlink()
    with pytest.raises(InputError, match=r"expected 50 images, got 49 .* run qdgs render again"):
        export(rendered, tmp_path / "out", format="csv")
    (rendered / "train" / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptFileError, match="run qdgs render again"):
        export(rendered, tmp_path / "out", format="csv")
    (rendered / "train" / "metadata.parquet").unlink()
    with pytest.raises(InputError, match="expected a rendered dataset, got no file; run qdgs render first"):
        export(rendered, tmp_path / "out", format="csv")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QdgsError, match="cannot be written"):
        export(rendered, tmp_path / "file" / "out", format="csv")
