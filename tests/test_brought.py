"""Runs of parts that a user brings, from the command line and from Python."""

import shutil

import pandas as pd
import pytest
import yaml

import qdgs
from qdgs.cli import run_command
from qdgs.datasets.manifest import read_manifest
from qdgs.errors import ConfigError
from qdgs.stages.judges import check_judges

SEARCH = {
    "algorithm": "cma_mae",
    "emitters": 2,
    "batch_size": 16,
    "evaluations": 640,
    "range_samples": 64,
    "prior_starts": 64,
}
DATA = {
    "generator": {"name": "python", "target": "my_parts:Stripes"},
    "guide": {
        "name": "python",
        "target": "my_parts:Warmth",
        "measures": [{"name": "warmth", "cells": 10}, {"name": "detail", "cells": 5}],
    },
    "search": SEARCH,
    "dataset": {
        "images": 24,
        "label": "warmth",
        "groups": {"warmth": {"cut": "auto", "low": "cold", "high": "warm", "audit": "warmth"}},
    },
    "judges": {
        "gate": {"name": "python", "target": "my_parts:Thermometer"},
        "auditor": {"name": "python", "target": "my_parts:OtherThermometer"},
    },
    "audit": {"samples": 128},
}


@pytest.fixture
def here(tmp_path, monkeypatch, request):
    """A folder with the user's module, and the cache of the test's own."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "work")
    shutil.copy(request.config.rootpath / "tests" / "brought.py", "my_parts.py")
    return tmp_path / "work"


@pytest.fixture
def command(capfd):
    def act(*arguments):
        code = run_command([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return act


def written(folder, data, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**data, **changes}))
    return path


def test_a_run_of_nothing_but_the_users_own_parts(here, command):
    config = written(here, DATA)
    assert command("check", config)[1] == f"{config}: valid; nothing to fetch\n"
    code, out, err = command("run", config, "--out", "RUN")
    assert (code, "Traceback" in err) == (0, False), err
    assert out.startswith("RUN: images 24, label_agreement 1")
    card = (here / "RUN/dataset/README.md").read_text()
    assert "The guide `my_parts:Warmth` scored images:" in card
    assert "auditor `python (my_parts:OtherThermometer)`" in card
    assert "python (my_parts:OtherThermometer)" in (here / "RUN/report.html").read_text()
    manifest = read_manifest(here / "RUN/dataset/manifest.parquet")
    assert manifest.metadata["guide"]["target"] == "my_parts:Warmth"
    assert set(manifest.rows["label"]) == {"cold", "warm"}


def test_a_manifest_starts_no_code(here, command):
    code, _, err = command("run", written(here, DATA), "--out", "RUN")
    assert code == 0, err
    (here / "bare/dataset").mkdir(parents=True)
    shutil.copy("RUN/dataset/manifest.parquet", "bare/dataset")
    code, out, err = command("render", "bare")
    assert (code, out) == (2, "")
    assert (
        "expected a generator of qdgs, got python (my_parts:Stripes), code that a file of data must not"
        in err
    )
    image = sorted((here / "RUN/dataset/train").glob("*/*.png"))[0]
    before = image.read_bytes()
    assert command("render", "RUN")[0] == 0
    assert image.read_bytes() == before


def test_objects_of_a_session_make_a_run(here, brought, monkeypatch):
    monkeypatch.setitem(qdgs.GENERATORS, "stripes", brought.Stripes(contrast=0.9))
    monkeypatch.setitem(qdgs.GUIDES, "warmth", brought.Warmth())
    monkeypatch.setitem(qdgs.JUDGES, "thermometer", brought.Thermometer)
    data = {
        **DATA,
        "generator": "stripes",
        "guide": {"name": "warmth", "measures": DATA["guide"]["measures"]},
        "judges": {"auditor": "thermometer", "teacher": {"name": "thermometer", "cut": 0.1}, "shared": True},
    }
    run = qdgs.Run.create(qdgs.parse_config(data), here / "RUN").complete()
    assert run.summary["images"] == 24
    assert pd.read_parquet(here / "RUN/search/archive.parquet")["objective"].max() > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"generator": {"name": "python", "target": "my_parts:Half"}},
            "generator.target (my_parts:Half): exp",
        ),
        (
            {"generator": {"name": "python", "target": "my_part:Stripes"}},
            "generator.target: 'my_part' cannot be",
        ),
        (
            {"guide": {**DATA["guide"], "target": "my_parts:Blind"}},
            "guide.target (my_parts:Blind): expected a g",
        ),
        (
            {"judges": {**DATA["judges"], "gate": {"name": "python", "target": "my_parts:Blind"}}},
            "judges.gate: expected a column for each attribute, got none named warmth_score, quality",
        ),
        (
            {"judges": {**DATA["judges"], "auditor": {"name": "python", "target": "my_parts:Thermometer"}}},
            "judges: expected an auditor that holds no other role, got 'python (my_parts:Thermometer)'",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_one_sentence_before_anything_is_searched(here, command, change, said):
    config = written(here, DATA, **change)
    code, out, err = command("run", config, "--out", "RUN")
    assert (code, out) == (2, "")
    assert err.startswith(f"qdgs: {said}")
    assert err.count("\n") == 1
    assert not (here / "RUN/search").exists()


def test_a_guide_of_another_image_size_is_one_sentence(here, command, brought, monkeypatch):
    monkeypatch.setitem(qdgs.GUIDES, "small", brought.Warmth())
    monkeypatch.setattr(brought.Warmth, "image_size", 64, raising=False)
    config = written(here, DATA, guide={"name": "small", "measures": DATA["guide"]["measures"]})
    code, _, err = command("search", config, "--out", "RUN")
    assert code == 2
    assert err.startswith(
        "qdgs: guide: expected one for the generator's images of 32 pixels, got small for im"
    )


@pytest.fixture
def zero_shot(tiny_config, other_clip_folder):
    """A configuration whose auditor is a CLIP beside the guide's."""
    config = yaml.safe_load(tiny_config.read_text())
    reads = {
        "color": {"red": "a red shape", "blue": "a blue shape"},
        "shape": {"tall": "a triangle", "wide": "a square"},
    }
    clip = {"model": f"local-dir:{other_clip_folder}"}
    config["judges"]["auditor"] = {"name": "clip-zero-shot", "clip": clip, "attributes": reads}
    return config


@pytest.mark.parametrize("role", ["auditor", "gate"])
def test_the_guides_own_clip_is_no_judge_by_its_name(zero_shot, role):
    judge = {**zero_shot["judges"]["auditor"], "clip": dict(zero_shot["guide"]["clip"])}
    zero_shot["judges"] = {"gate": "pixels", "auditor": "other-pixels", role: judge}
    with pytest.raises(
        ConfigError, match=rf"^judges\.{role}\.clip: expected another CLIP than the guide's, got"
    ):
        qdgs.parse_config(zero_shot)
    judge["clip"] = judge["clip"]["model"]
    with pytest.raises(ConfigError, match=r"expected another CLIP than the guide's"):
        qdgs.parse_config(zero_shot)


def test_a_copy_of_the_guides_clip_is_no_judge_either(zero_shot, tiny_clip_folder, tmp_path):
    copy = shutil.copytree(tiny_clip_folder, tmp_path / "another name")
    zero_shot["judges"]["auditor"]["clip"] = {"model": f"local-dir:{copy}"}
    config = qdgs.parse_config(zero_shot)
    with pytest.raises(
        ConfigError, match=r"^judges\.auditor\.clip: expected another CLIP than the guide's, got"
    ):
        check_judges(config, guide=qdgs.load_guide(config.guide))
    with pytest.raises(
        ConfigError, match=r"^judges\.auditor\.clip: expected another CLIP than the guide's, got"
    ):
        qdgs.Run.create(config, tmp_path / "RUN").do("search")
    assert not (tmp_path / "RUN/search").exists()


def test_after_the_search_too_another_clip_may_audit_and_a_copy_may_not(
    finished, other_clip_folder, tiny_clip_folder, tmp_path
):
    copy = shutil.copytree(tiny_clip_folder, tmp_path / "another name")
    reads = "{color: {red: a red shape, blue: a blue shape}, shape: {tall: a triangle, wide: a square}}"
    judge = f"{{name: clip-zero-shot, clip: 'local-dir:{copy}', attributes: {reads}}}"
    run = qdgs.Run.open(finished.path, [f"judges.auditor={judge}"])
    with pytest.raises(ConfigError, match="expected another CLIP than the guide's"):
        run.do("flatten")
    fine = judge.replace(str(copy), str(other_clip_folder))
    run = qdgs.Run.open(finished.path, [f"judges.auditor={fine}"]).complete()
    assert 0 <= run.summary["label_agreement"] <= 1
    assert f"clip-zero-shot (local-dir:{other_clip_folder})" in (run.path / "report.html").read_text()
