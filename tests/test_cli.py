import copy
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import qdgs
from qdgs.cli import run_command
from qdgs.config import load_config
from qdgs.run import Run
from qdgs.search.settings import settle

TESTS = Path(__file__).parent
STANDINS = (
    f"import sys; sys.path.insert(0, {str(TESTS)!r}); import standins; standins.register(); "
    "import torch; torch.set_num_threads(1); from qdgs.cli import main; main(sys.argv[1:])"
)

LIGHT = [
    "--set=search.algorithm=map_elites_line",  # compiles nothing
    "--set=guide={name: python, target: 'brought:Warmth', measures: [{name: warmth}, {name: detail}]}",
    "--set=dataset={images: 8, label: warmth, groups: {warmth: {cut: 0.0}}}",
    "--set=judges={}",
]
"""A search whose process imports little."""


@pytest.fixture
def data(tiny_config):
    return copy.deepcopy(yaml.safe_load(tiny_config.read_text()))


@pytest.fixture
def command(capfd):
    """Run a command: exit code, stdout, stderr."""

    def act(*arguments):
        code = run_command([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return act


def written(tmp_path, data):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def is_one_sentence(text):
    return text.startswith("qdgs: ") and text.count("\n") == 1 and "Traceback" not in text


def test_help_and_import_cost_no_models():
    heavy = ["torch", "pandas", "numpy", "ribs", "open_clip", "matplotlib", "rich"]
    modules = "qdgs, qdgs.cli, qdgs.run, qdgs.config, qdgs.registry"
    script = f"import {modules}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_had():
    assert [name for name in qdgs.__all__ if getattr(qdgs, name, None) is None] == []
    assert set(qdgs.__all__) <= set(dir(qdgs))
    with pytest.raises(AttributeError, match="no attribute 'Rnu'"):
        _ = qdgs.Rnu


def test_help_lists_the_commands(command):
    code, out, _ = command("--help")
    assert code == 0
    commands = (
        "run search flatten render audit report export resume check fetch convert list doctor init schema "
        "watch merge top-up certify compare"
    )
    for name in commands.split():
        assert f"\n  {name} " in out


BAD = [
    ({"serch": {}}, "serch: unknown key; did you mean 'search'?"),
    ({"generator": "pachtes"}, "generator.name: unknown 'pachtes'; did you mean 'patches'? known: "),
    ({"generator": {"name": "patches", "falt": 1}}, "generator.falt: unknown option of 'patches'; did you "),
    ({"judges": {"gate": "pixel"}}, "judges.gate.name: unknown 'pixel'; did you mean 'pixels'?"),
    ({"judges": {"gate": "pixels", "auditor": "pixels"}}, "judges: expected an auditor that holds no other"),
    (
        {"judges": {"gate": {"name": "pixels", "smalest": 1}}},
        "judges.gate.smalest: unknown option of 'pi",
    ),
    (
        {"judges": {"gate": "pixels", "auditor": "red-only"}},
        "dataset.groups.edges.audit: expected an ",
    ),
    ({"judges": {}}, "judges.teacher: expected a judge to find the cuts `auto` by, got none"),
    ({"search": {"algorithm": "cma_mee"}}, "search.algorithm: unknown 'cma_mee'; did you mean"),
    (
        {"search": {"evaluations": 10}},
        "search.evaluations: expected at least one batch of 8 emitters × 32 = 256",
    ),
    (
        {"guide": {"clip": {"model": "ViT-B-23"}}},
        "guide.clip.model: unknown 'ViT-B-23'; did you mean 'ViT-B-32'",
    ),
    (
        {"guide": {"clip": {"model": "local-dir:/nowhere"}}},
        "guide.clip.model: expected open_clip_config.json",
    ),
    ({"guide": {"objective": {"positive": ""}}}, "guide.objective.positive.0: expected a prompt, got ''"),
]


@pytest.mark.parametrize(("change", "start"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_configuration_is_one_sentence_and_leaves_no_search(command, tmp_path, data, change, start):
    for key, value in change.items():
        data[key] = {**data[key], **value} if key == "guide" else value
    code, out, err = command("run", written(tmp_path, data), "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert is_one_sentence(err)
    assert err.startswith(f"qdgs: {start}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command_name", ["run", "search"])
def test_a_run_refused_for_its_parts_leaves_what_was_there_as_it_was(
    command, tmp_path, tiny_config, command_name
):
    there, refused = tmp_path / "there", "--set=judges.auditor=no-such-judge"
    there.mkdir()
    code, _, err = command(command_name, tiny_config, refused, "--out", there / "new" / "run")
    assert code == 2
    assert is_one_sentence(err)
    assert list(there.iterdir()) == []
    Run.create(load_config(tiny_config, [refused.removeprefix("--set=")]), there / "run")
    (there / "notes.txt").write_text("mine")
    kept = (there / "run" / "config.yaml").read_bytes()
    assert command(command_name, tiny_config, refused, "--out", there / "run")[0] == 2
    assert (there / "run" / "config.yaml").read_bytes() == kept
    (tmp_path / "empty").mkdir()
    assert command(command_name, tiny_config, refused, "--out", tmp_path / "empty")[0] == 2
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("measure", "start"),
    [
        ({"cells": 0}, "guide.measures.1.cells: expected an integer of at least 1, got 0"),
        ({"range": [1, -1]}, "guide.measures.1.range: expected low < high, got [1, -1]"),
        (
            {"low": "a square"},
            "guide.measures.1: expected different prompts on the two sides, got ",
        ),
        (
            {"low": "A Square"},
            "guide.measures.1: expected prompts that differ, got 'A Square' and ",
        ),
    ],
)
def test_a_wrong_measure_is_one_sentence(command, tmp_path, data, measure, start):
    data["guide"]["measures"][1].update(measure)
    code, _, err = command("search", written(tmp_path, data), "--out", tmp_path / "run")
    assert code == 2
    assert (
        is_one_sentence(err.replace("warning: ", "qdgs: ") if "warning" in err else err) or "warning" in err
    )
    assert f"qdgs: {start}" in err


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "{config}", "--ot", "x"], "No such option"),
        (["run", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file"),
        (["run", "{config}", "--set", "search.emiters=2"], "search.emiters: unknown key"),
        (["run", "{config}", "--set", "nonsense"], "--set nonsense: expected a.b=value"),
        (["run", "{config}", "--out", "{config}"], "{config}: expected a folder, got a file"),
        (["resume", "{tmp}"], "{tmp}: expected the folder of a run, got a folder without config.yaml"),
        (["render", "{tmp}"], "{tmp}: expected the folder of a run"),
        (["render", "{tmp}", "--set", "seed=1"], "{tmp}: expected the folder of a run"),
        (["report", "{tmp}", "--set", "seed=1"], "{tmp}: expected the folder of a run"),
        (["export", "{tmp}", "--set", "seed=1"], "{tmp}: expected the folder of a run"),
        (["render", "{tmp}", "--shard", "1"], "--shard: expected i/N, got '1'"),
        (["render", "{tmp}", "--shard", "2/2"], "--shard: expected i/N with i from 0 to N - 1, got 2/2"),
        (["audit", "{tmp}", "--shard", "0/0"], "--shard: expected i/N with i from 0 to N - 1, got 0/0"),
        (["search", "{config}", "--out", "{tmp}/run", "--device", "gpu"], "--device: unknown 'gpu'"),
        (["search", "{config}", "--out", "{tmp}/run", "--device", "cuda:99"], "--device: expected a device"),
        (["check", "{tmp}/none.yaml"], "{tmp}/none.yaml: cannot be read"),
    ],
)
def test_a_wrong_command_is_one_sentence(command, tmp_path, tiny_config, arguments, start):
    places = {"config": str(tiny_config), "tmp": str(tmp_path)}
    code, out, err = command(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert is_one_sentence(err)
    assert err.startswith("qdgs: " + start.format(**places))


@pytest.mark.parametrize("content", ["- a\n", "", "text", "a: [", "\tx"])
def test_a_file_that_is_no_mapping_is_one_sentence(command, tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    code, _, err = command("check", tmp_path / "config.yaml")
    assert code == 2
    assert is_one_sentence(err)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nan", "generator: expected finite pixel values, got NaN or infinity"),
        ("shape", "generator: expected images (batch_size, 3, height, width) = "),
        ("range", "generator: expected pixel values in [0, 1], got ["),
    ],
)
def test_a_generator_that_breaks_its_contract_is_one_sentence(command, tmp_path, data, fault, said):
    data["generator"] = {"name": "patches", "fault": fault}
    code, _, err = command("search", written(tmp_path, data), "--out", tmp_path / "run")
    assert code == 2
    assert is_one_sentence(err)
    assert said in err


def test_a_generator_that_breaks_its_contract_later_is_one_sentence(command, tmp_path, data, monkeypatch):
    spoil = "standins.Patches._spoilt"
    monkeypatch.setattr(spoil, lambda self, images: images * torch.nan if len(images) > 2 else images)
    code, _, err = command("search", written(tmp_path, data), "--out", tmp_path / "run")
    assert code == 1
    assert is_one_sentence(err)
    assert err == "qdgs: generator: expected finite pixel values, got NaN or infinity\n"


@pytest.mark.parametrize(
    ("stage", "temporary", "kept"),
    [
        ("search", "search/checkpoint.bin.tmp", "search/checkpoint.bin"),
        ("search", "search/.metrics.csv.tmp", "search/metrics.csv"),
        ("search", "search/.archive.parquet.tmp", "search/archive.parquet"),
        ("flatten", "dataset/.manifest.parquet.tmp", "dataset/manifest.parquet"),
        ("flatten", ".stages.json.tmp", "stages.json"),
        ("export", "dataset/.README.md.tmp", "dataset/README.md"),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_one_sentence_and_loses_nothing(command, finished, stage, temporary, kept):
    before = (finished.path / kept).read_bytes()
    (finished.path / temporary).symlink_to("/dev/full")
    code, _, err = command(stage, finished.path)
    assert code == 1
    assert is_one_sentence(err.splitlines(keepends=True)[-1])
    assert "no space left" in err.lower()
    assert "Traceback" not in err
    assert (finished.path / kept).read_bytes() == before
    (finished.path / temporary).unlink(missing_ok=True)
    assert command(stage, finished.path)[0] == 0


def test_another_run_in_the_folder_is_one_sentence(command, finished, tiny_config):
    code, _, err = command("run", tiny_config, "--out", finished.path, "--set", "seed=3")
    assert code == 2
    assert is_one_sentence(err)
    assert "differs in seed" in err
    assert Run.open(finished.path).finished("export")


def test_a_damaged_weight_file_is_one_sentence(command, tmp_path, data):
    clip = Path(data["guide"]["clip"]["model"].removeprefix("local-dir:"))
    spoilt = tmp_path / "clip"
    spoilt.mkdir()
    for file in clip.iterdir():
        (spoilt / file.name).write_bytes(file.read_bytes()[: 100_000 if "safetensors" in file.name else None])
    data["guide"]["clip"]["model"] = f"local-dir:{spoilt}"
    code, _, err = command("search", written(tmp_path, data), "--out", tmp_path / "run")
    assert code == 2
    assert is_one_sentence(err)
    assert "open_clip_model.safetensors" in err


def test_a_missing_model_offline_is_one_sentence_at_once(command, tmp_path, data, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data["guide"]["clip"] = {"model": "hf-hub:nobody/nothing-of-the-kind"}
    path = written(tmp_path, data)
    code, _, err = command("fetch", path)
    assert code == 2
    assert is_one_sentence(err)
    code, out, _ = command("check", path)
    assert code == 0
    assert "would fetch nobody/nothing-of-the-kind" in out


def test_fetch_tells_how_to_download_on_another_machine(command, tmp_path, data, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    data["guide"]["clip"] = {"model": "hf-hub:nobody/nothing-of-the-kind"}
    code, out, err = command("fetch", written(tmp_path, data), "--print")
    assert (code, err) == (0, "")
    assert out.startswith(
        "hf download nobody/nothing-of-the-kind --include open_clip_config.json open_clip_m"
    )
    assert out.splitlines()[-1].endswith(f"into {tmp_path / 'hub'}")
    assert not (tmp_path / "hub").exists()


def test_run_then_flatten_with_other_settings_then_resume(command, finished):
    code, out, _ = command("run", finished.path / "config.yaml", "--out", finished.path)
    assert code == 0
    assert out.startswith(f"{finished.path}: images 40, label_agreement ")
    code, _, err = command("flatten", finished.path, "--set", "dataset.images=20")
    assert code == 0
    assert "flatten: 20 of 20 candidates" in err
    code, _, _ = command("render", finished.path)
    assert code == 0
    assert len(list((finished.path / "dataset/train").glob("*/*.png"))) == 20


def test_a_shortage_stops_with_a_sentence_and_keeps_what_was_there(command, finished):
    before = (finished.path / "dataset/manifest.parquet").read_bytes()
    code, _, err = command("flatten", finished.path, "--set", "dataset.images=4000")
    assert code == 1
    assert is_one_sentence(err.splitlines(keepends=True)[-1])
    assert "lacks" in err
    assert (finished.path / "dataset/manifest.parquet").read_bytes() == before
    code, _, _ = command("flatten", finished.path, "--set", "dataset.on_shortage=accept")
    assert code == 0
    assert 0 < Run.open(finished.path).summary["images"] < 4000


def test_shards_and_a_bare_manifest_give_the_same_pixels(command, finished, tmp_path):
    bare = tmp_path / "bare"
    (bare / "dataset").mkdir(parents=True)
    (bare / "dataset/manifest.parquet").write_bytes((finished.path / "dataset/manifest.parquet").read_bytes())
    for shard in ("0/2", "1/2"):
        code, _, err = command("render", bare, "--shard", shard)
        assert (code, "Traceback" in err) == (0, False)
    images = sorted((finished.path / "dataset/train").glob("*/*.png"))
    assert len(images) == 40
    for image in images:
        assert (bare / image.relative_to(finished.path)).read_bytes() == image.read_bytes()


def test_export_copies_the_dataset(command, finished, tmp_path):
    code, _, _ = command("export", finished.path, "--format", "csv", "--out", tmp_path / "csv")
    assert code == 0
    assert len(pd.read_csv(tmp_path / "csv/index.csv")) == 40
    code, _, err = command("export", finished.path, "--format", "cvs")
    assert code == 2
    assert "did you mean 'csv'?" in err


def test_check_tells_what_would_be_fetched_and_which_words_are_unknown(command, tmp_path, data):
    data["guide"]["objective"]["positive"] = "a purple shape"
    code, out, _ = command("check", written(tmp_path, data))
    assert code == 0
    assert "valid; nothing to fetch" in out
    assert "never saw these words of the prompts: purple" in out
    assert "nothing to fetch" in command("fetch", tmp_path / "config.yaml")[1]


def test_check_tells_that_ray_is_not_here(command, tmp_path, data, monkeypatch):
    monkeypatch.setattr("qdgs.checking.find_spec", lambda name: None if name == "ray" else find_spec(name))
    path = written(tmp_path, {**data, "workers": {"kind": "ray", "count": 2}})
    code, out, _ = command("check", path)
    assert code == 0
    assert (
        f"{path}: cannot run yet: workers.kind: ray needs an optional package: pip install 'qdgs[ray]'" in out
    )


def test_a_run_without_ray_where_ray_is_asked_for_is_one_sentence(command, tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    path = written(tmp_path, {**data, "workers": {"kind": "ray", "count": 2}})
    code, out, err = command("search", path, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert is_one_sentence(err)
    assert "workers.kind: ray needs an optional package: pip install 'qdgs[ray]'" in err


def test_check_and_fetch_tell_what_the_user_has_to_bring(command, tmp_path, data):
    data["generator"] = {"name": "stylegan2", "path": str(tmp_path / "none")}
    path = written(tmp_path, data)
    code, out, err = command("check", path)
    sentence = f"generator.path: the folder {tmp_path / 'none'} is not here; make it with qdgs convert "
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{path}: valid; nothing to fetch"
    assert out.splitlines()[1].startswith(f"{path}: cannot run yet: {sentence}")
    code, out, _ = command("fetch", path)
    assert code == 0
    assert out.startswith(f"{path}: nothing to fetch; cannot be fetched: {sentence}")
    code, out, err = command("search", path, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert is_one_sentence(err)
    assert err.startswith(f"qdgs: {sentence}")


def test_the_faces_of_the_paper_hold_and_tell_what_is_missing(command, monkeypatch, tmp_path):
    config = TESTS.parent / "configs" / "stylegan2-ffhq-faces.yaml"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, out, err = command("check", config)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith(f"{config}: valid; would fetch ")
    assert "vit_base_patch32_clip_224.openai" in first
    assert "cannot run yet: generator.path: the folder models/stylegan2-ffhq-256 is not here" in second
    loaded = load_config(config)
    cells = [measure.cells for measure in loaded.guide.measures]
    assert cells == [50, 25, 5, 25]
    assert settle(loaded.search, 7168, True).model_dump()["emitters"] == 1
    assert loaded.search.evaluations == 512 + 60_000 * 4


def test_a_network_is_converted_and_used(command, stylegan2_pickle, tmp_path, data):
    out_folder = tmp_path / "converted"
    code, out, err = command("convert", "stylegan2", stylegan2_pickle, f"{out_folder}/")
    assert (code, err) == (0, "")
    assert out.startswith(f"{out_folder}: written: StyleGAN2, 32×32, 8 layers")
    data["generator"] = {"name": "stylegan2", "path": str(out_folder), "space": "w+"}
    code, out, _ = command("check", written(tmp_path, data))
    assert (code, out) == (0, f"{tmp_path / 'config.yaml'}: valid; nothing to fetch\n")


def test_a_network_that_cannot_be_converted_is_one_sentence_and_leaves_nothing(
    command, stylegan2_pickle, tmp_path
):
    whole = stylegan2_pickle.read_bytes()
    marker = tmp_path / "marker"
    (tmp_path / "truncated.pkl").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "malicious.pkl").write_bytes(b"cposix\nmkdir\n(V" + str(marker).encode() + b"\ntR.")
    (tmp_path / "empty.pkl").write_bytes(b"}.")
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").touch()
    for arguments, said in [
        (("stylegan2", tmp_path / "none.pkl", tmp_path / "out"), "cannot be read: No such file"),
        (("stylegan2", tmp_path / "truncated.pkl", tmp_path / "out"), "got one that is truncated"),
        (
            ("stylegan2", tmp_path / "malicious.pkl", tmp_path / "out"),
            "asks for posix.mkdir, which was not run",
        ),
        (
            ("stylegan2", tmp_path / "empty.pkl", tmp_path / "out"),
            "averaged generator G_ema, got one without",
        ),
        (("stylegan2", stylegan2_pickle, there), "expected a new folder, got a folder with files in it"),
        (("stylegan", stylegan2_pickle, tmp_path / "out"), "unknown 'stylegan'; did you mean 'stylegan2'?"),
    ]:
        code, out, err = command("convert", *arguments)
        assert (code, out) == (2, ""), said
        assert is_one_sentence(err)
        assert said in err
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_check_looks_at_every_configuration(command, tmp_path, tiny_config):
    (tmp_path / "wrong.yaml").write_text("kind: rn")
    code, out, err = command("check", tmp_path / "wrong.yaml", tiny_config)
    assert code == 2
    assert is_one_sentence(err)
    assert err.startswith(f"qdgs: {tmp_path / 'wrong.yaml'}: ")
    assert out == f"{tiny_config}: valid; nothing to fetch\n"


def test_list_names_everything_and_whether_it_can_be_used(command, tiny_config):
    code, out, _ = command("list")
    assert code == 0
    for heading in ("generators:", "guides:", "judges:", "algorithms:", "samplers:"):
        assert heading in out
    assert "  cma_maega " in out
    lines = [line.split() for line in out.splitlines()]
    assert ["pixels", "ready"] in lines
    assert ["stylegan2", "ready;", "needs", "the", "option", "path"] in lines


def test_doctor_looks_at_the_installation_and_fails_where_it_is_not_well(command, monkeypatch):
    code, out, _ = command("doctor")
    assert (code == 0) is ("BAD" not in out)
    assert "ok   torch " in out
    monkeypatch.setattr("qdgs.doctor.PACKAGES", ("no-such-package",))
    code, out, _ = command("doctor")
    assert code == 1
    assert "BAD  no-such-package " in out


def test_running_out_of_memory_is_one_sentence(command, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("standins.Patches.sample_latents", lambda self, n, rng: torch.empty(n, 1 << 36))
    code, _, err = command("search", tiny_config, "--out", tmp_path / "run")
    assert code == 1
    assert is_one_sentence(err)
    assert err.startswith("qdgs: there is not enough memory; ")


def test_init_writes_a_configuration_that_holds_and_overwrites_nothing(command, tmp_path):
    path = tmp_path / "mine.yaml"
    assert command("init", path)[0] == 0
    assert load_config(path).generator.name == "shapes-vae"
    code, _, err = command("init", path)
    assert code == 2
    assert is_one_sentence(err)


def test_an_interrupted_command_exits_130_and_resumes_to_the_same_archive(tiny_config, tmp_path):
    arguments = ["search", str(tiny_config), *LIGHT, "--set=search.evaluations=3000", "--out"]
    assert run_command([*arguments, str(tmp_path / "unbroken")]) == 0
    command = [sys.executable, "-c", STANDINS, *arguments, str(tmp_path / "broken")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert line.startswith("search: "), line + rest
    assert process.returncode == 130, rest
    assert "interrupted; what was done is saved, go on with qdgs resume RUN" in rest
    assert "Traceback" not in rest
    assert run_command(["search", str(tmp_path / "broken")]) == 0
    file = "search/archive.parquet"
    assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "unbroken" / file).read_bytes()
