import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import qdgs
from qdgs.config import Named
from qdgs.errors import ConfigError, CorruptFileError, MissingModelError, MissingPackageError

IMAGES = (torch.rand(5, 3, 44, 44, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
VALUES = {"dog": ["dog", "wolf"], "cat": "cat"}


def load(folder, **options):
    return qdgs.load_judge(Named(name="image-classifier", path=str(folder), **options))


def logits_of(folder):
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pictures = [Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()) for image in IMAGES]
    with torch.no_grad():
        return network(**processor(pictures, return_tensors="pt")).logits


def test_labels_are_those_of_the_models_own_pipeline(classifier_folder):
    expected = logits_of(classifier_folder)
    rows = load(classifier_folder, attribute="animal").judge(IMAGES)
    names = np.array(["cat", "dog", "fox", "wolf"])[expected.argmax(dim=1).numpy()]
    assert list(rows["animal"]) == list(names)
    np.testing.assert_allclose(
        rows["animal_score"], expected.double().softmax(dim=1).numpy() @ [0, 1, 2, 3], atol=1e-4
    )


def test_a_value_may_gather_labels(classifier_folder):
    expected = logits_of(classifier_folder).double()
    judge = load(classifier_folder, attribute="animal", values=VALUES)
    assert judge.attributes == {"animal": ("dog", "cat")}
    odds = expected[:, 0] - expected[:, [1, 3]].logsumexp(dim=1)
    np.testing.assert_allclose(judge.judge(IMAGES)["animal_score"], odds, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"values": {"a": "cat"}}, "judges.auditor.values: expected labels for at least two values"),
        (
            {"values": {"a": "cat", "b": "horse"}},
            "judges.auditor.values.b: expected labels of the model (cat, dog",
        ),
        ({"values": {"a": "cat", "b": []}}, "judges.auditor.values.b: expected at least one label, got none"),
        ({"confidence": -1}, "judges.auditor.confidence: expected a number from 0 to below 1, got -1"),
    ],
)
def test_options_that_do_not_hold_are_one_sentence(classifier_folder, options, said):
    with pytest.raises(ConfigError) as error:
        load(classifier_folder, **options)
    assert str(error.value).startswith(said)


def test_a_folder_of_something_else_is_one_sentence(classifier_folder, tmp_path):
    with pytest.raises(
        MissingModelError, match=r"^judges\.auditor\.path: expected a folder as save_pretrained"
    ):
        load(tmp_path / "none")
    for name, content, said in [
        ("model.safetensors", b"cut", "cannot be read as an image classifier"),
        (
            "config.json",
            json.dumps({"model_type": "nonsense"}).encode(),
            "cannot be read as an image classifier",
        ),
    ]:
        folder = shutil.copytree(classifier_folder, tmp_path / name)
        (folder / name).write_bytes(content)
        with pytest.raises(CorruptFileError, match=said) as error:
            load(folder)
        assert "\n" not in str(error.value)


def test_a_model_without_a_head_is_refused(classifier_folder, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = shutil.copytree(classifier_folder, tmp_path / "headless")
    transformers.ViTForImageClassification.from_pretrained(folder).vit.save_pretrained(folder)
    with pytest.raises(
        CorruptFileError, match=r"expected the weights of an image classifier, got none of class"
    ):
        load(folder)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'qdgs\[transformers\]'"):
        load("anywhere")
