"""The study of restorers in seconds, on patches of two colours and two shapes."""

import importlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.errors import InputError
from qdgs.probe.kept import Kept
from qdgs.probe.samples import group_names, open_parts

FOLDER = Path(__file__).parents[2] / "experiments" / "probe"
NAMES = ("restorers", "restoration")


@pytest.fixture(scope="module")
def study(tiny_config):
    """The module; its faces are the stand-in's patches."""
    sys.path.insert(0, str(FOLDER))
    module = importlib.import_module("restoration")
    attributes = ("color", "shape")
    module.TASKS["faces"] = replace(module.TASKS["faces"], config=tiny_config, attributes=attributes)
    yield module
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        del sys.modules[name]


@pytest.fixture(scope="module")
def restorers(study):
    return sys.modules["restorers"]


@pytest.fixture(scope="module")
def faces(study, tmp_path_factory):
    """A finished quick study of "faces", and what it told."""
    out = tmp_path_factory.mktemp("restoration") / "out"
    study.main(["--images", "faces", "--quick", "--out", str(out)])
    return out


def test_every_restorer_is_probed_with_the_same_images(study, faces):
    tables = [pd.read_parquet(faces / arm / "probe" / "answers.parquet")["id"] for arm in study.ARMS]
    latents = [
        pd.read_parquet(faces / arm / "probe" / "kept" / "images-latents.parquet") for arm in study.ARMS
    ]
    assert len(tables[0]) == study.QUICK.images
    for table, of in zip(tables[1:], latents[1:], strict=True):
        pd.testing.assert_series_equal(table, tables[0])
        pd.testing.assert_frame_equal(of, latents[0])


def test_tables_tell_what_the_probes_do(study, faces):
    changes = pd.read_csv(faces / "changes.csv").set_index(["attribute", "from", "to"])
    for arm in study.ARMS:
        probed = pd.read_csv(faces / arm / "probe" / "changes.csv").set_index(["attribute", "from", "to"])
        told = probed["share"].reindex(changes.index)
        np.testing.assert_allclose(changes[arm], told.fillna(0), atol=1e-5)
    excess = changes["biased"] - changes["balanced"]
    np.testing.assert_allclose(changes["excess"], excess, atol=1e-5)
    assert (changes["low"] <= changes["excess"]).all()
    assert (changes["excess"] <= changes["high"]).all()
    errors = pd.read_csv(faces / "biased" / "probe" / "probe.csv")
    np.testing.assert_allclose(pd.read_csv(faces / "groups.csv")["biased"], errors["error"])
    assert (faces / "restored.png").stat().st_size > 1000


def test_what_is_there_is_not_made_again_and_another_study_is_refused(study, faces, capsys):
    made = [path for arm in study.ARMS for path in (faces / arm).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in made}
    study.main(["--images", "faces", "--quick", "--out", str(faces)])
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert "changes.csv" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected a new folder or one of this study"):
        study.main(["--images", "faces", "--quick", "--bias", "3", "--out", str(faces)])


def test_a_folder_of_something_else_is_refused(study, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        study.main(["--quick", "--out", str(tmp_path)])


@pytest.mark.parametrize("bias", [["shapes", "0.3"], ["faces", "0"], ["faces", "1.5"]])
def test_a_bias_that_there_cannot_be_is_refused(study, bias, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        study.main(["--images", bias[0], "--bias", bias[1], "--out", str(tmp_path)])
    assert exit_info.value.code == 2
    assert "--bias: expected" in capsys.readouterr().err


def test_groups_are_as_rare_as_the_skew_says(restorers):
    attributes = {"age": ("young", "old"), "lightness": ("dark", "medium", "light")}
    read = pd.DataFrame(
        {
            "age": ["young"] * 7 + ["old"] * 3,
            "lightness": ["dark", "dark", "dark", "light", "medium"] * 2,
            "accepted": [True] * 9 + [False],
        }
    )
    pool = SimpleNamespace(read=read)  # "old" and, of what is accepted, "medium" are the rarest
    sizes = dict(zip(group_names(attributes), restorers.group_sizes(1200, 7, attributes, pool), strict=True))
    weights = {
        name: (1 if name.startswith("old") else 7) * (1 if name.endswith("medium") else 7) for name in sizes
    }
    assert sum(sizes.values()) == 1200
    for name, size in sizes.items():
        assert size == pytest.approx(1200 * weights[name] / sum(weights.values()), abs=len(sizes))
    even = restorers.group_sizes(1200, 1, attributes, pool)
    assert even == [200] * 6


def test_a_restorer_never_learns_from_what_it_is_probed_with(study, restorers, faces, monkeypatch):
    there = study.Study("faces", 7, 0, study.QUICK, faces, study.TASKS["faces"].config)
    config = there.probe("biased")
    parts, kept = open_parts(config), Kept(faces / "kept", config)
    pool = kept.pool(parts)
    probe_set, shown = kept.probe_set(parts, pool), []
    real = type(parts).images

    def images(self, latents):
        shown.append(latents)
        return real(self, latents)

    monkeypatch.setattr(type(parts), "images", images)
    learned = restorers.samples(200, 7, 0, parts, pool, probe_set)
    assert learned.shape == (200, 3, 64, 64)
    assert learned.dtype == torch.uint8
    (latents,) = shown
    assert not {row.tobytes() for row in latents.numpy()} & {
        row.tobytes() for row in probe_set.latents.numpy()
    }
    counts = parts.read(latents).value_counts(["color", "shape"]).sort_values().tolist()
    assert counts == sorted(restorers.group_sizes(200, 7, parts.attributes, pool))


def test_training_brings_the_image_nearer_than_interpolation_does(restorers):
    rng = torch.Generator().manual_seed(0)
    squares = torch.randint(256, (64, 3, 8, 8), generator=rng, dtype=torch.uint8)
    images = squares.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    large = images.float() / 255
    small = torch.nn.functional.interpolate(large, size=16, mode="area")
    learned = restorers.train(images, steps=30, seed=0)
    errors = [(told(small) - large).abs().mean().item() for told in (learned, restorers.Upscaling())]
    assert errors[0] < 0.95 * errors[1]


def test_what_the_bias_changes_is_told_and_what_all_restorers_change_is_not(study):
    n = 200
    probe_set = SimpleNamespace(
        attributes={"age": ("young", "old")},
        rows=pd.DataFrame({"group_age": ["old"] * n + ["young"] * n}),
    )
    as_it_was = np.array(["old"] * n + ["young"] * n, dtype=object)
    lost = as_it_was.copy()
    lost[n:] = "unreadable"
    younger = lost.copy()
    younger[: n // 2] = "young"
    after = {
        arm: pd.DataFrame({"age": read})
        for arm, read in (("bilinear", as_it_was), ("balanced", lost), ("biased", younger))
    }
    changes = study.changes_of(after, probe_set, np.random.default_rng(0))
    (line,) = study.told(changes, SimpleNamespace(bias=7))
    assert line.startswith("age: old becomes young in 50% of 200 images, in 0% where")
    row = changes.set_index(["from", "to"]).loc[("young", "unreadable")]
    assert (row["biased"], row["balanced"], row["excess"]) == (1, 1, 0)
    assert not math.isnan(row["low"])
    same = study.changes_of({**after, "biased": after["balanced"]}, probe_set, np.random.default_rng(0))
    assert "every interval of `excess` holds 0" in study.told(same, SimpleNamespace(bias=7))[0]
