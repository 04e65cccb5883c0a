import numpy as np
import pytest
import torch

import qdgs
from qdgs.clip.encoder import ClipEncoder
from qdgs.config import Named
from qdgs.datasets.drawing import BLUE, RED
from qdgs.errors import ConfigError, MissingModelError

IMAGES = torch.rand(6, 3, 40, 40, generator=torch.Generator().manual_seed(0))
ATTRIBUTES = {
    "color": {"red": ["a red shape", "a red square"], "blue": "a blue shape"},
    "edges": {"none": "half-formed", "three": "a triangle", "four": "a square"},
}


@pytest.fixture
def clip(other_clip_folder):
    return f"local-dir:{other_clip_folder}"


def load(**options):
    return qdgs.load_judge(Named(name="clip-zero-shot", **options))


def test_values_are_those_of_a_softmax_over_prompts(clip):
    encoder = ClipEncoder.load(clip, device="cpu")
    rows = load(clip={"model": clip}, attributes=ATTRIBUTES).judge(IMAGES)
    sides = [encoder.encode_text(["a red shape", "a red square"]), encoder.encode_text(["a blue shape"])]
    text = torch.stack([torch.nn.functional.normalize(side.mean(dim=0), dim=0) for side in sides])
    cosines = encoder.encode_images(IMAGES) @ text.T
    scale = encoder.model.logit_scale.exp()
    names = np.array(["red", "blue"])[cosines.argmax(dim=1).numpy()]
    assert list(rows["color"]) == list(names)
    np.testing.assert_allclose(rows["color_score"], (scale * (cosines[:, 1] - cosines[:, 0])), rtol=1e-4)
    assert rows["accepted"].all()


def test_it_reads_what_its_clip_knows():
    attributes = {"color": {"red": "a red shape", "blue": "a blue shape"}}
    rng = np.random.default_rng(0)
    shape, blue = rng.integers(0, 2, 32), rng.integers(0, 2, 32)
    images = qdgs.draw(qdgs.clean_figures(shape, np.array([RED, BLUE])[blue], rng), 128)
    rows = load(clip="qdgs-mini", attributes=attributes).judge(images)
    assert (rows["color"] == np.array(["red", "blue"])[blue]).mean() > 0.95


def test_quality_prompts_tell_what_is_accepted(clip):
    quality = {"positive": "a shape", "negative": ["half-formed"]}
    one = load(clip=clip, attributes=ATTRIBUTES, quality=quality).judge(IMAGES)
    swapped = {"positive": "half-formed", "negative": "a shape"}
    other = load(clip=clip, attributes=ATTRIBUTES, quality=swapped).judge(IMAGES)
    np.testing.assert_allclose(one["quality"] + other["quality"], 1)
    assert list(one["accepted"]) == list(one["quality"] >= 0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clip": {"modl": "x"}}, "judges.auditor.clip: expected {model: …, pretrained: …}, got {'modl'"),
        ({"clip": None}, "judges.auditor.clip: expected {model: …, pretrained: …}, got None"),
        ({"clip": "ViT-B32"}, "judges.auditor.clip.model: unknown 'ViT-B32'; did you mean 'ViT-B-32'"),
        ({"clip": {"model": "ViT-B-32"}}, "judges.auditor.clip.pretrained: expected weights for 'ViT-B-32'"),
        ({"attributes": {"color": {"red": "x"}}}, "judges.auditor.attributes.color: expected at least two"),
        (
            {"attributes": {"color": ["red", "blue"]}},
            "judges.auditor.attributes.color: expected prompts for ea",
        ),
        (
            {"attributes": {"color": {"red": "", "blue": "x"}}},
            "judges.auditor.attributes.color.red: expected a ",
        ),
        (
            {"attributes": {"color": {"red": [], "blue": "x"}}},
            "judges.auditor.attributes.color.red: expected a ",
        ),
        ({"quality": {"positive": "x"}}, "judges.auditor.quality: expected positive and negative prompts"),
        (
            {"confidence": "high"},
            "judges.auditor.confidence: expected a number from 0 to below 1, got 'high'",
        ),
    ],
)
def test_options_that_do_not_hold_are_one_sentence(clip, options, said):
    with pytest.raises(ConfigError) as error:
        load(**{"clip": clip, "attributes": ATTRIBUTES, **options})
    assert str(error.value).startswith(said)


def test_weights_that_are_not_here_are_told_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        MissingModelError, match=r"^judges\.auditor\.clip: timm/.* is not on this machine and HF"
    ):
        load(clip={"model": "ViT-B-32", "pretrained": "openai"}, attributes=ATTRIBUTES)
