import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.errors import InputError
from qdgs.fairness.audit import read_groups
from qdgs.parts import load_generator, load_judge
from qdgs.run import Run
from qdgs.stages.audit import known_confusion
from qdgs.stages.export import write_dataset_card
from qdgs.stages.search import Settled


def judged_files(run):
    rows = read_manifest(run.path / "dataset/manifest.parquet").rows
    pixels = [np.asarray(Image.open(run.path / "dataset" / file)) for file in rows["file"]]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255
    return rows, load_judge("other-pixels").judge(images)


def test_labels_are_confirmed_by_the_auditor_on_the_files(finished):
    rows, judged = judged_files(finished)
    confirmed = (rows["label"] == judged["shape"]) & judged["accepted"]
    assert finished.summary["label_agreement"] == pytest.approx(confirmed.mean())


def test_shares_are_counted_by_the_auditor_on_the_files(finished):
    _, judged = judged_files(finished)
    groups = read_groups(judged, finished.config.dataset.groups)
    table = pd.read_csv(finished.path / "audit.csv").set_index("group")
    for group, count in table["count"].items():
        assert count == (groups == group).sum()
    assert finished.summary["max_share_error"] == pytest.approx((table["share"] / 0.25 - 1).abs().max())
    assert table["random_count"].sum() <= 40


def test_the_corrected_score_is_no_more_than_its_elites_are_worth(finished):
    for name, key in (("archive", "corrected_qd_score"), ("random_archive", "random_corrected_qd_score")):
        elites = pd.read_parquet(finished.path / f"search/{name}.parquet")
        assert 0 < finished.summary[key] <= elites["objective"].clip(lower=0).sum()


def test_the_random_archive_holds_samples_at_the_same_scale(finished):
    elites = pd.read_parquet(finished.path / "search/random_archive.parquet")
    budget = json.loads((finished.path / "search/random_archive.json").read_text())["evaluations"]
    assert budget == finished.summary["evaluations"]
    low, high = Settled.of(finished).calibration.ranges[0]
    assert elites["color"].between(low, high).mean() > 0.9
    generator = load_generator(finished.config.generator)
    norms = latents_of(elites).norm(dim=1)
    assert norms.max() < generator.prior_norm + 4


def test_the_random_archive_is_searched_once(finished):
    path = finished.path / "search/random_archive.parquet"
    before = path.stat().st_mtime_ns
    finished.do("audit")
    assert path.stat().st_mtime_ns == before


def test_auditing_again_gives_the_same_numbers(finished):
    before = finished.summary
    finished.do("audit")
    assert {key: finished.summary[key] for key in before} == before


def test_warnings_are_in_the_audit(finished):
    audit = json.loads((finished.path / "audit.json").read_text())
    assert audit["shared"] is False
    assert any("confirms only" in sentence for sentence in audit["warnings"])


def test_an_auditor_with_another_role_is_told_wherever_its_numbers_stand(finished):
    run = Run.open(finished.path, ["judges.auditor.name=pixels", "judges.shared=true"])
    run.complete(until="audit")
    write_dataset_card(run)
    audit = json.loads((run.path / "audit.json").read_text())
    assert audit["shared"] is True
    assert any("also the gate" in note for note in audit["notes"])
    assert any("not an independent proof" in sentence for sentence in run.warnings())
    card = (run.path / "dataset/README.md").read_text()
    assert "not independent" in card
    assert "learned its words from labels of pixels, which is also the auditor" in card


def test_who_taught_the_guide_its_words_is_told(finished):
    notes = json.loads((finished.path / "audit.json").read_text())["notes"]
    assert any("learned its words from labels of pixels, which is not the auditor" in note for note in notes)


def test_without_an_auditor_nothing_is_graded_and_that_is_said(finished):
    run = Run.open(finished.path, ["judges.auditor=null"]).complete(until="audit")
    assert run.summary["label_agreement"] is None
    assert any("No auditor" in sentence for sentence in run.warnings())
    assert not (run.path / "audit.csv").exists()


def test_known_images_of_the_auditor_become_a_confusion_of_groups(finished):
    auditor = load_judge("other-pixels")
    assert known_confusion(auditor, finished.config.dataset) is None
    auditor.confusion = pd.DataFrame(
        {
            "color": ["red", "red", "blue"],
            "color_read": ["red", "blue", "blue"],
            "shape": ["tall", "tall", "wide"],
            "shape_read": ["tall", "tall", "wide"],
            "count": [9, 1, 7],
        }
    )
    counts = known_confusion(auditor, finished.config.dataset)
    assert counts.loc["red/tall", "red/tall"] == 9
    assert counts.loc["red/tall", "blue/tall"] == 1
    assert counts.loc["blue/wide", "blue/wide"] == 7
    assert counts.to_numpy().sum() == 17


def test_an_auditor_that_can_read_no_image_is_told(finished, monkeypatch):
    def blind(self, images):
        return judged(self, images).assign(shape=None)

    judge = type(load_judge("other-pixels"))
    judged = judge.judge
    monkeypatch.setattr(judge, "judge", blind)
    monkeypatch.setenv("QDGS_CACHE", str(finished.path / "cache"))
    with pytest.raises(InputError, match="reads no 'shape' off any of"):
        Run.open(finished.path, ["dataset.license=mit"]).complete(until="audit")
