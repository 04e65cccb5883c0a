"""Parts of the study of faces that need no faces."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.config import load_config

pytest.importorskip("fairlearn")

ROOT = Path(__file__).parents[2]
FACES = ROOT / "experiments" / "faces"
NAMES = ("bank_rejection", "corrected", "downstream", "realism", "study")


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
    assert [counted[name, metric] for metric in metrics] == [1010, 1010, 2010, 2010, 10]
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
    shares = {group: right[groups == group].mean() for group in "abc"}
    assert numbers["worst_chosen"] + numbers["worst_estimated"] == pytest.approx(2 * shares["b"])
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


VALUES = {
    "lightness": ("dark", "medium", "light"),
    "presentation": ("masculine", "feminine"),
    "age": ("young", "old"),
}


def people(rng, n=600):
    return pd.DataFrame({name: rng.choice(values, n) for name, values in VALUES.items()})


def misread(rng, known, wrong):
    other = pd.DataFrame({name: rng.choice(values, len(known)) for name, values in VALUES.items()})
    return known.where(rng.random(known.shape) >= wrong, other)


def test_errors_by_attribute_make_those_by_group(rng):
    from corrected import confusion

    config = load_config(ROOT / "configs" / "faces.yaml")
    known = people(rng)
    read = misread(rng, known, 0.3)
    told = confusion(config, known, read)
    young, old = "dark/masculine/young", "medium/feminine/old"
    expected = (known.agg("/".join, axis=1) == young).sum()
    for name, one, other in zip(VALUES, young.split("/"), old.split("/"), strict=True):
        seen = read[name][known[name] == one]
        expected = expected * (seen == other).mean()
    assert told.loc[young, old] == pytest.approx(expected)
    assert told.to_numpy().sum() == pytest.approx(len(known))


def test_a_measure_that_is_taken_as_read_has_no_errors(rng):
    from corrected import confusion

    config = load_config(ROOT / "configs" / "faces.yaml")
    known = people(rng)
    told = confusion(config, known, misread(rng, known, 0.3), ["lightness"])
    apart = [[one.split("/")[0] != other.split("/")[0] for other in told] for one in told]
    assert told.to_numpy()[np.array(apart)].sum() == 0
    assert told.loc["dark/masculine/young", "dark/feminine/young"] > 0


def test_corrected_shares_come_nearer_to_the_truth(rng):
    from corrected import confusion, corrected

    config = load_config(ROOT / "configs" / "faces.yaml")
    known, many = people(rng, 20000), people(rng, 20000)
    many = many[(many["age"] == "young") | (rng.random(len(many)) < 0.3)].reset_index(drop=True)
    read = misread(rng, many, 0.3).agg("/".join, axis=1).value_counts()
    cell = pd.DataFrame({"metric": "share of " + read.index, "n": read.to_numpy()}).assign(method="m", seed=0)
    rows = corrected(config, cell, confusion(config, known, misread(rng, known, 0.3)))
    told = {row[2].removeprefix("share of "): row[3:6] for row in rows if row[2].startswith("share of ")}
    true = many.agg("/".join, axis=1).value_counts(normalize=True)
    bare = (read / read.sum() - true).abs().sum()
    assert sum(abs(told[name][0] - true[name]) for name in told) < bare / 2
    assert sum(told[name][1] <= true[name] <= told[name][2] for name in told) >= 10


def test_agreement_is_over_the_images_of_which_both_tell():
    from corrected import agreement

    config = load_config(ROOT / "configs" / "faces.yaml")
    one = pd.DataFrame({"lightness": ["dark", "light"], "presentation": "feminine", "age": ["old", None]})
    other = one.assign(lightness="dark", age="young")
    told = agreement(config, {"one": one, "other": other}).set_index("measure")
    assert told["same"].to_dict() == {"lightness": 0.5, "presentation": 1, "age": 0}
    assert told["images"].to_dict() == {"lightness": 2, "presentation": 2, "age": 1}
