import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from qdgs.config import load_config
from qdgs.datasets.export import export
from qdgs.datasets.manifest import read_manifest, write_manifest
from qdgs.errors import ConfigError, InputError
from qdgs.report.run_files import read_image
from qdgs.run import Run
from qdgs.stages.merge import merge, open_merged
from qdgs.stages.render import render_manifest


@pytest.fixture(scope="module")
def other_folder(tiny_config, tmp_path_factory):
    """A run of another seed. Do not write into it: copy it."""
    config = load_config(tiny_config, ["seed=5", "dataset.on_shortage=accept"])
    return Run.create(config, tmp_path_factory.mktemp("runs") / "finished").complete().path


@pytest.fixture(scope="module")
def merged(finished_folder, other_folder, tmp_path_factory):
    """A merged set. Do not write into it: copy it."""
    return merge([finished_folder, other_folder], tmp_path_factory.mktemp("merged") / "merged")


def test_a_merged_set_has_its_shares_and_the_pixels_of_its_runs(merged, finished_folder, other_folder):
    rows, metadata = read_manifest(merged.run.path / "dataset" / "manifest.parquet")
    assert len(rows) == merged.images
    assert rows["group"].value_counts().max() - rows["group"].value_counts().min() <= 1
    assert set(rows["source"]) == {"finished", "finished-2"}
    assert {one["run"]: one["images"] for one in metadata["sources"]} == merged.from_each
    folders = {"finished": finished_folder, "finished-2": other_folder}
    ids = {name: read_manifest(path / "dataset/manifest.parquet").rows for name, path in folders.items()}
    for row in rows.to_dict("records"):
        origin = ids[row["source"]].set_index("id").loc[row["source_id"]]
        assert (origin["label"], origin["group"]) == (row["label"], row["group"])
        old, new = (
            read_image(path)
            for path in (
                folders[row["source"]] / "dataset" / origin["file"],
                merged.run.path / "dataset" / row["file"],
            )
        )
        assert np.array_equal(old, new)


def test_what_the_auditor_read_goes_along(merged, finished_folder):
    read = pd.read_parquet(merged.run.path / "audit_images.parquet").set_index("id")
    rows = pd.read_parquet(merged.run.path / "dataset/manifest.parquet").set_index("id")
    before = pd.read_parquet(finished_folder / "audit_images.parquet").set_index("id")
    mine = rows[rows["source"] == "finished"]
    expected = before.loc[mine["source_id"], "color"].tolist()
    assert read.loc[mine.index, "color"].tolist() == expected
    summary = json.loads((merged.run.path / "summary.json").read_text())
    agree = (read["shape"] == rows["label"]) & read["accepted"]
    assert summary["label_agreement"] == pytest.approx(agree.mean())
    counts = pd.read_csv(merged.run.path / "audit.csv").set_index("group")["count"]
    groups = (read["color"] + "/" + read["shape"])[read["accepted"]]
    assert counts.to_dict() == groups.value_counts().reindex(counts.index, fill_value=0).to_dict()


def test_the_same_images_are_taken_once(finished_folder, tmp_path):
    shutil.copytree(finished_folder, tmp_path / "copy")
    merged = merge([finished_folder, tmp_path / "copy"], tmp_path / "merged")
    whole = len(read_manifest(finished_folder / "dataset/manifest.parquet").rows)
    assert merged.dropped == whole
    assert merged.images == whole
    assert sorted(merged.from_each) == ["copy", "finished"]


def test_a_merged_set_renders_again_and_exports(merged, tmp_path):
    dataset = shutil.copytree(merged.run.path, tmp_path / "merged") / "dataset"
    before = {path.name: path.read_bytes() for path in dataset.rglob("*.png")}
    for path in dataset.rglob("*.png"):
        path.unlink()
    render_manifest(tmp_path / "merged", device="cpu")
    assert {path.name: path.read_bytes() for path in dataset.rglob("*.png")} == before
    export(dataset, tmp_path / "csv", format="csv")
    rows = pd.read_csv(tmp_path / "csv" / "index.csv")
    assert rows["source"].value_counts().to_dict() == merged.from_each


def test_report_and_card_tell_where_the_images_come_from(merged):
    page = (merged.run.path / "report.html").read_text()
    assert "from 2 runs" in page
    assert "Where the images come from" in page
    assert "The search is not through" not in page
    card = (merged.run.path / "dataset" / "README.md").read_text()
    assert "## Where it comes from" in card
    assert "### finished-2" in card  # whose cut points are others
    assert open_merged(merged.run.path).config == merged.run.config


def test_another_target_takes_other_numbers(finished_folder, other_folder, tmp_path):
    target = "red/tall=0.4,red/wide=0.4,blue/tall=0.1,blue/wide=0.1"
    merged = merge([finished_folder, other_folder], tmp_path / "out", target=target, images=20)
    rows = read_manifest(merged.run.path / "dataset/manifest.parquet").rows
    assert rows["group"].value_counts().to_dict() == {
        "red/tall": 8,
        "red/wide": 8,
        "blue/tall": 2,
        "blue/wide": 2,
    }


def changed(folder: Path, tmp_path: Path, name: str, **metadata: object) -> Path:
    """A copy of a run whose manifest says something else."""
    copied = tmp_path / name
    shutil.copytree(folder, copied)
    manifest = read_manifest(copied / "dataset/manifest.parquet")
    write_manifest(copied / "dataset/manifest.parquet", manifest.rows, {**manifest.metadata, **metadata})
    return copied


def test_two_generators_of_different_sizes_are_merged_at_one(finished_folder, other_folder, tmp_path):
    generator = {"name": "foreign", "options": {}, "sha256": "0" * 64}
    other = changed(other_folder, tmp_path, "foreign", generator=generator, image_size=64)
    for path in (other / "dataset/train").rglob("*.png"):
        Image.fromarray(read_image(path)).resize((64, 64)).save(path)
    with pytest.raises(InputError, match=r"--image-size: expected one, as the runs have different ones"):
        merge([finished_folder, other], tmp_path / "merged")
    with pytest.raises(InputError, match=r"expected at most 32"):
        merge([finished_folder, other], tmp_path / "merged", image_size=64)
    merged = merge([finished_folder, other], tmp_path / "merged", image_size=32)
    assert {read_image(path).shape for path in (merged.run.path / "dataset").rglob("*.png")} == {(32, 32, 3)}
    with pytest.raises(InputError, match="got one merged from several"):
        render_manifest(merged.run.path, device="cpu")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"target": "census.csv"}, ConfigError, r"census\.csv: cannot be read"),
        ({"target": "red/tall=half"}, ConfigError, "--target: expected uniform, a table, or GROUP=SHARE"),
        ({"target": "red/tal=1"}, ConfigError, r"unknown group 'red/tal'; did you mean 'red/tall'"),
        ({"images": 10_000}, InputError, r"--images: expected at most \d+ for this target, got 10000"),
    ],
)
def test_what_cannot_be_had_is_one_sentence_and_leaves_nothing(
    finished_folder, other_folder, tmp_path, options, error, said
):
    with pytest.raises(error, match=said):
        merge([finished_folder, other_folder], tmp_path / "merged", **options)
    assert not (tmp_path / "merged").exists()


def test_runs_that_cannot_be_merged_are_one_sentence(finished, finished_folder, tmp_path):
    with pytest.raises(InputError, match="at least two runs"):
        merge([finished_folder], tmp_path / "merged")
    with pytest.raises(InputError, match="got one twice"):
        merge([finished_folder, finished_folder], tmp_path / "merged")
    with pytest.raises(InputError, match=r"got no config\.yaml"):
        merge([finished_folder, tmp_path / "none"], tmp_path / "merged")
    with pytest.raises(InputError, match="got one that holds files"):
        merge([finished_folder, finished.path], tmp_path)
    (finished.path / "dataset" / "manifest.parquet").unlink()
    with pytest.raises(InputError, match="run qdgs flatten first"):
        merge([finished_folder, finished.path], tmp_path / "merged")
