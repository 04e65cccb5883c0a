import re
import shutil

import numpy as np
import pandas as pd
import pytest

from qdgs.cli import run_command
from qdgs.errors import ConfigError, InputError
from qdgs.files import read_json
from qdgs.probe.carry_out import probe_model
from qdgs.probe_config import load_probe


@pytest.fixture(scope="module")
def biased_folder(config_of, tmp_path_factory):
    """A finished probe of a model that goes by colour. Do not write into it: copy it."""
    out = tmp_path_factory.mktemp("probe") / "run"
    probe_model(config_of("probed:ByColor"), out)
    return out


@pytest.fixture
def folder(biased_folder, tmp_path):
    return shutil.copytree(biased_folder, tmp_path / "run")


def test_a_probe_names_what_moves_the_model(biased_folder):
    summary = read_json(biased_folder / "summary.json")
    assert summary["cause"] == "color"
    assert 0 < summary["cause_p"] < 1e-6
    assert (summary["pairs_attribute"], summary["pairs_flip_rate"]) == ("color", pytest.approx(1.0, abs=0.05))
    table = pd.read_csv(biased_folder / "probe.csv")
    assert list(table) == ["group", "n", "error", "low", "high"]
    errors = dict(zip(table["group"], table["error"], strict=True))
    assert errors["red/tall"] < 0.2 < 0.8 < errors["red/wide"]
    assert table["n"].tolist() == [40] * 4
    assert ((table["low"] <= table["error"]) & (table["error"] <= table["high"])).all()


def test_every_table_is_there_and_the_page_asks_nobody_for_anything(biased_folder):
    names = {path.name for path in biased_folder.iterdir()}
    assert names >= {
        "probe.csv", "groups.csv", "effects.csv", "disparities.csv", "failed.csv", "pairs.csv",
        "failures.csv", "summary.json", "config.yaml", "answers.parquet", "failures.parquet", "report.html",
    }  # fmt: skip
    page = (biased_folder / "report.html").read_text()
    assert "Color moves this model" in page
    assert not re.search(r'(src|href)="https?:', page)
    assert "{{" not in page
    assert {path.stem for path in (biased_folder / "figures").iterdir()} == {"errors", "effects", "map"}
    assert load_probe(str(biased_folder / "config.yaml")).model.target == "probed:ByColor"


def test_a_page_is_written_where_no_group_has_enough_images(tmp_path, config_of):
    few = ["samples.images=8", "samples.pool=200", "findings.smallest=20", "pairs=null", "failures=null"]
    out = tmp_path / "run"
    probe_model(config_of("probed:ByColor", *few), out)
    assert "effects" not in {path.stem for path in (out / "figures").iterdir()}
    assert pd.read_csv(out / "probe.csv")[["error", "low", "high"]].isna().all(axis=None)
    page = (out / "report.html").read_text()
    assert "too few images, or too few attributes, to tell what moves" in page
    assert page.count("fewer than the 20 that an interval takes") == 4


def test_another_model_is_probed_with_the_same_images(folder, config_of):
    cards = {path.name: path.stat().st_mtime_ns for path in (folder / "kept").iterdir()}
    fair = probe_model(config_of("probed:ByShape", "failures=null"), folder)
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "kept").iterdir()} == cards
    assert fair.examined.cause is None
    assert all(finding.p > 0.05 for finding in fair.examined.findings)
    assert fair.examined.overall < 0.1
    assert not (folder / "failures.csv").exists()
    assert "No attribute was found" in (folder / "report.html").read_text()


def test_a_constant_model_is_warned_of(folder, config_of):
    constant = probe_model(config_of("probed:Constant", "failures=null", "pairs=null"), folder)
    assert constant.examined.warnings[0].startswith("The model gives the answer wide to every image, with")
    assert constant.examined.cause is None
    errors = {told.group: told.error.value for told in constant.examined.groups}
    assert errors["red/tall"] == errors["blue/tall"] == 1.0


def test_images_that_the_model_fails_on_are_counted_and_named(folder, config_of):
    picky = probe_model(config_of("probed:Picky", "failures=null", "pairs=null"), folder)
    failed = pd.read_csv(folder / "failed.csv")
    assert set(failed["group"]) >= {"blue/tall", "blue/wide"}
    assert failed["reason"].str.contains("blue is not supported").any()
    counted = {told.group: told.failed for told in picky.examined.groups}
    assert counted == {
        name: int((failed["group"] == name).sum())
        for name in ("red/tall", "red/wide", "blue/tall", "blue/wide")
    }
    assert any("blue is not supported" in sentence for sentence in picky.examined.warnings)
    table = pd.read_csv(folder / "probe.csv").set_index("group")
    few = table[table["n"] < 20]
    assert len(few) > 0
    assert few["error"].isna().all()
    assert any("nothing is said of it" in sentence for sentence in picky.examined.warnings)


def test_a_probe_that_breaks_off_leaves_an_earlier_one_whole(folder, config_of):
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match="model: failed on every image: ValueError: blue is not"):
        probe_model(config_of("probed:Picky", "model.options={limit: -9.0}"), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_detector_s_misses_are_its_errors(folder, config_of):
    seen = probe_model(config_of("probed:Detector", "model.task=detector"), folder)
    errors = {told.group: told.error.value for told in seen.examined.groups}
    assert errors["red/tall"] == errors["red/wide"] == 0.0
    assert errors["blue/tall"] == errors["blue/wide"] == 1.0
    assert seen.examined.cause.effect.attribute == "color"
    assert seen.failures is None


def test_a_detector_that_finds_everything_is_not_warned_of(folder, config_of):
    sizes = ["model.task=detector", "pairs=null"]
    seen = probe_model(config_of("probed:Finder", *sizes), folder)
    assert seen.examined.overall == 0.0
    assert seen.examined.warnings == ()
    page = (folder / "report.html").read_text()
    assert "No attribute was found" in page
    assert not re.search(r"\bnan\b", page)


def test_differences_are_those_of_the_groups(biased_folder):
    frame = pd.read_csv(biased_folder / "disparities.csv").set_index(["attribute", "metric"])
    errors = pd.read_csv(biased_folder / "groups.csv").set_index("group")["observed"]
    row = frame.loc[("all", "error")]
    assert row["difference"] == pytest.approx(errors.max() - errors.min(), abs=1e-5)
    assert row["ratio"] == pytest.approx(errors.min() / errors.max(), abs=1e-5)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    color = frame.loc[("color", "answers wide")]
    assert color["difference"] > 0.9
    assert color["least"] == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(
    ("model", "override", "sentence"),
    [
        ("probed:Seven", "seed=0", r"model: expected outputs .* got \(4, 7\)"),
        ("probed:Nothing", "seed=0", "unknown 'Nothing' in 'probed'"),
        ("probed:ByShape", "model.values=[tall, round]", "model.values: unknown 'round'"),
        ("probed:ByShape", "failures.search={emiters: 2}", r"failures\.search\.emiters: unknown key"),
    ],
)
def test_a_model_that_does_not_fit_is_told_before_an_image_is_drawn(
    tmp_path, config_of, model, override, sentence
):
    with pytest.raises((InputError, ConfigError), match=sentence):
        probe_model(config_of(model, override), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_refused(tmp_path, config_of, finished_folder):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        probe_model(config_of("probed:ByShape"), tmp_path / "run")
    with pytest.raises(InputError, match="expected the folder of a probe, got that of a run"):
        probe_model(config_of("probed:ByShape"), finished_folder)


def test_the_command_says_what_it_found(folder, tiny_config, config_of, capfd):
    sizes = [f"--set={key}" for key in ("samples.images=160", "samples.pool=600", "samples.draws=4000")]
    arguments = ["probe", "probed:ByColor", "--guide", tiny_config, "--out", folder, *sizes]
    code = run_command([*map(str, arguments), "--set", "failures=null", "--set", "pairs=null"])
    told = capfd.readouterr()
    assert code == 0
    assert "color moves it" in told.out
    assert run_command(["probe", "none.pt", "--guide", str(tiny_config), "--out", str(folder)]) == 2
    told = capfd.readouterr().err
    assert told.startswith("qdgs: model.path: expected a model at none.pt")
    assert told.count("\n") == 1


def test_answers_are_kept_with_their_images(biased_folder):
    answers = pd.read_parquet(biased_folder / "answers.parquet")
    np.testing.assert_allclose(answers["p_tall"] + answers["p_wide"], 1, atol=1e-6)
    assert not answers["failed"].any()
