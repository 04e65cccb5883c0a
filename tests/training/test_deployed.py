import pytest
import torch

from qdgs.errors import CorruptFileError
from qdgs.training.classifier import ShapeClassifier
from qdgs.training.deployed import load_classifier, save_classifier
from qdgs.training.pixels import to_pixels


@pytest.fixture
def classifier() -> ShapeClassifier:
    return ShapeClassifier(16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def path(classifier, tmp_path):
    path = tmp_path / "folder" / "0.98_0_qdgs.pt"
    save_classifier(classifier, path)
    return path


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:DeprecationWarning")
def test_the_file_gives_the_same_logits_without_our_code(classifier, path):
    images = torch.rand(4, 3, 16, 16)
    assert torch.equal(torch.jit.load(str(path))(images), classifier(images))


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:DeprecationWarning")
def test_images_of_another_size_or_as_bytes_are_scaled_as_in_training(classifier, path):
    loaded = torch.jit.load(str(path))
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected = classifier(to_pixels(pixels, 16) / 255)
    torch.testing.assert_close(loaded(pixels), expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(loaded(pixels / 255), loaded(pixels))


def test_a_saved_classifier_loads_with_equal_weights(classifier, path):
    loaded = load_classifier(path)
    assert all(torch.equal(a, b) for a, b in zip(classifier.parameters(), loaded.parameters(), strict=True))


def test_a_broken_or_missing_file_is_named_in_one_sentence(path):
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CorruptFileError, match=r"0\.98_0_qdgs\.pt: expected a saved classifier") as raised:
        load_classifier(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(CorruptFileError, match=r"nothing\.pt"):
        load_classifier(path.with_name("nothing.pt"))
