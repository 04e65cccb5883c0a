import json
import shutil
import sys
import types

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from qdgs.cli import run_command
from qdgs.errors import CorruptFileError, InputError
from qdgs.files import read_json
from qdgs.recognition.checkpoint import BACKBONE, CHECKPOINT, load_backbone
from qdgs.recognition.heads import FIRST_STD
from qdgs.recognition.images import read_identities
from qdgs.recognition.processes import Processes
from qdgs.recognition.train_run import train_recogniser, warnings_of
from qdgs.recognition_config import dump_recognition, load_recognition


class StopAt:
    """Interrupts a training after a step, as Ctrl-C does."""

    def __init__(self, step):
        self.step = step

    def __call__(self, step):
        if step.stage == "train" and step.done == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(small_config, tmp_path_factory):
    """A finished training. Do not write into it: copy it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train_recogniser(small_config(), out)
    return out


def test_a_training_leaves_what_its_readers_need(trained, small_config):
    assert load_recognition(trained / "config.yaml") == small_config()
    rows = pd.read_csv(trained / "metrics.csv")
    assert rows["epoch"].tolist() == [1, 2]
    assert rows["step"].tolist() == [3, 6]
    assert rows["learning_rate"].tolist() == pytest.approx([0.05, 0.005])
    summary = read_json(trained / "summary.json")
    assert (summary["images"], summary["identities"], summary["steps"]) == (48, 8, 6)
    assert (summary["left_out"], summary["unreadable"]) == ([], [])
    assert not load_backbone(trained).training


@pytest.mark.parametrize("step", [2, 3, 4])
def test_an_interrupted_training_goes_on_bit_for_bit(trained, small_config, tmp_path, step):
    config = small_config(training={"checkpoint_seconds": 0.0})
    with pytest.raises(KeyboardInterrupt):
        train_recogniser(config, tmp_path / "run", watch=StopAt(step))
    assert not (tmp_path / "run" / BACKBONE).exists()
    seen = []
    train_recogniser(config, tmp_path / "run", watch=seen.append)
    assert [told.done for told in seen if not told.through] == list(range(step + 1, 7))
    assert seen[-1].through
    whole, broken = (load_file(run / BACKBONE) for run in (trained, tmp_path / "run"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    columns = ["step", "loss", "gradient_norm"]
    rows = [pd.read_csv(run / "metrics.csv")[columns] for run in (trained, tmp_path / "run")]
    pd.testing.assert_frame_equal(*rows)


def test_a_log_hears_of_every_step_and_of_the_summary(small_config, tmp_path, monkeypatch, capfd):
    module, heard = types.ModuleType("a_users_log"), []
    module.log = heard.append
    monkeypatch.setitem(sys.modules, "a_users_log", module)
    config = small_config(training={"epochs": 1, "milestones": []})
    (tmp_path / "small.yaml").write_text(dump_recognition(config))
    arguments = ["recognition", "train", tmp_path / "small.yaml", "--out", tmp_path / "run"]
    assert run_command([*map(str, arguments), "--log", "a_users_log:log"]) == 0
    *steps, last = heard
    assert [step.done for step in steps] == [1, 2, 3]
    assert all(step.stage == "train" and step.numbers["loss"] > 0 for step in steps)
    summary = read_json(tmp_path / "run" / "summary.json")
    assert last.through
    assert (
        last.numbers["loss"]
        == summary["loss"]
        == pytest.approx(sum(step.numbers["loss"] for step in steps) / 3)
    )


def test_a_finished_training_is_not_done_again(trained, small_config):
    before = (trained / BACKBONE).stat().st_mtime_ns
    assert train_recogniser(small_config(), trained)["steps"] == 6
    assert (trained / BACKBONE).stat().st_mtime_ns == before


def test_another_configuration_or_foreign_files_are_refused(trained, small_config, tmp_path):
    with pytest.raises(InputError, match=r"got a training with another head.name; choose another --out"):
        train_recogniser(small_config(head={"name": "arcface"}), trained)
    with pytest.raises(InputError, match=r"got a training with another training.epochs; choose"):
        train_recogniser(small_config(training={"epochs": 3}), trained)
    samples = {"generator": "shapes-vae", "identities": 6, "images": 4}
    with pytest.raises(InputError, match=r"got a training with another data.folder; choose"):
        train_recogniser(small_config(data={"folder": None, "samples": samples}), trained)
    with pytest.raises(InputError, match=r"got a training with another pretrained; choose"):
        train_recogniser(small_config(pretrained="elsewhere"), trained)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        train_recogniser(small_config(), tmp_path)


def test_training_goes_on_from_a_pretrained_backbone(trained, small_config, tmp_path):
    config = small_config(
        pretrained=str(trained), seed=1, training={"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    )
    train_recogniser(config, tmp_path / "next")
    old, new = (load_file(run / BACKBONE) for run in (trained, tmp_path / "next"))
    for name in old:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(old[name], new[name], atol=1e-8, rtol=0)
    before, after = (kept_norms(run) for run in (trained, tmp_path / "next"))
    assert before["std"] != FIRST_STD
    # three steps towards norms of a few, at most 1 % each
    assert after["std"] == pytest.approx(before["std"], rel=0.04)
    assert after["std"] < before["std"]


def kept_norms(run):
    with safe_open(run / BACKBONE, framework="pt") as file:
        return json.loads(file.metadata()["qdgs"])["norms"]


def test_a_head_without_running_norms_leaves_none_and_adaface_begins_afresh(small_config, tmp_path):
    short = {"epochs": 1}
    train_recogniser(small_config(head={"name": "arcface"}, training=short), tmp_path / "first")
    assert kept_norms(tmp_path / "first") == {}
    train_recogniser(small_config(pretrained=str(tmp_path / "first"), training=short), tmp_path / "next")
    assert kept_norms(tmp_path / "next")["std"] == pytest.approx(FIRST_STD, rel=0.04)


def test_another_backbone_is_refused_by_its_sizes(trained, small_config, tmp_path):
    config = small_config(pretrained=str(trained), backbone={"width": 8})
    with pytest.raises(InputError, match=r"pretrained: expected .* width 8, .* with ir18 of width 4"):
        train_recogniser(config, tmp_path / "next")
    with pytest.raises(InputError, match=r"expected a trained recogniser, got no backbone.safetensors"):
        train_recogniser(small_config(pretrained=str(tmp_path)), tmp_path / "other")


def test_a_checkpoint_of_another_backbone_is_refused(trained, small_config, tmp_path):
    wide = small_config(backbone={"width": 8}, training={"checkpoint_seconds": 0.0})
    with pytest.raises(KeyboardInterrupt):
        train_recogniser(wide, tmp_path / "run", watch=StopAt(2))
    shutil.copy(trained / CHECKPOINT, tmp_path / "run" / CHECKPOINT)
    with pytest.raises(
        InputError, match=r"expected a checkpoint of ir18 of width 8, .* got one of ir18 of width 4"
    ):
        train_recogniser(wide, tmp_path / "run")


def test_what_was_refused_before_its_first_step_may_be_put_right(small_config, tmp_path):
    with pytest.raises(InputError, match="batch_size: expected at most 48"):
        train_recogniser(small_config(training={"batch_size": 50}), tmp_path / "run")
    assert train_recogniser(small_config(), tmp_path / "run")["steps"] == 6
    assert load_recognition(tmp_path / "run" / "config.yaml") == small_config()


def test_a_checkpoint_of_an_earlier_version_is_told_as_such(trained, small_config, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    del state["losses"]
    torch.save(state, tmp_path / "run" / CHECKPOINT)
    with pytest.raises(CorruptFileError, match=r"of this version, cannot take it up: 'losses'; delete it"):
        train_recogniser(small_config(), tmp_path / "run")


def test_a_training_does_not_go_on_with_other_images(faces_folder, small_config, tmp_path):
    faces = tmp_path / "faces"
    shutil.copytree(faces_folder, faces)
    config = small_config(data={"folder": str(faces)}, training={"checkpoint_seconds": 0.0})
    with pytest.raises(KeyboardInterrupt):
        train_recogniser(config, tmp_path / "run", watch=StopAt(2))
    moved = faces / "id3" / "0.png"
    moved.rename(faces / "id4" / "9.png")
    with pytest.raises(InputError, match="expected the images that this training began with, got others"):
        train_recogniser(config, tmp_path / "run")
    (faces / "id4" / "9.png").rename(moved)
    assert train_recogniser(config, tmp_path / "run")["steps"] == 6


@pytest.mark.parametrize("name", [BACKBONE, CHECKPOINT])
def test_a_damaged_file_is_named(trained, small_config, tmp_path, name):
    shutil.copytree(trained, tmp_path / "run")
    content = (trained / name).read_bytes()
    (tmp_path / "run" / "summary.json").unlink()
    for damaged in (content[: len(content) // 2], b"", b"no such thing"):
        (tmp_path / "run" / name).write_bytes(damaged)
        with pytest.raises(
            CorruptFileError, match=f"{name}: expected a .* (cannot read it|got a damaged file)"
        ):
            load_backbone(tmp_path / "run") if name == BACKBONE else train_recogniser(
                small_config(), tmp_path / "run"
            )


def test_unreadable_images_are_skipped_counted_and_named(faces_folder, small_config, tmp_path):
    shutil.copytree(faces_folder, tmp_path / "faces")
    bad = tmp_path / "faces" / "id3" / "2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    (tmp_path / "faces" / "lonely").mkdir()
    shutil.copy(tmp_path / "faces" / "id0" / "0.png", tmp_path / "faces" / "lonely")
    data = {"folder": str(tmp_path / "faces"), "unreadable": 0.05}
    summary = train_recogniser(small_config(data=data), tmp_path / "run")
    assert summary["unreadable"] == [str(bad)]
    assert (tmp_path / "run" / "unreadable.txt").read_text() == f"{bad}\n"
    told = list(warnings_of(summary))
    assert told == [
        "1 identities with too few images were left out: lonely",
        f"1 unreadable images were left out: {bad}",
    ]
    with pytest.raises(InputError, match=r"expected at most 0 unreadable images of 48, got 1 so far"):
        train_recogniser(small_config(data={**data, "unreadable": 0.0}), tmp_path / "strict")


def test_what_other_processes_could_not_read_counts_at_the_end_of_an_epoch(
    faces_folder, small_config, tmp_path, monkeypatch
):
    def gathered(self, items):
        return sorted({*items, "one.png", "two.png", "three.png"})

    monkeypatch.setattr(Processes, "gathered", gathered)
    data = {"folder": str(faces_folder), "unreadable": 0.05}
    with pytest.raises(InputError, match=r"expected at most 2 unreadable images of 48, got 3 so far"):
        train_recogniser(small_config(data=data), tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_of_unreadable_images_is_refused_whoever_reads_them(
    face_pixels, small_config, tmp_path, workers
):
    for number in range(20):
        (tmp_path / "faces" / f"id{number % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / f"id{number % 2}" / f"{number}.png").write_bytes(b"no image")
    config = small_config(
        data={"folder": str(tmp_path / "faces"), "unreadable": 1.0}, training={"workers": workers}
    )
    with pytest.raises(
        InputError, match=r"expected at most 20 unreadable images of 20, got 20 so far"
    ) as caught:
        train_recogniser(config, tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"batch_size": 49}}, "training.batch_size: expected at most 48, as many as there are"),
        ({"training": {"precision": "float16"}}, "training.precision: float16 is for GPUs"),
        (
            {"training": {"learning_rate": 1e30, "clip_norm": None}},
            "take a lower training.learning_rate, in a new",
        ),
        ({"data": {"folder": "/nowhere"}}, "/nowhere: expected a folder of images by identity, got none"),
    ],
)
def test_what_cannot_be_trained_is_said(small_config, tmp_path, changes, message):
    with pytest.raises(InputError) as caught:
        train_recogniser(small_config(**changes), tmp_path / "run")
    assert message in str(caught.value)


def test_identities_are_drawn_from_a_generator(small_config, tmp_path):
    samples = {"generator": "shapes-vae", "identities": 6, "images": 4, "offset": 0.3, "crop": 32}
    config = small_config(data={"folder": None, "samples": samples}, training={"epochs": 1})
    summary = train_recogniser(config, tmp_path / "run")
    assert (summary["images"], summary["identities"]) == (24, 6)
    assert read_identities(tmp_path / "run" / "data").labels.tolist() == [i // 4 for i in range(24)]
