import hashlib
import os
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qdgs.errors import InputError
from qdgs.generators.stylegan2_convert import convert, convert_stylegan2, network_of
from qdgs.generators.stylegan2_files import CARD, WEIGHTS, read_folder
from qdgs.generators.stylegan2_pickle import read_inert


@pytest.fixture
def pickled(stylegans, tmp_path):
    """A pickle of a generator that was changed first."""

    def act(change=lambda generator: None, protocol=3, **others):
        with stylegans.published_modules():
            generator = stylegans.generator_of(stylegans.TINY)
            changed = change(generator)
            data = stylegans.snapshot(generator if changed is None else changed, **others)
            return stylegans.write_pickle(tmp_path / "network.pkl", data, protocol)

    return act


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_and_architecture_are_those_of_the_pickle(stylegans, pickled, protocol):
    architecture, tensors = network_of(read_inert(pickled(protocol=protocol)))
    expected = stylegans.tensors_of(stylegans.TINY)
    assert architecture == stylegans.TINY
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        assert torch.equal(tensors[name], value), name


def test_the_folder_holds_the_tensors_and_the_statistics_of_w(stylegans, stylegan2_pickle, stylegan2_folder):
    card, tensors = read_folder(stylegan2_folder)
    z = np.random.default_rng(0).standard_normal((10_000, 16), dtype=np.float32)
    network = stylegans.network_of(stylegans.TINY)
    w = network.mapping(torch.from_numpy(z))
    torch.testing.assert_close(tensors.pop("w_std"), w.std(dim=0))
    assert set(tensors) == set(stylegans.tensors_of(stylegans.TINY))
    norms = ((w - network.mapping.w_avg) / w.std(dim=0)).norm(dim=1)
    assert card.statistics.norm == pytest.approx(norms.mean().item(), rel=1e-5)
    assert (card.statistics.latents, card.statistics.seed) == (10_000, 0)
    assert card.architecture == stylegans.TINY
    assert card.sha256 == hashlib.sha256((stylegan2_folder / WEIGHTS).read_bytes()).hexdigest()
    assert card.source.file == stylegan2_pickle.name
    assert card.source.sha256 == hashlib.sha256(stylegan2_pickle.read_bytes()).hexdigest()
    assert sorted(os.listdir(stylegan2_folder)) == [CARD, WEIGHTS]


def test_converting_again_gives_the_same_files(stylegan2_pickle, stylegan2_folder, tmp_path):
    out = tmp_path / "deep" / "out"
    line = convert(stylegan2_pickle, out)
    assert line == f"written: StyleGAN2, 32×32, 8 layers; use it as {{name: stylegan2, path: {out}}}"
    for name in (CARD, WEIGHTS):
        assert (out / name).read_bytes() == (stylegan2_folder / name).read_bytes()


def test_source_code_in_the_pickle_is_not_run(stylegans, tmp_path):
    marker = tmp_path / "marker"
    with stylegans.published_modules():
        generator = stylegans.generator_of(stylegans.TINY, source=f"import os; os.mkdir({str(marker)!r})")
        path = stylegans.write_pickle(tmp_path / "network.pkl", stylegans.snapshot(generator))
    convert(path, tmp_path / "out")
    assert not marker.exists()


def test_without_an_average_of_training_it_is_that_of_the_statistics(pickled, tmp_path):
    path = pickled(lambda generator: generator.mapping._buffers.clear())
    convert(path, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    z = np.random.default_rng(0).standard_normal((10_000, 16), dtype=np.float32)
    _, read = read_folder(tmp_path / "out")
    assert torch.equal(read["mapping.w_avg"], tensors["mapping.w_avg"])
    x = torch.from_numpy(z)
    x = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for index in range(2):
        weight, bias = tensors[f"mapping.fc{index}.weight"], tensors[f"mapping.fc{index}.bias"]
        x = x @ (weight * 0.01 / weight.shape[1] ** 0.5).T + 0.01 * bias
        x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
    torch.testing.assert_close(tensors["mapping.w_avg"], x.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_half_precision_and_other_layouts_become_plain_float32(pickled, stylegans):
    def change(generator):
        layer = generator.synthesis.b32.conv1
        layer.weight = torch.nn.Parameter(layer.weight.to(memory_format=torch.channels_last), False)
        generator.synthesis.b4.const = torch.nn.Parameter(generator.synthesis.b4.const.half(), False)

    _, tensors = network_of(read_inert(pickled(change)))
    expected = stylegans.tensors_of(stylegans.TINY)
    assert torch.equal(tensors["synthesis.b32.conv1.weight"], expected["synthesis.b32.conv1.weight"])
    assert tensors["synthesis.b32.conv1.weight"].is_contiguous()
    const = tensors["synthesis.b4.const"]
    assert const.dtype == torch.float32
    assert torch.equal(const, expected["synthesis.b4.const"].half().float())


def test_half_precision_is_that_of_the_highest_resolutions(pickled):
    architecture, _ = network_of(read_inert(pickled(at("synthesis.b8", "use_fp16", True))))
    assert architecture.half_blocks == 3


def test_without_noise_there_is_none(stylegans, tmp_path):
    quiet = stylegans.TINY.model_copy(update={"noise": False, "clamp": None})
    with stylegans.published_modules():
        data = stylegans.snapshot(stylegans.generator_of(quiet))
        path = stylegans.write_pickle(tmp_path / "network.pkl", data)
    architecture, tensors = network_of(read_inert(path))
    assert architecture == quiet
    assert not [name for name in tensors if "noise" in name]


def at(place, name, value):
    """A change of one attribute."""

    def change(generator):
        setattr(generator.get_submodule(place) if place else generator, name, value)

    return change


def without(place, name):
    def change(generator):
        delattr(generator.get_submodule(place) if place else generator, name)

    return change


def repeated(generator):
    layer = generator.synthesis.b32.conv1
    layer.weight = torch.nn.Parameter(torch.zeros(1).expand(layer.weight.shape), False)


def not_a_number(generator):
    generator.synthesis.b8.conv0.weight[0, 0, 0, 0] = torch.nan


def constant_mapping(generator):
    generator.mapping.fc1.weight[3] = 0


def stylegan3(generator):
    generator.synthesis._modules = OrderedDict(input=generator.synthesis.b4)


WRONG = {
    "classes": (at("", "c_dim", 10), "expected a generator without classes, got a class-conditional one"),
    "grey": (at("", "img_channels", 1), "G_ema.img_channels: expected 3, got 1"),
    "16 pixels": (at("", "img_resolution", 16), "expected a power of two from 32 to 1024, got 16"),
    "a text": (at("", "img_resolution", "big"), "expected a power of two from 32 to 1024, got 'big'"),
    "larger": (at("", "img_resolution", 64), "G_ema.synthesis.b64: expected a part of a StyleGAN2, got none"),
    "StyleGAN3": (stylegan3, "G_ema.synthesis.b4: expected a part of a StyleGAN2, got none"),
    "residual": (
        at("synthesis.b8", "architecture", "resnet"),
        "b8.architecture: expected 'skip', got 'resnet'",
    ),
    "ReLU": (
        at("synthesis.b8.conv0", "activation", "relu"),
        "conv0.activation: expected 'lrelu', got 'relu'",
    ),
    "a clamp of its own": (
        at("synthesis.b8.torgb", "conv_clamp", 9),
        "torgb.conv_clamp: expected 0.8, got 9",
    ),
    "a clamp below 0": (at("synthesis.b4.conv1", "conv_clamp", -1), "conv_clamp: expected -1, got 0.8"),
    "another filter": (
        at("synthesis.b8.conv0", "resample_filter", torch.ones(4, 4) / 16),
        "b8.conv0.resample_filter: expected 1 3 3 1",
    ),
    "float16 at the bottom": (at("synthesis.b32", "use_fp16", False), "expected float16 at the highest"),
    "no layers": (at("mapping", "num_layers", 0), "num_layers: expected a number from 1 to 64, got 0"),
    "no rate": (at("mapping.fc0", "bias_gain", None), "mapping.fc1.bias_gain: expected None, got 0.01"),
    "no setting": (without("", "c_dim"), "G_ema.c_dim: expected a number or a text, got nothing"),
    "no number": (at("", "c_dim", [0]), "G_ema.c_dim: expected a number or a text, got list"),
    "a z of another length": (
        at("mapping", "z_dim", 17),
        "fc0.weight: expected numbers of shape (32, 17), got (32",
    ),
    "no tensor": (
        without("synthesis.b8.conv0", "bias"),
        "b8.conv0.bias: expected numbers of shape (16,), got none",
    ),
    "repeated numbers": (repeated, "b32.conv1.weight: expected numbers of shape (8, 8, 3, 3), got"),
    "NaN": (not_a_number, "b8.conv0.weight: expected finite numbers, got NaN or infinity"),
    "a constant": (constant_mapping, "expected a mapping network that varies in every element of w"),
    "no module": (
        without("synthesis.b8.conv0", "_parameters"),
        "G_ema.synthesis.b8.conv0: expected a torch module, got 'SynthesisLayer'",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_another_kind_of_generator_is_told_and_nothing_is_written(pickled, tmp_path, kind):
    change, said = WRONG[kind]
    path = pickled(change)
    with pytest.raises(InputError) as error:
        convert(path, tmp_path / "out")
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["network.pkl"]


@pytest.mark.parametrize("data", [{"G": 1}, {"G_ema": None}, {"G_ema": torch.ones(2)}, [], None, (1, 2, 3)])
def test_a_pickle_without_the_generator_is_told(stylegans, tmp_path, data):
    path = stylegans.write_pickle(tmp_path / "network.pkl", data)
    with pytest.raises(
        InputError, match="expected a pickle with the averaged generator G_ema, got one without"
    ):
        convert(path, tmp_path / "out")


def test_what_is_there_already_is_left_alone(stylegan2_pickle, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for out, kind in (
        (tmp_path / "full", "a folder with files in it"),
        (tmp_path / "full" / "file", "a file"),
    ):
        with pytest.raises(InputError, match=f"expected a new folder, got {kind}"):
            convert(stylegan2_pickle, out)
    assert (tmp_path / "full" / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    convert_stylegan2(stylegan2_pickle, tmp_path / "empty")
    assert sorted(os.listdir(tmp_path / "empty")) == [CARD, WEIGHTS]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@pytest.mark.parametrize("name", [WEIGHTS, f".{CARD}.tmp"])
def test_a_full_disk_leaves_no_folder(stylegan2_pickle, tmp_path, name):
    unfinished = tmp_path / f".out.{os.getpid()}.tmp"
    unfinished.mkdir()
    (unfinished / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        convert(stylegan2_pickle, tmp_path / "out")
    assert os.listdir(tmp_path) == []
