import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qdgs.clip.encoder import ClipEncoder
from qdgs.clip.preprocessing import Preprocessing
from qdgs.clip.sources import EMBEDDED
from qdgs.compat import import_open_clip


@pytest.fixture(scope="module")
def encoder(tiny_clip_folder: Path) -> ClipEncoder:
    return ClipEncoder.load(f"local-dir:{tiny_clip_folder}", device="cpu")


def smooth_images(n: int, size: int, seed: int = 0) -> torch.Tensor:
    """Figures with edges and gradients, at the values of an 8-bit image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    phase = rng.uniform(0, 6, (n, 3, 1, 1))
    waves = 0.5 + 0.4 * np.sin(9 * x + phase) * np.cos(7 * y - phase)
    waves[:, :, size // 4 : size // 2, size // 3 : size // 2] = rng.random((n, 3, 1, 1)).round()
    return torch.from_numpy((waves * 255).round() / 255).float()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "wanted"), [(128, 32), (128, 224), (40, 32), (224, 224)])
def test_preprocessing_matches_the_pil_pipeline(size: int, wanted: int, interpolation: str) -> None:
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    images = smooth_images(3, size)
    reference = import_open_clip().image_transform(
        wanted, is_train=False, mean=mean, std=std, interpolation=interpolation
    )
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    expected = torch.stack([reference(Image.fromarray(image)) for image in pixels])
    difference = (Preprocessing((wanted, wanted), mean, std, interpolation)(images) - expected).abs()
    assert difference.mean() <= 0.005


def test_preprocessing_leaves_the_right_size_alone() -> None:
    images = smooth_images(2, 32)
    assert torch.equal(Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3)(images), images)


def test_preprocessing_never_leaves_the_range_of_an_image() -> None:
    images = smooth_images(2, 128).round()
    resized = Preprocessing((48, 48), (0.0,) * 3, (1.0,) * 3)(images)
    assert (float(resized.amin()), float(resized.amax())) == (0, 1)


def test_preprocessing_is_that_of_the_model(encoder: ClipEncoder) -> None:
    assert encoder.preprocessing == Preprocessing((32, 32), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


def test_embeddings_equal_those_of_open_clip_itself(encoder: ClipEncoder, tiny_clip_folder: Path) -> None:
    open_clip = import_open_clip()
    name = f"local-dir:{tiny_clip_folder}"
    model, transform = open_clip.create_model_from_pretrained(name, precision="fp32")
    images = smooth_images(4, 32)
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    with torch.no_grad():
        expected = model.encode_image(
            torch.stack([transform(Image.fromarray(p)) for p in pixels]), normalize=True
        )
        text = model.encode_text(open_clip.get_tokenizer(name)(["a red square", "3 edges"]), normalize=True)
    torch.testing.assert_close(encoder.encode_images(images), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(["a red square", "3 edges"]), text, atol=1e-6, rtol=0)


def test_embeddings_are_unit_vectors_in_float32_whatever_the_precision_of_the_images(
    encoder: ClipEncoder,
) -> None:
    images = smooth_images(3, 64)
    expected = encoder.encode_images(images)
    for given in (images.double(), images.bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeddings = encoder.encode_images(given)
            text = encoder.encode_text(["red"])
        assert embeddings.dtype == text.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
        torch.testing.assert_close(embeddings, expected, atol=0.02, rtol=0)


def test_the_model_is_frozen_and_gradients_reach_the_images(encoder: ClipEncoder) -> None:
    assert not encoder.model.training
    assert not any(p.requires_grad or p.dtype != torch.float32 for p in encoder.model.parameters())
    assert not encoder.encode_text(["red"]).requires_grad
    images = smooth_images(2, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(encoder.encode_images(images)[:, 0].sum(), images)
    assert gradient.isfinite().all()
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 0


def test_text_embeddings_can_enter_autograd(encoder: ClipEncoder) -> None:
    images = smooth_images(2, 32).requires_grad_()
    (encoder.encode_images(images) @ encoder.encode_text(["red"]).T).sum().backward()
    assert images.grad is not None


def test_unknown_words_are_those_outside_the_cards_vocabulary(encoder: ClipEncoder) -> None:
    prompts = ["A Red half-formed shape, with 5 edges?", "purple triangle; PURPLE square."]
    assert encoder.unknown_words(prompts) == ["5", "purple"]


def test_without_a_vocabulary_every_word_may_be_known(tiny_clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    (folder / "card.json").unlink()
    encoder = ClipEncoder.load(f"local-dir:{folder}", device="cpu")
    assert encoder.card == {}
    assert encoder.unknown_words(["purple cat"]) == []


@pytest.mark.skipif(not (EMBEDDED["qdgs-mini"] / "card.json").is_file(), reason="not trained yet")
def test_the_embedded_model_loads_and_lists_its_vocabulary() -> None:
    encoder = ClipEncoder.load("qdgs-mini", device="cpu")
    assert encoder.name == "qdgs-mini"
    assert encoder.unknown_words(["A red shape.", "a zebra"]) == ["zebra"]
    card = json.loads((EMBEDDED["qdgs-mini"] / "card.json").read_text())
    assert {"sha256", "vocabulary"} <= set(card)
