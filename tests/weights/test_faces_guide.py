"""The lesson of the guide for faces, on a handful of made-up pictures."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.clip.encoder import ClipEncoder
from qdgs.config import load_config
from qdgs.guides.prompts import PromptGuide

ROOT = Path(__file__).parents[2]
NAMES = ("faces_captions", "faces_pools", "faces_lot", "faces_agreement", "qdgs_faces")


@pytest.fixture(scope="module")
def parts():
    """The modules of the folder, which find each other as a program there does."""
    sys.path.insert(0, str(ROOT / "experiments" / "weights"))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.pop(0)
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def config():
    return load_config(ROOT / "configs" / "faces.yaml")


def judged(n, rng):
    """Rows of the teachers: a third without a face."""
    found = np.arange(n) % 3 > 0
    told = np.where(found, 1.0, np.nan)
    return pd.DataFrame(
        {
            "faces-dlib/quality": np.where(found, 1.0, -0.5),
            "faces-dlib/face_sharpness": 0.15 * told,
            "faces-dlib/age_score": rng.uniform(15, 60, n) * told,
            "faces-dlib/presentation_score": rng.random(n) * told,
            "faces-dlib/accepted": found,
            "face-light/lightness_score": rng.uniform(5, 80, n) * told,
            "spoiled": 0.0,
        }
    )


@pytest.fixture
def pool():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (90, 3, 64, 64), dtype=np.uint8), judged(90, rng)


def prompts_of(guide):
    sides = [guide.objective.positive, guide.objective.negative]
    sides += [side for measure in guide.measures for side in (measure.low, measure.high)]
    return [prompt for side in sides for prompt in side]


def test_the_papers_prompts_are_captions_but_for_hair(parts, config):
    phrases = [caption for caption, _ in parts["faces_captions"].captions()]
    assert set(prompts_of(config.guide)) <= set(phrases)
    assert len(set(phrases)) == len(phrases)
    paper = load_config(ROOT / "configs" / "faces-paper.yaml")
    left_out = [prompt for prompt in prompts_of(paper.guide) if prompt not in phrases]
    assert left_out == ["A person with long hair.", "A person with short hair."]
    assert not {"man", "woman", "male", "female"} & set(parts["faces_captions"].vocabulary())


def test_fits_grow_with_the_scores_and_are_missing_where_nobody_can_tell(parts):
    rows = judged(9, np.random.default_rng(0)).iloc[1:3].copy()
    rows["face-light/lightness_score"] = [20.0, 60.0]
    rows["faces-dlib/age_score"] = [22.0, 50.0]
    rows["faces-dlib/presentation_score"] = [0.1, 0.9]
    fits = dict(parts["faces_captions"].captions())
    facts = parts["faces_captions"].facts_of(rows)
    for low, high in (
        ("A person with dark skin.", "A person with light skin."),
        ("A masculine person.", "A feminine person."),
        ("A person in their 20s.", "A person in their 50s."),
    ):
        assert fits[low](facts)[0] > 0.5 > fits[low](facts)[1]
        np.testing.assert_allclose(fits[low](facts) + fits[high](facts), 1)
    nobody = parts["faces_captions"].facts_of(judged(1, np.random.default_rng(0)))
    for caption, fit in fits.items():
        for known in (facts, nobody):
            values = fit(known)
            assert (np.isnan(values) | ((values >= 0) & (values <= 1))).all(), caption
    assert np.isnan(fits["A person with dark skin."](nobody)).all()
    assert fits["An obscure, fake, or discolored photo of a person."](nobody) > 0.95


def test_pictures_with_a_face_that_count_as_spoiled_are_bad(parts):
    rows = judged(6, np.random.default_rng(0)).assign(spoiled=1.0)
    assert (parts["faces_captions"].facts_of(rows).good == 0).all()


def test_every_way_of_spoiling_changes_every_picture(parts):
    pools, rng = parts["faces_pools"], np.random.default_rng(0)
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for way in pools.WAYS:
        changed = way(images, images, rng)
        assert changed.shape == images.shape
        # halves of other pictures may be the same picture's own, by chance
        assert ((changed - images).abs().amax((1, 2, 3)) > 0.05).sum() >= 6, way.__name__
    assert (pools.shuffled(images, images, rng).sum((2, 3)) - images.sum((2, 3))).abs().max() < 1e-2
    assert pools.spoiled(images, rng).shape == images.shape


def test_combinations_of_attributes_are_drawn_alike(parts, pool):
    pictures, rows = np.zeros((3600, 3, 64, 64), np.uint8), judged(3600, np.random.default_rng(0))
    rows.loc[rows.index[:2800], "face-light/lightness_score"] *= 0.1  # most are dark
    lot = parts["faces_lot"].Lot.of((pictures, rows), pool, [pool], 1.0)
    assert lot.weights.sum() == pytest.approx(1)
    dark, good = lot.facts.light[:3600] < 1 / 3, lot.facts.good[:3600] >= 0.5
    assert dark[good].mean() > 0.8
    assert lot.weights[:3600][good & dark].sum() / lot.weights[:3600][good].sum() == pytest.approx(
        1 / 3, abs=0.03
    )
    assert lot.weights[:3600][~good].sum() > 0
    images = lot.images(torch.tensor([0, 3599, 3600, 3779]))
    expected = torch.from_numpy(np.stack([pictures[0], pictures[-1], pool[0][0], pool[0][-1]])) / 255
    assert torch.equal(images, expected)


def test_the_measures_loss_is_none_for_measures_that_tell_their_own_attribute_alone(parts):
    loss = parts["qdgs_faces"].measure_loss
    known = torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    known[:, 1] = 0.5 * known[:, 0] + 0.5 * known[:, 1]  # correlated attributes
    assert float(loss(3 * known - 1, known, 1.0)) == pytest.approx(0, abs=1e-3)
    leaky = known.clone()
    leaky[:, 2] += known[:, 0]
    alone, with_penalty = (float(loss(leaky, known, weight)) for weight in (0.0, 1.0))
    assert with_penalty > alone + 0.05
    known[:390] = torch.nan
    assert float(loss(leaky, known, 1.0)) == 0


def test_an_unbroken_round_equals_one_that_was_resumed(parts, pool, config, tmp_path, monkeypatch):
    qdgs_faces = parts["qdgs_faces"]
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    tiny = {**qdgs_faces.CONFIG["model_cfg"], "vision_cfg": vision}
    monkeypatch.setitem(qdgs_faces.CONFIG, "model_cfg", tiny)
    monkeypatch.setattr(qdgs_faces, "SAVED_EVERY", 2)
    lot = qdgs_faces.Lot.of(pool, pool, [], 0.8)

    def lesson():
        torch.manual_seed(0)
        return qdgs_faces.Lesson.of(config, 1.0)

    settings = {"batch": 32, "rate": 1e-3, "seed": 0}
    whole = lesson()
    whole.train(lot, tmp_path / "whole.pt", steps=3, **settings)
    first = lesson()
    monkeypatch.setattr(qdgs_faces.Lesson, "_save", _stop_after(qdgs_faces.Lesson._save), raising=True)
    with pytest.raises(KeyboardInterrupt):
        first.train(lot, tmp_path / "broken.pt", steps=3, **settings)
    monkeypatch.undo()
    monkeypatch.setitem(qdgs_faces.CONFIG, "model_cfg", tiny)
    resumed = lesson()
    resumed.train(lot, tmp_path / "broken.pt", steps=3, **settings)
    for name, values in whole.model.state_dict().items():
        assert torch.equal(values, resumed.model.state_dict()[name]), name
    qdgs_faces.save_model(whole.model, tmp_path / "guide", "python …", {})
    _check_saved(parts, tmp_path / "guide", pool, config)


def _stop_after(save):
    def stopping(self, *given):
        save(self, *given)
        raise KeyboardInterrupt

    return stopping


def _check_saved(parts, folder, pool, config):
    """Saved, it is a CLIP that loads without code of ours, knows its prompts and can be measured."""
    guide = PromptGuide(ClipEncoder.load(f"local-dir:{folder}", device="cpu"), config.guide)
    figures = parts["faces_agreement"].agreement(guide, *pool)
    assert figures["n"] == 90
    assert set(figures["teachers"]["lightness"]) == {"lightness", "presentation", "age"}
    assert "auditor" not in figures
    card = json.loads((folder / "card.json").read_text())
    assert card["taught_by"] == "faces-dlib and face-light"
    assert "hair" in card["does_not_know"]


def test_the_guide_is_small_enough_to_ship(parts, config):
    lesson = parts["qdgs_faces"].Lesson.of(config, 1.0)
    numbers = sum(values.numel() for values in lesson.model.state_dict().values())
    assert 2 * numbers + 1e5 <= 12e6
