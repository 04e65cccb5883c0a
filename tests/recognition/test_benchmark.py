"""From a folder of images to a verified recogniser, as a user goes."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from qdgs.cli import run_command
from qdgs.recognition.benchmark import verify_pairs
from qdgs.recognition.bins import read_bin, write_bin
from qdgs.recognition.checkpoint import load_backbone
from qdgs.recognition.embedding import embed
from qdgs.recognition.pairs import decoded
from qdgs.recognition.verification import squared_distances, verify_distances


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def benchmark(face_pixels, tmp_path_factory):
    """A `.bin` of pairs of identities that nothing was trained on, and its groups."""
    faces = face_pixels(20, 6, seed=1)
    rng = np.random.default_rng(2)
    images, same = [], []
    for place in range(60):
        one = place % 20
        other = one if place % 2 == 0 else (one + int(rng.integers(1, 20))) % 20
        first, second = rng.choice(6, 2, replace=False)
        images += [encoded(faces[one][first]), encoded(faces[other][second])]
        same.append(one == other)
    folder = tmp_path_factory.mktemp("benchmark")
    write_bin(folder / "pairs.bin", images, same)
    groups = ["near" if place % 4 < 2 else "far" for place in range(60)]
    pd.DataFrame({"group": groups}).to_csv(folder / "groups.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(small_config, tmp_path_factory):
    """A recogniser trained by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    config = small_config(training={"epochs": 6, "milestones": [4]})
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert (
        run_command(["recognition", "train", str(folder / "config.yaml"), "--out", str(folder / "run")]) == 0
    )
    return folder / "run"


@pytest.fixture
def command(capfd):
    def act(*arguments):
        code = run_command([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return act


def test_a_trained_recogniser_is_verified_by_group(command, trained, benchmark):
    code, out, _ = command(
        "recognition", "verify", trained, benchmark / "pairs.bin", "--groups", benchmark / "groups.csv"
    )
    assert code == 0
    assert out.startswith("pairs: accuracy ")
    assert "\n  near: accuracy " in out
    assert "worst group: " in out
    told = json.loads((trained / "verification" / "pairs.json").read_text())
    assert told["accuracy"] > 0.8
    table = pd.read_csv(trained / "verification" / "pairs.csv")
    assert table["group"].tolist() == ["far", "near", "all"]
    assert table["n"].tolist() == [30, 30, 60]
    roc = pd.read_csv(trained / "verification" / "pairs_roc.csv")
    assert roc[["false_accepts", "true_accepts"]].iloc[-1].tolist() == [1, 1]


def test_the_result_is_that_of_embeddings_made_one_by_one(trained, benchmark):
    pairs = read_bin(benchmark / "pairs.bin")
    backbone = load_backbone(trained)
    told = verify_pairs(backbone, pairs)

    def alone(place):
        with Image.open(io.BytesIO(pairs.images[place])) as image:
            pixels = np.array(image)
        return embed(backbone, [pixels])[0]

    distances = [((alone(i) - alone(j)) ** 2).sum() for i, j in zip(pairs.first, pairs.second, strict=True)]
    slow = verify_distances(np.array(distances), pairs.same, rng=np.random.default_rng(0))
    assert told.accuracy == pytest.approx(slow.accuracy, abs=1e-6)
    assert told.equal_error_threshold == pytest.approx(slow.equal_error_threshold, abs=1e-6)


def test_an_embedding_does_not_know_left_from_right(trained, face_pixels):
    pixels = face_pixels(1, 1)[0][0]
    one, mirrored = (
        embed(load_backbone(trained), [np.ascontiguousarray(p)]) for p in (pixels, pixels[:, ::-1])
    )
    assert np.linalg.norm(one) == pytest.approx(1)
    assert squared_distances(one, mirrored)[0] == pytest.approx(0, abs=1e-8)


def test_files_by_group_are_one_benchmark(command, trained, benchmark, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.bin").write_bytes((benchmark / "pairs.bin").read_bytes())
    code, out, _ = command(
        "recognition", "verify", trained, tmp_path / "one.bin", tmp_path / "two.bin", "--by-file"
    )
    assert code == 0
    assert out.startswith("one+two: accuracy ")
    assert pd.read_csv(trained / "verification" / "one+two.csv")["n"].tolist() == [60, 60, 120]


def test_groups_of_files_and_of_a_table_exclude_each_other(command, trained, benchmark):
    code, _, err = command(
        *("recognition", "verify", trained, benchmark / "pairs.bin", "--by-file"),
        *("--groups", benchmark / "groups.csv"),
    )
    assert code == 2
    assert err.startswith("qdgs: --groups: expected it without --by-file")


def test_folds_by_name_are_numbered_for_the_verification(trained, benchmark):
    pairs = read_bin(benchmark / "pairs.bin")
    backbone = load_backbone(trained)
    names, numbers = np.array(["10", "2", "b"])[np.arange(60) % 3], np.arange(60) % 3
    told = verify_pairs(backbone, replace(pairs, folds=names))
    embeddings = embed(backbone, (decoded(source, backbone.image_size) for source in pairs.images))
    distances = squared_distances(embeddings[pairs.first], embeddings[pairs.second])
    wanted = verify_distances(distances, pairs.same, rng=np.random.default_rng(0), folds=numbers)
    assert told.folds == 3
    assert told.accuracy == wanted.accuracy


def test_an_image_that_cannot_be_read_is_named_by_its_first_pair(command, trained, benchmark, tmp_path):
    images = [benchmark_image(benchmark, place) for place in range(60)]
    good = [side for pair in images for side in pair]
    same = [place % 2 == 0 for place in range(60)]
    bad = [*good[:22], good[0], b"no image", b"no image", *good[25:]]
    write_bin(tmp_path / "some.bin", bad, same)
    code, _, err = command("recognition", "verify", trained, tmp_path / "some.bin")
    assert code == 2
    assert err.startswith("qdgs: some: pair 12: expected an image that can be read, got one of 8 bytes")
    groups = ["--groups", benchmark / "groups.csv"]
    _, _, err = command("recognition", "verify", trained, tmp_path / "some.bin", *groups)
    assert err.startswith("qdgs: some: pair 12, of group far: expected an image that can be read")


def benchmark_image(benchmark, place):
    pairs = read_bin(benchmark / "pairs.bin")
    return pairs.images[pairs.first[place]], pairs.images[pairs.second[place]]


def test_a_pure_set_is_told_by_a_recogniser(command, trained, faces_folder, tmp_path):
    code, out, _ = command(
        *("recognition", "identities", faces_folder, "--out", tmp_path / "set"),
        *("--identities", 6, "--images", 4, "--judge", trained),
    )
    assert code == 0
    assert "by pixels " in out
    assert "by recogniser " in out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train", "what was done is saved, go on with the same command"),
        ("verify", "the same command begins afresh"),
        ("identities", "nothing was written"),
    ],
)
def test_an_interrupted_command_says_whether_it_goes_on(command, trained, monkeypatch, tmp_path, name, said):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qdgs.recognition.train_run.train_recogniser", interrupted)
    monkeypatch.setattr("qdgs.recognition.benchmark.read_benchmarks", interrupted)
    monkeypatch.setattr("qdgs.recognition.identity_sets.write_identity_set", interrupted)
    arguments = {
        "train": [trained / "config.yaml", "--out", tmp_path / "run"],
        "verify": [trained, tmp_path / "pairs.bin"],
        "identities": [tmp_path, "--out", tmp_path / "set", "--identities", 2, "--images", 2],
    }
    code, _, err = command("recognition", name, *arguments[name])
    assert (code, err.splitlines()[-1]) == (130, f"qdgs: interrupted; {said}")


MISTAKES = [
    (("verify", "{tmp}", "{bench}/pairs.bin"), "{tmp}: expected a trained recogniser, got no backbone"),
    (("verify", "{run}", "{tmp}/none.bin"), "{tmp}/none.bin: cannot be read: No such file"),
    (("verify", "{run}", "{run}/config.yaml"), "{run}/config.yaml: expected `name i j`"),
    (("train", "{tmp}/none.yaml"), "{tmp}/none.yaml: cannot be read: No such file"),
    (
        ("train", "{run}/config.yaml", "--set", "head.name=adaboost"),
        "head.name: unknown 'adaboost'; known: adaface, arcface, cosface",
    ),
    (("train", "{run}/config.yaml", "--set", "backbne=1"), "backbne: unknown key; did you mean 'backbone'?"),
    (("train", "{run}/config.yaml", "--set", "image_size=50"), "image_size: expected "),
    (
        ("train", "{run}/config.yaml", "--set", "data.folder=/nowhere"),
        "/nowhere: expected a folder of images",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_is_one_sentence(command, trained, benchmark, tmp_path, arguments, message):
    places = {"tmp": tmp_path, "run": trained, "bench": benchmark}
    out = ["--out", str(tmp_path / "out")] if arguments[0] == "train" else []
    code, _, err = command("recognition", *(text.format(**places) for text in arguments), *out)
    assert code == 2
    assert err.startswith(f"qdgs: {message.format(**places)}")
    assert err.count("\n") == 1


def test_check_knows_recognisers(command, trained, tmp_path):
    code, out, _ = command("check", trained / "config.yaml")
    assert (code, out) == (0, f"{trained / 'config.yaml'}: valid; nothing to fetch\n")
    code, out, _ = command("check", trained / "config.yaml", "--set", "data.folder=/nowhere")
    assert "cannot run yet: data.folder: expected a folder, got none at /nowhere" in out
