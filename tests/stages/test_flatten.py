import json

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.datasets.duplicates import nearest_distances
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.datasets.shortage import ShortageError
from qdgs.parts import load_generator, load_judge
from qdgs.run import Run
from qdgs.stages.flatten import YARDSTICK, open_bank, random_latents
from qdgs.stages.scoring import load_scorer


def test_groups_have_their_exact_shares_as_the_guide_sees_them(finished):
    rows = read_manifest(finished.path / "dataset/manifest.parquet").rows
    assert rows["group"].value_counts().tolist() == [10, 10, 10, 10]
    cuts = json.loads((finished.path / "dataset/flatten.json").read_text())["cuts"]
    assert ((rows["color"] >= cuts["color"][0]) == (rows["group_color"] == "blue")).all()
    assert ((rows["edges"] >= 0) == (rows["label"] == "wide")).all()


def test_an_automatic_cut_separates_what_the_teacher_labelled(finished):
    scorer = load_scorer(finished, device="cpu")
    bank = open_bank(finished, scorer, device="cpu")
    measures, judged = bank.scored(scorer), bank.judged(load_judge("pixels"))
    (told,) = json.loads((finished.path / "dataset/flatten.json").read_text())["calibrated"]["color"]
    high = (measures["color"] >= told["value"]).to_numpy()[judged["accepted"]]
    blue = (judged["color"] == "blue").to_numpy()[judged["accepted"]]
    balanced = (high[blue].mean() + (~high[~blue]).mean()) / 2
    assert told["balanced_accuracy"] == pytest.approx(balanced)
    assert told["teacher"] == "pixels"


def test_the_gate_lets_nothing_in_that_it_rejects(finished):
    run = Run.open(
        finished.path,
        ["judges.gate={name: pixels, smallest: 0.3}", "judges.teacher=pixels", "dataset.images=8"],
    )
    run.complete(until="flatten")
    rows = read_manifest(run.path / "dataset/manifest.parquet").rows
    images = load_generator("patches")(latents_of(rows))
    assert load_judge(run.config.judges.gate).judge(images)["accepted"].all()
    assert run.summary["gate_acceptance"] < 1


def test_no_two_images_are_near_duplicates(finished):
    run = Run.open(finished.path, ["dataset.duplicate_quantile=0.3", "dataset.images=16"])
    run.complete(until="flatten")
    scorer = load_scorer(run, device="cpu")
    embedding = open_bank(run, scorer, device="cpu").embedding()
    rows = read_manifest(run.path / "dataset/manifest.parquet").rows
    with torch.no_grad():
        images = scorer.generator(latents_of(rows))
        random = scorer.generator(random_latents(run, scorer.generator, 16, YARDSTICK))
    threshold = np.quantile(nearest_distances(embedding.transform(random)), 0.3)
    # the dataset's images were compared as they are stored, in 8 bits
    assert nearest_distances(embedding.transform(images)).min() > 0.98 * threshold


def test_near_duplicates_are_dropped_by_other_samples_than_the_audit_counts_them_by(finished):
    generator = load_generator("patches")
    assert not torch.equal(
        random_latents(finished, generator, 8), random_latents(finished, generator, 8, YARDSTICK)
    )


def test_flattening_again_gives_the_same_manifest(finished):
    path = finished.path / "dataset/manifest.parquet"
    before = pd.read_parquet(path)
    finished.do("flatten")
    pd.testing.assert_frame_equal(pd.read_parquet(path), before)


def test_a_shortage_is_told_with_what_random_samples_say(finished):
    run = Run.open(finished.path, ["dataset.images=4000"])
    with pytest.raises(ShortageError, match=r"lacks .* of 256 random samples .* are in it"):
        run.do("flatten")
    shortages = json.loads((run.path / "dataset/flatten.json").read_text())["shortages"]
    assert shortages[0]["missing"] > 0
    assert shortages[0]["prior_samples"] == 256


def test_without_a_gate_everything_is_let_in(finished):
    changes = ["judges.gate=null", "judges.teacher=pixels"]
    run = Run.open(finished.path, changes).complete(until="flatten")
    assert run.summary["gate_acceptance"] is None
    assert run.summary["images"] == 40


def test_what_the_guide_scored_beside_the_search_is_told(finished):
    assert finished.summary["reference_evaluations"] == finished.config.audit.samples


def test_the_license_of_the_images_goes_into_the_manifest(finished):
    run = Run.open(finished.path, ["dataset.license=cc0-1.0"]).complete(until="flatten")
    assert read_manifest(run.path / "dataset/manifest.parquet").metadata["license"] == "cc0-1.0"


def test_the_manifest_holds_what_rendering_needs(finished):
    metadata = read_manifest(finished.path / "dataset/manifest.parquet").metadata
    assert metadata["generator"]["name"] == "patches"
    assert metadata["micro_batch"] == 64
    assert metadata["image_size"] == 32
    assert metadata["values"] == {"color": ["red", "blue"], "edges": ["tall", "wide"]}
    assert metadata["judges"] == {
        "teacher": "pixels",
        "gate": "pixels",
        "auditor": "other-pixels",
    }
