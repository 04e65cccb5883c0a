"""The recognition study in seconds: patterns of colour for faces, their mean brightness for lightness."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from qdgs.datasets.manifest import manifest_metadata, write_manifest
from qdgs.errors import InputError
from qdgs.generators.base import GENERATORS
from qdgs.judges.base import JUDGES
from qdgs.recognition.bins import read_bin
from qdgs.recognition.images import read_identities

RECOGNITION = Path(__file__).parents[2] / "experiments" / "recognition"


class Patterns:
    """Four colours at the corners, and what lies between them."""

    latent_dim, image_size, differentiable, prior_norm = 12, 64, True, 12**0.5

    def sample_latents(self, n, rng):
        return torch.from_numpy(rng.standard_normal((n, 12), dtype=np.float32))

    def __call__(self, latents):
        corners = latents.reshape(-1, 3, 2, 2).sigmoid()
        return functional.interpolate(corners, size=64, mode="bilinear")


class Brightness:
    """Three values of the mean brightness; it cannot tell of nearly black images."""

    attributes = {"lightness": ("dark", "medium", "light")}  # noqa: RUF012

    def judge(self, images):
        mean = images.mean(dim=(1, 2, 3)).numpy()
        values = np.array(["dark", "medium", "light"], dtype=object)[np.digitize(mean, [0.47, 0.57])]
        values[mean < 0.3] = None
        return pd.DataFrame({"lightness": values, "lightness_score": mean, "accepted": mean >= 0.3})


@pytest.fixture(autouse=True)
def _parts(monkeypatch, tmp_path):
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "patterns_of_the_test", module)
    monkeypatch.setitem(GENERATORS, "dcgan-digiface", "patterns_of_the_test:Patterns")
    for name in ("face-light", "faces-dlib"):
        monkeypatch.setitem(JUDGES, name, "patterns_of_the_test:Brightness")
    monkeypatch.syspath_prepend(str(RECOGNITION))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def sets():
    return importlib.import_module("recognition_sets")


@pytest.fixture
def study(monkeypatch, sets):
    module = importlib.import_module("study")
    monkeypatch.setattr(module, "QUICK", tiny(sets))
    return module


def tiny(sets, **changes):
    return replace(
        sets.QUICK,
        **{
            "pool": 400,
            "pretrain": (12, 4),
            "real": (15, 4, 8),
            "test": (12, 6, 4),
            "offset": 0.3,
            "crop": 32,
            "image_size": 32,
            "width": 4,
            "embedding": 8,
            "pretrain_epochs": 1,
            "real_epochs": 1,
            "batch_size": 16,
            "evaluations": 1300,
            **changes,
        },
    )


def test_pairs_are_of_their_group_and_every_fold_has_as_many_of_each_kind(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    faces.write_pairs(tmp_path / "pairs.bin", 0)
    pairs = read_bin(tmp_path / "pairs.bin")
    table = pd.read_csv(tmp_path / "pairs.csv").assign(same=pairs.same)
    assert table.groupby(["group", "same"]).size().nunique() == 1
    assert len(table) >= 60
    for fold in np.array_split(np.arange(len(table)), 10):
        assert table.iloc[fold].groupby(["group", "same"]).size().max() <= -(-len(fold) // 6)


def test_the_real_set_is_skewed_against_the_rarest_and_held_out(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    faces.write_real(tmp_path / "real", 0)
    images = read_identities(tmp_path / "real")
    rows = pd.DataFrame({"identity": images.labels, "group": images.groups}).drop_duplicates()
    others = [group for group in sets.GROUPS if group != faces.rarest]
    assert rows["group"].value_counts().to_dict() == {faces.rarest: 1, others[0]: 7, others[1]: 7}
    assert {
        (len(own), own["group"].nunique())
        for _, own in pd.DataFrame({"identity": images.labels, "group": images.groups}).groupby("identity")
    } == {(4, 1)}
    with pytest.raises(InputError, match="take a larger pool"):
        sets.Faces(tiny(sets, pool=60), tmp_path / "small").write_real(tmp_path / "none", 0)


def test_latents_come_evenly_from_a_runs_groups(sets, tmp_path):
    rng = np.random.default_rng(0)
    n = 40
    latents = {f"latent_{i:04d}": rng.standard_normal(n).astype(np.float32) for i in range(12)}
    ids = [f"{i:06d}" for i in range(n)]
    light = ["dark"] * 30 + ["light"] * 10
    rows = pd.DataFrame(
        {
            "id": ids,
            "file": [f"train/x/{i}.png" for i in ids],
            "label": "x",
            "group": "x",
            "group_lightness": light,
            "offset": [i % 2 for i in range(n)],
            **latents,
        }
    )
    metadata = manifest_metadata(
        generator={"name": "dcgan-digiface"},
        guide={},
        label="x",
        values={},
        micro_batch=16,
        image_size=64,
        device="cpu",
        version="0",
    )
    write_manifest(tmp_path / "run" / "dataset" / "manifest.parquet", rows, metadata)
    faces = sets.Faces(tiny(sets, pretrain=(8, 4)), tmp_path, tmp_path / "run")
    chosen = faces._qdgs(8, 0)
    own = {tuple(np.float32(row)): group for *row, group in zip(*latents.values(), light, strict=True)}
    groups = [own[tuple(np.float32(row))] for row in chosen.tolist()]
    assert sorted(groups) == ["dark"] * 4 + ["light"] * 4
    write_manifest(
        tmp_path / "run" / "dataset" / "manifest.parquet",
        rows,
        {**metadata, "generator": {"name": "shapes-vae"}},
    )
    with pytest.raises(InputError, match="expected a run of dcgan-digiface, got one of shapes-vae"):
        faces._qdgs(8, 0)


def test_the_study_leaves_its_rows_and_does_only_what_is_missing(study, tmp_path, capsys):
    arguments = ["--quick", "--out", str(tmp_path / "out"), "--workers", "1"]
    study.main(arguments)
    told = capsys.readouterr().out
    assert "its set comes from a short search whose guide is the luminance of pixels" in told
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(rows) == ["pretraining", "seed", "group", "accuracy", "n"]
    assert rows.groupby("pretraining").size().to_dict() == {"qdgs": 4, "random": 4}
    assert rows["accuracy"].between(0, 1).all()
    whole = rows[rows["group"] == "all"]["n"].unique()
    assert whole == rows[(rows["pretraining"] == "qdgs") & (rows["group"] != "all")]["n"].sum()
    sets = pd.read_csv(tmp_path / "out" / "sets.csv")
    assert sets.groupby("pretraining")["identities"].sum().to_dict() == {"qdgs": 12, "random": 12}
    assert sets.groupby("pretraining")["images"].sum().to_dict() == {"qdgs": 48, "random": 48}
    assert (tmp_path / "out" / "accuracy.png").stat().st_size > 10_000
    kept = rows[rows["pretraining"] == "random"]
    kept.to_csv(tmp_path / "out" / "results.csv", index=False, float_format="%.6g")
    study.main([*arguments, "--arms", "random", "qdgs", "none"])
    again = capsys.readouterr().out
    assert "random       seed" not in again
    assert "none         seed 0" in again
    after = pd.read_csv(tmp_path / "out" / "results.csv")
    pd.testing.assert_frame_equal(
        after[after["pretraining"] != "none"].reset_index(drop=True), rows, check_exact=False
    )
    with pytest.raises(InputError, match="with other sizes or another run"):
        study.main([*arguments, "--run", str(tmp_path)])


def test_what_the_study_says_follows_from_its_rows():
    summary = importlib.import_module("recognition_summary")
    rows = pd.DataFrame(
        [
            (arm, seed, group, value + 0.001 * seed, 100)
            for arm, values in {"random": (0.90, 0.80, 0.85), "qdgs": (0.89, 0.84, 0.852)}.items()
            for group, value in zip(("dark", "light", "all"), values, strict=True)
            for seed in range(3)
        ],
        columns=["pretraining", "seed", "group", "accuracy", "n"],
    )
    rows.loc[(rows["pretraining"] == "qdgs") & (rows["seed"] == 2), "accuracy"] += 0.001
    table = summary.intervals(rows).set_index("group")
    assert table.loc["light", "difference"] == pytest.approx(0.04 + 0.001 / 3)
    assert table.loc["light", "low"] > 0
    first, second = summary.verdict(table.reset_index(), "light")
    assert first.startswith(
        "Pre-training on the qdgs set raises accuracy on the rarest group (light): +0.0403, [+0.0"
    )
    assert second.startswith("Over all pairs accuracy changes by +0.0023 [+0.0009, +0.0038]: at most half")
    assert second.endswith("is lost.")
    worse = table.reset_index().assign(difference=-0.02, low=-0.05, high=0.01)
    first, second = summary.verdict(worse, "light")
    assert "does not raise" in first
    assert "which holds 0" in first
    assert second == (
        "Over all pairs accuracy changes by -0.0200 [-0.0500, +0.0100]: more than half a point is lost, "
        "which is not settled."
    )
