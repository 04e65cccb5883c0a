"""Every export opened by the programs that it is meant for, over datasets drawn at random."""

import importlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qdgs.compat import import_torchvision
from qdgs.datasets.card import write_card
from qdgs.datasets.export import export
from qdgs.datasets.manifest import manifest_metadata, write_manifest
from qdgs.datasets.metadata import write_metadata

SIZE = 4
SPLITS = {"train": 0.6, "test": 0.4}
NAMES = ["red", "a b", 'quo"te', "it's", "<b>", "&amp;", "שלום", "😀", "per%cent", "semi;colon"]


@dataclass(frozen=True)
class Drawn:
    """A dataset folder, and what its manifest says."""

    folder: Path
    manifest: pd.DataFrame

    def expected(self) -> list[tuple[str, str, str, tuple[int, ...]]]:
        """Id, label, group and colour of every image."""
        rows = self.manifest.to_dict("records")
        return sorted((row["id"], row["label"], row["group"], color_of(int(row["id"]))) for row in rows)


def color_of(number: int) -> tuple[int, ...]:
    return (number % 256, 255 - number % 256, (7 * number) % 256)


def first_pixel(image: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in np.asarray(image.convert("RGB"))[0, 0])


@contextmanager
def dataset_of(values: dict[str, list[str]], codes: list[int]) -> Iterator[Drawn]:
    """A rendered dataset whose images are plain colours that tell their number."""
    groups = [f"{one}/{other}" for one in values["tint"] for other in values["form"]]
    names = [groups[code % len(groups)] for code in codes]
    ids = [f"{number:06d}" for number in range(len(names))]
    labels = [name.split("/")[1] for name in names]
    manifest = pd.DataFrame(
        {
            "id": ids,
            "file": [f"train/{label}/{one}.png" for label, one in zip(labels, ids, strict=True)],
            "label": labels,
            "group": names,
            "cell": np.arange(len(ids)),
            "objective": np.linspace(0, 1, len(ids)).astype("float32"),
            "latent_0000": np.zeros(len(ids), dtype="float32"),
        }
    )
    metadata = manifest_metadata(
        generator={"name": "tiny"},
        guide={"clip": {"model": "qdgs-mini"}, "measures": []},
        label="form",
        values=values,
        micro_batch=16,
        image_size=SIZE,
        device="cpu",
        version="0.1.0",
        license="mit",
    )
    folder = Path(tempfile.mkdtemp()) / "dataset"
    try:
        for row in manifest.to_dict("records"):
            (folder / row["file"]).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIZE, SIZE), color_of(int(row["id"]))).save(folder / row["file"])
        write_manifest(folder / "manifest.parquet", manifest, metadata)
        write_metadata([manifest], folder, values["form"])
        write_card(folder / "README.md", manifest, metadata)
        yield Drawn(folder, manifest)
    finally:
        shutil.rmtree(folder.parent)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[int]]:
    names = draw(st.permutations(NAMES))
    # with three of each group, every split has every label, which torchvision and a fair test both need
    codes = draw(st.lists(st.integers(0, 3), max_size=20)) + [0, 1, 2, 3] * 3
    return {"tint": names[:2], "form": names[2:4]}, codes


def exported(drawn: Drawn, format: str, **options: Any) -> Path:
    out = drawn.folder.parent / format
    export(drawn.folder, out, format=format, splits=SPLITS, **options)
    return out


@settings(max_examples=5, deadline=None)
@given(datasets())
def test_torchvision_reads_the_image_folder(drawn: tuple[dict[str, list[str]], list[int]]) -> None:
    with dataset_of(*drawn) as made:
        out = exported(made, "imagefolder")
        found = []
        for split in SPLITS:
            groups = pd.read_parquet(out / split / "metadata.parquet").set_index("id")["group"]
            images = import_torchvision().datasets.ImageFolder(out / split)
            for (path, _), (image, label) in zip(images.samples, images, strict=True):
                key = Path(path).stem
                found.append((key, images.classes[label], groups[key], first_pixel(image)))
        assert sorted(found) == made.expected()


@settings(max_examples=8, deadline=None)
@given(datasets())
def test_pandas_reads_csv_and_parquet(drawn: tuple[dict[str, list[str]], list[int]]) -> None:
    with dataset_of(*drawn) as made:
        out = exported(made, "csv")
        rows = pd.read_csv(out / "index.csv", dtype={"id": str})
        images = [Image.open(out / file) for file in rows["file"]]
        assert (
            sorted(zip(rows["id"], rows["label_name"], rows["group"], map(first_pixel, images), strict=True))
            == made.expected()
        )
        for image in images:
            image.close()
        out = exported(made, "parquet", shard_images=5)
        rows = pd.concat(map(pd.read_parquet, sorted((out / "data").glob("*.parquet"))))
        decoded = [first_pixel(Image.open(io.BytesIO(cell["bytes"]))) for cell in rows["image"]]
        assert (
            sorted(zip(rows["id"], rows["label_name"], rows["group"], decoded, strict=True))
            == made.expected()
        )


@settings(max_examples=5, deadline=None)
@given(datasets())
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves closing its files to Python
def test_the_webdataset_library_reads_the_shards(drawn: tuple[dict[str, list[str]], list[int]]) -> None:
    webdataset = pytest.importorskip(
        "webdataset", reason="webdataset is not installed: pip install 'qdgs[dev]'"
    )
    with dataset_of(*drawn) as made:
        out = exported(made, "webdataset", shard_images=5)
        shards = sorted(map(str, out.glob("*.tar")))
        samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
        found = [
            (row["__key__"], row["json"]["label_name"], row["json"]["group"], first_pixel(row["png"]))
            for row in samples
        ]
        assert sorted(found) == made.expected()


@pytest.mark.parametrize("format", ["imagefolder", "parquet", "webdataset"])
@settings(max_examples=2, deadline=None)
@given(datasets())
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # its reader of archives leaves closing to Python
def test_hugging_face_reads_the_folder_with_its_labels(
    format: str, drawn: tuple[dict[str, list[str]], list[int]]
) -> None:
    datasets_ = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'qdgs[dev]'")
    datasets_.disable_progress_bars()
    names = drawn[0]["form"]
    with dataset_of(*drawn) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        out, found = exported(made, format), []
        for split in SPLITS:
            images = datasets_.load_dataset(
                str(out), split=split, cache_dir=str(made.folder.parent / "cache")
            )
            if format == "webdataset":
                assert [names[row["cls"]] for row in images] == [row["json"]["label_name"] for row in images]
                found += [
                    (row["__key__"], names[row["cls"]], row["json"]["group"], first_pixel(row["png"]))
                    for row in images
                ]
                continue
            assert images.features["label"].names == names
            found += [
                (row["id"], names[row["label"]], row["group"], first_pixel(row["image"])) for row in images
            ]
        assert sorted(found) == made.expected()


@pytest.mark.parametrize("format", ["csv", "imagefolder", "parquet", "webdataset"])
@settings(max_examples=2, deadline=None)
@given(datasets())
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_mlcroissant_accepts_and_reads_every_format(
    format: str, drawn: tuple[dict[str, list[str]], list[int]]
) -> None:
    croissant = pytest.importorskip(
        "mlcroissant", reason="mlcroissant is not installed: pip install 'qdgs[dev]'"
    )
    names = drawn[0]["form"]
    with dataset_of(*drawn) as made, pytest.MonkeyPatch.context() as patch:
        # It extracts archives into a cache that knows them by name alone: another train-000000.tar is there.
        extracted = importlib.import_module("etils.epath").Path(made.folder.parent / "extracted")
        patch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", extracted)
        out = exported(made, format, shard_images=4)
        described = croissant.Dataset(jsonld=out / "croissant.json")
        assert not described.metadata.ctx.issues.errors
        told = json.loads((out / "croissant.json").read_text())
        assert told["conformsTo"] == [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ]
        assert described.metadata.data_limitations
        assert described.metadata.personal_sensitive_information
        found = []
        for row in described.records("images"):
            key, group = row["images/id"].decode(), row["images/group"].decode()
            found.append((key, names[row["images/label"]], group, first_pixel(row["images/image"])))
        assert sorted(found) == made.expected()


@pytest.mark.parametrize("format", ["csv", "imagefolder", "parquet", "webdataset"])
def test_every_export_has_a_card_that_the_hub_accepts_and_a_datasheet(format: str) -> None:
    from huggingface_hub import DatasetCard

    with dataset_of({"tint": ["red", "blue"], "form": ["<b>", "it's"]}, [0, 1, 2, 3] * 3) as made:
        out = exported(made, format)
        card = DatasetCard.load(out / "README.md")
        assert card.data.license == "mit"
        patterns = {
            item["split"] for config in card.data.get("configs") or [] for item in config["data_files"]
        }
        assert patterns == (set() if format == "csv" else set(SPLITS))
        assert "What was asked" in card.text
        code = re.search(r"## Use\n\n```python\n(.*?)```", card.text, re.DOTALL)
        assert code is not None
        compile(code[1], "card", "exec")
        sheet = (out / "DATASHEET.md").read_text()
        assert re.findall(r"^## (\w+)", sheet, re.MULTILINE) == [
            "Motivation",
            "Composition",
            "Collection",
            "Preprocessing",
            "Uses",
            "Distribution",
            "Maintenance",
        ]
        assert "Splits, stratified by group: train" in sheet


@pytest.mark.parametrize("format", ["csv", "imagefolder", "parquet", "webdataset"])
def test_every_image_that_goes_out_is_counted(format: str) -> None:
    told: list[tuple[int, int]] = []
    with dataset_of({"tint": ["red", "blue"], "form": ["x", "y"]}, [0, 1, 2, 3] * 65) as made:
        exported(made, format, progress=lambda done, total: told.append((done, total)))
    assert told == [(256, 260), (260, 260)]


def test_shards_hold_to_the_limit_of_bytes(tmp_path: Path) -> None:
    with dataset_of({"tint": ["red", "blue"], "form": ["x", "y"]}, [0, 1, 2, 3] * 5) as made:
        out = exported(made, "webdataset", shard_bytes=40_000)
        sizes = [path.stat().st_size for path in out.glob("*.tar")]
        assert len(sizes) > 2
        # a tar is padded to whole records of 10 kB
        assert max(sizes) <= 40_000 + 10_240
