import numpy as np
import pytest
import torch

from qdgs.errors import ConfigError, CorruptFileError, InputError, MissingModelError
from qdgs.probe.models import load_probed
from qdgs.probe_config import ProbedConfig

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def script(brought, probed, tmp_path_factory):
    return str(brought.scripted(probed.ByColor(), tmp_path_factory.mktemp("model") / "model.pt"))


def written_onnx(path, batch):
    """Means of the channels, as ONNX."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    real = onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("GlobalAveragePool", ["images"], ["pooled"])
    flat = onnx.helper.make_node("Flatten", ["pooled"], ["logits"])
    given = onnx.helper.make_tensor_value_info("images", real, [batch, 3, 32, 32])
    told = onnx.helper.make_tensor_value_info("logits", real, [batch, 3])
    graph = onnx.helper.make_graph([node, flat], "means", [given], [told])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


def test_torchscript_gives_what_the_module_gives(script, probed):
    model = load_probed(ProbedConfig(path=script))
    torch.testing.assert_close(model(IMAGES), probed.ByColor()(IMAGES))


@pytest.mark.parametrize("batch", ["n", 2])
def test_onnx_gives_what_it_says_also_in_batches_of_a_fixed_size(tmp_path, batch):
    model = load_probed(ProbedConfig(path=written_onnx(tmp_path / "means.onnx", batch)))
    np.testing.assert_allclose(model(IMAGES).numpy(), IMAGES.mean(dim=(2, 3)).numpy(), rtol=1e-5)


def test_a_folder_of_transformers_is_asked_with_its_own_preprocessing(classifier_folder):
    from qdgs.judges.image_classifier import ImageClassifier

    model = load_probed(ProbedConfig(path=str(classifier_folder)))
    assert model.values == ("cat", "dog", "fox", "wolf")
    torch.testing.assert_close(model(IMAGES), ImageClassifier(str(classifier_folder)).logits(IMAGES))


def test_a_judge_answers_what_it_reads(tiny_config):
    model = load_probed(ProbedConfig(judge="pixels", answers="color"))
    assert model.values == ("red", "blue")
    red = torch.ones(1, 3, 32, 32)
    red[:, 1:, 8:24, 8:24] = 0
    assert model(red).softmax(dim=1)[0].tolist() == [1, 0]


def test_images_come_as_the_model_wants_them(probed):
    settings = {"image_size": 8, "range": (-1.0, 1.0), "mean": (0.5, 0.0, 0.0), "std": (2.0, 1.0, 1.0)}
    prepared = load_probed(ProbedConfig(target="probed:ByShape", **settings)).prepared(IMAGES)
    expected = 2 * torch.nn.functional.interpolate(IMAGES, size=8, mode="area") - 1
    torch.testing.assert_close(prepared[:, 1:], expected[:, 1:])
    torch.testing.assert_close(prepared[:, 0], (expected[:, 0] - 0.5) / 2)


@pytest.mark.parametrize(
    ("name", "content", "error", "sentence"),
    [
        ("none.pt", None, MissingModelError, "expected a model at .*none.pt, got none"),
        ("text.pt", b"words", CorruptFileError, "cannot be read as TorchScript"),
        ("text.onnx", b"words", CorruptFileError, "cannot be read as ONNX"),
        ("text.h5", b"words", ConfigError, "expected a file named .pt, .pth, .ts, .torchscript or .onnx"),
        ("folder", "folder", MissingModelError, "expected a folder as save_pretrained writes it"),
    ],
)
def test_what_is_no_model_is_said_in_one_sentence(tmp_path, name, content, error, sentence):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=sentence):
        load_probed(ProbedConfig(path=str(path)))


def test_a_target_that_makes_no_model_is_refused():
    with pytest.raises(ConfigError, match="expected 'math:pi' to make something that is called"):
        load_probed(ProbedConfig(target="math:pi"))


def test_onnx_of_something_else_than_images_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    real = onnx.TensorProto.FLOAT
    given = onnx.helper.make_tensor_value_info("x", real, [1, 4])
    told = onnx.helper.make_tensor_value_info("y", real, [1, 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", [given], [told])
    path = tmp_path / "relu.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path
    )
    with pytest.raises(
        InputError, match=r"expected one input of images \(n, 3, height, width\), got \[1, 4\]"
    ):
        load_probed(ProbedConfig(path=str(path)))
