import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from qdgs.cli import INPUT_IS_WRONG, run_command
from qdgs.datasets.identities import small_offsets
from qdgs.datasets.manifest import latents_of, read_manifest, write_manifest
from qdgs.errors import CorruptFileError
from qdgs.generators.stored import as_stored
from qdgs.parts import load_generator, load_judge
from qdgs.run import Run
from qdgs.stages.candidates import rescorer
from qdgs.stages.flatten import open_bank
from qdgs.stages.render import render_manifest
from qdgs.stages.scoring import load_scorer
from qdgs.stages.search import Settled

MANIFEST = "dataset/manifest.parquet"
CHANGES = [
    "dataset.identities={images: 4, offset: 0.3}",
    "dataset.layout=identity",
    "judges.gate={name: pixels, smallest: 0.1}",
    "judges.teacher=pixels",
]


@pytest.fixture(scope="module")
def folder(finished_folder, tmp_path_factory):
    """The folder of a run with identities that is through with every stage. Do not write into it."""
    path = tmp_path_factory.mktemp("runs") / "identities"
    shutil.copytree(finished_folder, path)
    return Run.open(path, CHANGES).complete().path


@pytest.fixture
def run(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def files_of(run):
    root = run.path / "dataset/train"
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_run_with_identities_holds_what_it_says(run):
    rows, metadata = read_manifest(run.path / MANIFEST)
    assert metadata["layout"] == "identity"
    assert rows["group"].value_counts().tolist() == [10, 10, 10, 10]
    # latents are the archive's own at offsets of one seeded set, in the spread of random latents
    reservoir = pd.read_parquet(run.path / "search/reservoir.parquet")
    parents = rows[["cell", "rank"]].merge(reservoir, on=["cell", "rank"], validate="many_to_one")
    scorer = load_scorer(run, device="cpu")
    std = 0.3 * open_bank(run, scorer, device="cpu").latents.std(dim=0).numpy()
    offsets = np.concatenate([np.zeros((1, 5)), small_offsets(4, std, seed=run.config.seed)])
    expected = latents_of(parents).numpy() + offsets.astype(np.float32)[rows["offset"]]
    np.testing.assert_array_equal(latents_of(rows).numpy(), expected)
    assert rows["offset"].max() >= 3
    # what the guide and the gate say of each image is still so
    settled = Settled.of(run)
    told = rescorer(scorer, settled.calibration.scale, micro_batch=64, device="cpu")(rows)
    for column in ("objective", "color", "edges"):
        np.testing.assert_allclose(rows[column], told[column], rtol=1e-4, atol=1e-4)
    cuts = json.loads((run.path / "dataset/flatten.json").read_text())["cuts"]
    assert ((rows["color"] >= cuts["color"][0]) == (rows["group_color"] == "blue")).all()
    assert ((rows["edges"] >= 0) == (rows["label"] == "wide")).all()
    images = as_stored(load_generator("patches")(latents_of(rows)).detach())
    assert load_judge(run.config.judges.gate).judge(images)["accepted"].all()
    # laid out by identity, an identity is of one group, and the label is still the group's
    assert (rows["file"] == "train/" + rows["identity"] + "/" + rows["id"] + ".png").all()
    assert {name.split("/")[0] for name in files_of(run)} == {*rows["identity"], "metadata.parquet"}
    assert (rows.groupby("identity")["group"].nunique() == 1).all()
    for file, image in zip(rows["file"], images, strict=True):
        pixels = np.asarray(Image.open(run.path / "dataset" / file)) / 255
        np.testing.assert_allclose(pixels, image.permute(1, 2, 0).numpy(), atol=1e-6)
    stored = pd.read_parquet(run.path / "dataset/train/metadata.parquet")
    assert stored["identity"].tolist() == rows["identity"].tolist()
    assert stored["label"].tolist() == (rows["label"] == "wide").astype(int).tolist()
    # and it is told
    notes = json.loads((run.path / "audit.json").read_text())["notes"]
    assert any(f"one of {rows['identity'].nunique()} clusters" in note for note in notes)
    card = (run.path / "dataset/README.md").read_text()
    assert "whose classes are then the identities" in card
    assert "up to 4 images at small fixed offsets" in card


def test_the_manifest_alone_gives_the_same_files_also_in_shards(run, tmp_path):
    before = files_of(run)
    for name in ("whole", "parts"):
        (tmp_path / name / "dataset").mkdir(parents=True)
        (tmp_path / name / MANIFEST).write_bytes((run.path / MANIFEST).read_bytes())
    render_manifest(tmp_path / "whole", device="cpu")
    for index in range(2):
        render_manifest(tmp_path / "parts", device="cpu", shard=(index, 2))
    for name in ("whole", "parts"):
        assert files_of(Run(tmp_path / name, run.config)) == before


def test_exports_and_another_layout_hold_the_same_images(run):
    run.do("export", format="csv")
    index = pd.read_csv(run.path / "export/csv/index.csv", dtype={"identity": str})
    rows = read_manifest(run.path / MANIFEST).rows
    assert index["file"].tolist() == rows["file"].tolist()
    assert index["identity"].tolist() == rows["identity"].tolist()
    content = {name.split("/")[-1]: image for name, image in files_of(run).items() if name.endswith(".png")}
    again = Run.open(run.path, ["dataset.layout=label"]).complete(until="audit")
    by_label = files_of(again)
    assert {name.split("/")[0] for name in by_label} == {"tall", "wide", "metadata.parquet"}
    assert {
        name.split("/")[-1]: image for name, image in by_label.items() if name.endswith(".png")
    } == content
    again.do("flatten")
    pd.testing.assert_frame_equal(
        read_manifest(again.path / MANIFEST).rows.drop(columns="file"), rows.drop(columns="file")
    )


def test_mistakes_are_told(finished, capsys):
    path = str(finished.path)
    assert run_command(["flatten", path, "--set", "dataset.layout=identity"]) == INPUT_IS_WRONG
    assert "dataset.layout: expected dataset.identities" in capsys.readouterr().err
    change = "dataset.identities={images: 4, count: 4}"
    assert run_command(["flatten", path, "--set", change]) == INPUT_IS_WRONG
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "dataset.identities.count: expected at most 3, as many as group 'red/tall' has latents" in told


def test_a_manifest_whose_files_are_not_laid_out_as_it_says_is_refused(run):
    rows, metadata = read_manifest(run.path / MANIFEST)
    for wrong, layout in ((rows, "label"), (rows.drop(columns="identity"), "identity"), (rows, "elsewhere")):
        write_manifest(run.path / MANIFEST, wrong, {**metadata, "layout": layout})
        with pytest.raises(CorruptFileError, match=r"manifest\.parquet: expected [^\n]*$"):
            read_manifest(run.path / MANIFEST)
    outside = rows.assign(identity="..", file="train/../" + rows["id"] + ".png")
    write_manifest(run.path / MANIFEST, outside, metadata)
    with pytest.raises(CorruptFileError, match="identities or ids that are no plain names"):
        read_manifest(run.path / MANIFEST)


def test_without_a_gate_offsets_are_let_in_that_stay_in_their_group(finished):
    changes = ["dataset.identities={images: 5}", "judges.gate=null", "judges.teacher=pixels"]
    run = Run.open(finished.path, changes).complete(until="flatten")
    told = json.loads((run.path / "dataset/flatten.json").read_text())["identities"]
    assert told["offsets_rejected"] == 0
    assert told["offsets_tried"] > 0
    assert run.summary["images"] == 40
