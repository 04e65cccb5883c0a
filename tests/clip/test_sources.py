import importlib.util
import json
import os
import pickle
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from qdgs import hub as hub_files
from qdgs.clip.encoder import ClipEncoder, ClipWarning
from qdgs.clip.sources import EMBEDDED, ClipSource, describe
from qdgs.compat import import_open_clip
from qdgs.errors import ConfigError, CorruptFileError, InputError, MissingPackageError

pytestmark = pytest.mark.usefixtures("empty_cache")


def fetch(model: str, pretrained: str | None = None) -> None:
    ClipSource(model, pretrained).fetch()


IMAGES = torch.linspace(0, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


@pytest.fixture
def hub(hub_of: Callable[[Mapping[str, Path]], str], tiny_clip_folder: Path) -> str:
    return hub_of({"org/tiny": tiny_clip_folder})


@pytest.fixture
def tiny_architecture(tiny_clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An architecture of open_clip with one tag of weights on the hub, trained with QuickGELU."""
    open_clip = import_open_clip()
    config = json.loads((tiny_clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    tag = {"hf_hub": "org/tiny/", "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "quick_gelu": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-clip", config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-clip", {"drawn": tag})
    return "tiny-clip"


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_hub_model_is_fetched_once_and_equals_its_folder(hub: str, tiny_clip_folder: Path) -> None:
    wanted = (
        "org/tiny/open_clip_config.json and org/tiny/open_clip_model.safetensors from the Hugging Face Hub"
    )
    assert describe("hf-hub:org/tiny") == wanted
    fetched = ClipEncoder.load("hf-hub:org/tiny", device="cpu")
    expected = ClipEncoder.load(f"local-dir:{tiny_clip_folder}", device="cpu")
    assert torch.equal(fetched.encode_images(IMAGES), expected.encode_images(IMAGES))
    assert torch.equal(fetched.encode_text(["red"]), expected.encode_text(["red"]))
    assert describe("hf-hub:org/tiny") is None


def test_what_is_cached_needs_no_network(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch("hf-hub:org/tiny")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert ClipEncoder.load("hf-hub:org/tiny", device="cpu").name == "hf-hub:org/tiny"


def test_a_tag_brings_its_own_preprocessing_and_activation(
    hub: str, tiny_architecture: str, tiny_clip_folder: Path
) -> None:
    encoder = ClipEncoder.load(tiny_architecture, "drawn", device="cpu")
    assert encoder.preprocessing.mean == (0.1, 0.2, 0.3)
    activations = {type(module).__name__ for module in encoder.model.modules()}
    assert "QuickGELU" in activations
    assert "GELU" not in activations
    plain = ClipEncoder.load(f"local-dir:{tiny_clip_folder}", device="cpu")
    assert torch.equal(encoder.model.text_projection, plain.model.text_projection)


def test_a_checkpoint_file_may_stand_for_a_tag(tiny_architecture: str, tiny_clip_folder: Path) -> None:
    checkpoint = str(tiny_clip_folder / "open_clip_model.safetensors")
    assert describe(tiny_architecture, checkpoint) is None
    with pytest.warns(ClipWarning, match="a checkpoint file brings no preprocessing"):
        encoder = ClipEncoder.load(tiny_architecture, checkpoint, device="cpu")
    plain = ClipEncoder.load(f"local-dir:{tiny_clip_folder}", device="cpu")
    assert torch.equal(encoder.encode_text(["red"]), plain.encode_text(["red"]))


def test_offline_is_one_sentence_without_a_connection(monkeypatch: pytest.MonkeyPatch, hub: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"is not on this machine and HF_HUB_OFFLINE is set; run `qdgs fetch"
    ):
        ClipEncoder.load("ViT-B-32", "openai", device="cpu")


def test_a_refused_connection_is_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    import_open_clip()  # which takes seconds
    start = time.monotonic()
    with pytest.raises(InputError, match=r"^guide\.clip: timm/vit_base.* cannot be reached; run `qdgs fetch"):
        fetch("ViT-B-32", "openai")
    assert time.monotonic() - start < 5


def test_a_network_that_swallows_everything_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_files, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(InputError, match="cannot be reached"):
            ClipEncoder.load("hf-hub:org/tiny", device="cpu")
        assert time.monotonic() - start < 5


def test_a_repository_that_is_not_there_is_one_sentence(hub: str) -> None:
    with pytest.raises(
        InputError, match=r"^guide\.clip: org/none/open_clip_config\.json is not on this machine"
    ):
        fetch("hf-hub:org/none")


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B32", "openai", r"guide\.clip\.model: unknown 'ViT-B32'; did you mean 'ViT-B-32' or"),
        (
            "qdgs_mini",
            None,
            r"unknown 'qdgs_mini'; did you mean 'qdgs-mini'\? known: qdgs-mini, qdgs-faces, ",
        ),
        (
            "ViT-B-32",
            "opnai",
            r"guide\.clip\.pretrained: unknown 'opnai' for 'ViT-B-32'; did you mean 'openai'",
        ),
        (
            "ViT-B-32",
            None,
            r"guide\.clip\.pretrained: expected weights for 'ViT-B-32', got none; known: openai",
        ),
        ("qdgs-mini", "openai", r"guide\.clip\.pretrained: expected none, as 'qdgs-mini' brings its own"),
        (
            "hf-hub:no--such/model",
            None,
            r"guide\.clip\.model: expected hf-hub:ORGANISATION/REPOSITORY, got 'hf-hub:no--such/model'",
        ),
        (
            "local-dir:/no/where",
            None,
            r"guide\.clip\.model: expected open_clip_config\.json and open_clip_model",
        ),
    ],
)
def test_wrong_names_are_one_sentence_with_the_nearest(
    model: str, pretrained: str | None, message: str
) -> None:
    for ask in (describe, fetch, partial(ClipEncoder.load, device="cpu")):
        if ask is fetch and model.startswith("local-dir:"):
            continue
        with pytest.raises(ConfigError, match=message):
            ask(model, pretrained)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="it is installed")
def test_a_text_tower_of_another_package_says_how_to_install_it() -> None:
    with pytest.raises(MissingPackageError, match=r"pip install 'qdgs"):
        describe("ViT-B-16-SigLIP", "webli")


def test_describing_a_folder_checks_it(tiny_clip_folder: Path) -> None:
    assert describe(f"local-dir:{tiny_clip_folder}") is None


def test_a_damaged_weight_file_fails_its_hash(tiny_clip_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny_clip_folder, tmp_path)
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        CorruptFileError, match=r"model\.safetensors: expected SHA-256 .* the file is damaged"
    ):
        ClipEncoder.load(f"local-dir:{folder}", device="cpu")


def test_the_embedded_model_is_checked_too(
    tiny_clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(tiny_clip_folder, tmp_path)
    monkeypatch.setitem(EMBEDDED, "qdgs-mini", folder)
    assert ClipEncoder.load("qdgs-mini", device="cpu").name == "qdgs-mini"
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="install qdgs again"):
        describe("qdgs-mini")


@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_weights_without_a_hash_that_cannot_be_read_are_one_sentence(
    tiny_clip_folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    folder = copy_of(tiny_clip_folder, tmp_path)
    (folder / "card.json").unlink()
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000] if content is None else content)
    with pytest.raises(CorruptFileError, match="cannot be read as the weights of a CLIP") as raised:
        ClipEncoder.load(f"local-dir:{folder}", device="cpu")
    assert "\n" not in str(raised.value)


def test_a_checkpoint_that_calls_something_is_not_run_and_no_way_to_run_it_is_told(
    tiny_clip_folder: Path, tmp_path: Path
) -> None:
    class Call:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "marker"),)

    folder = copy_of(tiny_clip_folder, tmp_path)
    for name in ("card.json", "open_clip_model.safetensors"):
        (folder / name).unlink()
    weights = folder / "open_clip_pytorch_model.bin"
    for content in (pickle.dumps(Call(), protocol=2), b"xxxx"):
        weights.write_bytes(content)
        with pytest.raises(CorruptFileError) as raised:
            ClipEncoder.load(f"local-dir:{folder}", device="cpu")
        assert str(raised.value) == (
            f"{weights}: cannot be read as the weights of a CLIP: it is damaged, or asks for more than "
            "numbers, which was not run; fetch or copy it again"
        )
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(("name", "content"), [("card.json", "{"), ("open_clip_config.json", "[]")])
def test_a_damaged_card_or_configuration_is_one_sentence(
    tiny_clip_folder: Path, tmp_path: Path, name: str, content: str
) -> None:
    folder = copy_of(tiny_clip_folder, tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(CorruptFileError, match=rf"{name}: "):
        describe(f"local-dir:{folder}")
