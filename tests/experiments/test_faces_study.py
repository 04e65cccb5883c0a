"""Parts of the study of faces that need no faces."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

pytest.importorskip("fairlearn")

FACES = Path(__file__).parents[2] / "experiments" / "faces"
NAMES = ("bank_rejection", "downstream", "labelling", "looking", "realism", "study")


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(FACES))
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def faces(rng, shift, n=240):
    from realism import FaceSet

    groups = pd.Series(np.repeat(["a", "b"], n // 2), dtype=object)
    embeddings = rng.standard_normal((n, 6)) + shift + 3 * (groups == "b").to_numpy(float)[:, None]
    read = pd.DataFrame({"face_found": rng.random(n) < 0.9, "background_luminance": rng.random(n)})
    return FaceSet(read, groups, embeddings)


def test_sets_of_one_distribution_are_near_and_not_told_apart(rng):
    from realism import numbers

    told = numbers(faces(rng, 0), faces(rng, 0), ("a", "b"), rng)
    assert told["kernel_distance"].low < 0 < told["kernel_distance"].high
    assert told["told_from_random"].low < 0.5
    assert told["faces_found"].value == pytest.approx(0.9, abs=0.06)
    assert told["max_share_error_by_teacher"].value == 0
    assert told["normalized_entropy_by_teacher"].value == pytest.approx(1)
    assert told["leakage"].low < 0.55


def test_a_shifted_set_is_far_and_told_apart_within_groups(rng):
    from realism import numbers

    told = numbers(faces(rng, 1.5), faces(rng, 0), ("a", "b"), rng)
    assert told["kernel_distance"].low > 0
    assert told["told_from_random"].low > 0.8


def test_groups_in_other_shares_are_no_difference(rng):
    from realism import FaceSet, told_from

    one, other = faces(rng, 0, 400), faces(rng, 0, 400)
    few = np.r_[0:200, 200:240]  # all of a, a fifth of b
    thinned = FaceSet(one.read.iloc[few], one.groups.iloc[few].reset_index(drop=True), one.embeddings[few])
    assert told_from(thinned, other, ("a", "b"), rng).low < 0.5


def test_the_training_of_the_guide_is_added_to_what_is_spent_once(rng):
    from study import with_training

    metrics = ["generator_calls", "generator_calls_once", "judge_labels", "judge_labels_once", "images"]
    frame = pd.DataFrame(
        [["qdgs", "g", 0, name, 10.0, 10.0, 10.0, 1] for name in metrics],
        columns=["method", "generator", "seed", "metric", "value", "low", "high", "n"],
    )
    counted = with_training(frame, 1000).set_index(["method", "metric"])["value"]
    name = "qdgs, guide's training counted"
    assert [counted[name, metric] for metric in metrics] == [161010, 161010, 2010, 2010, 10]
    assert (counted["qdgs"] == 10).all()


def test_the_worst_group_is_chosen_on_one_half_and_told_of_the_other(rng):
    from downstream import Faces, told

    groups = np.repeat(["a", "b", "c"], 200)
    labels = rng.integers(0, 2, 600)
    right = rng.random(600) < np.where(groups == "b", 0.6, 0.95)
    numbers = told(
        Faces(torch.zeros(600, 1, 1, 1), torch.from_numpy(labels), groups),
        np.where(right, labels, 1 - labels),
        0,
    )
    assert numbers["worst_group"] == "b"
    guessed = np.where(right, labels, 1 - labels)
    shares = {g: balanced_accuracy_score(labels[groups == g], guessed[groups == g]) for g in "abc"}
    assert numbers["worst_chosen"] + numbers["worst_estimated"] == pytest.approx(2 * shares["b"], abs=0.03)
    assert numbers["difference"] == pytest.approx(max(shares.values()) - shares["b"])
    assert numbers["ratio"] == pytest.approx(shares["b"] / max(shares.values()))
    assert numbers["mean_of_groups"] == pytest.approx(np.mean(list(shares.values())))


def test_a_study_that_is_not_there_is_told(tmp_path):
    from downstream import Sizes, Task
    from qdgs.errors import InputError

    with pytest.raises(InputError, match=r"expected the folder of a study, got none; run study\.py first"):
        Task(tmp_path, Sizes())


@pytest.fixture
def faces_problem():
    from qdgs.compare_config import load_compare
    from qdgs.comparison.cells import Bench
    from qdgs.errors import QdgsError

    config = load_compare(FACES / "comparison.yaml")
    bench = Bench(config, Path("unused"))
    try:
        return bench.problem(bench.cells()[0])
    except QdgsError as error:
        pytest.skip(str(error))


def test_rejection_over_the_bank_fills_every_group_and_counts_what_it_passes(faces_problem, rng):
    from bank_rejection import BankRejection

    sampler = BankRejection()
    sampler.fit(faces_problem, rng)
    rows = sampler.sample(240, rng)
    assert rows["group"].value_counts().to_dict() == dict.fromkeys(faces_problem.groups, 20)
    assert sampler.notes == ()
    drawn = sampler.cost.generator_calls
    assert sampler.cost.judge_labels == 2 * drawn  # the panel's and the gate's
    assert 20 / (347 / 60_000) / 3 < drawn < 3 * 20 / (347 / 60_000)  # the rarest group decides


def test_a_group_that_the_bank_cannot_fill_is_told(faces_problem, rng):
    from bank_rejection import BankRejection

    sampler = BankRejection()
    sampler.fit(faces_problem, rng)
    rows = sampler.sample(12 * 400, rng)
    assert len(rows) == 12 * 400 - 53
    assert sampler.notes == ("light/feminine/old lacks 53 images after 60,000 draws",)


def words_of(rng, n):
    return pd.DataFrame(
        {"presentation": rng.choice(["masculine", "feminine"], n), "age": "young"}, dtype=object
    )


def test_words_say_values_and_a_wrong_one_is_named(tmp_path):
    from looking import seen_in
    from qdgs.errors import InputError

    words = tmp_path / "words.txt"
    words.write_text("my fo\n?o")
    told = seen_in(words, 3)
    assert told.to_numpy().tolist() == [["masculine", "young"], ["feminine", "old"], [None, "old"]]
    with pytest.raises(InputError, match=r"words\.txt: expected 2 words, got 3"):
        seen_in(words, 2)
    words.write_text("my yo")
    with pytest.raises(InputError, match=r"image 1: expected a letter each of mf\?, yo\?, got 'yo'"):
        seen_in(words, 2)


@pytest.mark.parametrize(
    ("order", "words", "sentence"),
    [
        (None, "my", r"--order: expected order.csv of the sheets at \S+order.csv, got none"),
        ("", "my", r"order.csv: expected rows of method, row and seed"),
        ("method,row\na,1\n", "my", r"order.csv: expected rows of method, row and seed"),
        (b"\xff\xfe\x00", "my", r"order.csv: expected rows of method, row and seed"),
        ("method,row,seed\na,1,0\n", None, r"words.txt: expected a file of words, got none"),
        ("method,row,seed\na,1,0\n", b"\xff\xfe", r"words.txt: expected words as text"),
        (
            "method,row,seed\na,1,0\n",
            "my",
            r"a\.parquet: expected the set of a, got none; run study.py first",
        ),
    ],
)
def test_files_of_looking_that_are_missing_or_something_else_are_told(tmp_path, order, words, sentence):
    from looking import main
    from qdgs.errors import InputError

    for name, content in (("order.csv", order), ("words.txt", words)):
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    files = {name: str(tmp_path / name) for name in ("order.csv", "words.txt", "out.csv")}
    with pytest.raises(InputError, match=sentence):
        main(
            ["read", "--study", str(tmp_path), "--order", files["order.csv"], "--words", files["words.txt"],
             "--out", files["out.csv"]]
        )  # fmt: skip
    assert not (tmp_path / "out.csv").exists()


def test_shares_are_those_that_were_seen(rng):
    from looking import looked

    values = words_of(rng, 200)
    values.loc[:9, "age"] = None
    made_as = pd.DataFrame({"presentation": "feminine", "age": [None] * 200}, dtype=object)
    told = looked(values, made_as, 0)
    feminine = values["presentation"] == "feminine"
    assert told["share of feminine/young"].value == pytest.approx(feminine[10:].mean())
    assert told["share of masculine/old"].value == 0
    assert told["same presentation as the set"].value == pytest.approx(feminine.mean())
    assert "same age as the set" not in told


def test_agreement_is_over_the_images_of_which_both_tell(rng):
    from looking import agreement

    one = words_of(rng, 4)
    other = one.assign(age=["young", "old", None, "young"])
    told = agreement({"one": one, "other": other}).set_index("measure")
    assert told["same"].to_dict() == {"presentation": 1, "age": pytest.approx(2 / 3)}
    assert told["images"].to_dict() == {"presentation": 4, "age": 3}
