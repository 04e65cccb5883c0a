"""Every kind of open_clip model, small and random: saved, then loaded from each kind of place."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from qdgs.clip.encoder import ClipEncoder, ClipWarning
from qdgs.clip.sources import ClipSource, describe
from qdgs.compat import import_open_clip
from qdgs.hub import missing

pytestmark = pytest.mark.usefixtures("empty_cache")

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
PROMPTS = ["a red square", "a person in their fifties, smiling", "blue"]
TOKENS = "org/tokens"
KINDS: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT, "quick_gelu": True},
    "resnet": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
        "text_cfg": TEXT,
    },
    "siglip": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 64,
            "hf_tokenizer_name": TOKENS,
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 32,
            "heads": 2,
            "layers": 1,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    },
    "coca": {
        "embed_dim": 16,
        "custom_text": True,
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {
            "width": 16,
            "context_length": 20,
            "vocab_size": 49408,
            "layers": 1,
            "heads": 2,
            "n_queries": 8,
            "attn_pooler_heads": 2,
        },
    },
}
PREPROCESSING: dict[str, dict[str, Any]] = {
    "vit": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"},
    "resnet": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3], "interpolation": "bilinear"},
    "siglip": {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
    "coca": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "resize_mode": "longest"},
}


def words_tokenizer() -> Any:
    """A tokenizer of transformers that knows a few words."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = [
        "<pad>",
        "<eos>",
        "<unk>",
        *["a", "red", "square", "person", "in", "their", "fifties", "smiling", "blue"],
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def saved(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model as open_clip writes it: `save_for_hf`, or its parts where the tokenizer is open_clip's own."""
    open_clip = import_open_clip()
    hub = __import__("open_clip.push_to_hf_hub", fromlist=["save_for_hf"])
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, f"tiny-{kind}", KINDS[kind])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(f"tiny-{kind}", force_preprocess_cfg=PREPROCESSING[kind])
    if "hf_tokenizer_name" in KINDS[kind]["text_cfg"]:
        hub.save_for_hf(model, words_tokenizer(), KINDS[kind], folder, safe_serialization=True)
        return folder
    folder.mkdir()
    hub.save_config_for_hf(model, folder / "open_clip_config.json", KINDS[kind])
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return saved(kind, tmp_path / "saved", monkeypatch)


@pytest.fixture
def hub(folder: Path, hub_of: Callable[[Mapping[str, Path]], str]) -> str:
    return hub_of({"org/tiny": folder, TOKENS: folder})


def pictures() -> list[Image.Image]:
    y, x = np.mgrid[:96, :64]
    waves = [[np.sin(x / (5 + k) + c) * np.cos(y / (7 + k)) for c in range(3)] for k in range(3)]
    pixels = (127.5 + 120 * np.array(waves)).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return [Image.fromarray(image) for image in pixels]


def as_tensor(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 255


def cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cosine_similarity(one, other, dim=-1)


def test_embeddings_and_preprocessing_are_those_of_the_model_itself(kind: str, folder: Path) -> None:
    open_clip = import_open_clip()
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}", precision="fp32")
    encoder = ClipEncoder.load(f"local-dir:{folder}", device="cpu")
    images = torch.stack([transform(image) for image in pictures()])
    assert (encoder.preprocessing(as_tensor(pictures())) - images).abs().mean() <= 0.01
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(PROMPTS)
    with torch.no_grad():
        expected, text = model.eval().encode_image(images), model.encode_text(tokens)
    assert cosines(encoder.encode_images(as_tensor(pictures())), expected).amin() >= 0.999
    assert cosines(encoder.encode_text(PROMPTS), text).amin() >= 0.999999
    told = {key: getattr(encoder.preprocessing, key) for key in PREPROCESSING[kind]}
    assert told == {
        key: tuple(value) if isinstance(value, list) else value for key, value in PREPROCESSING[kind].items()
    }


def test_a_folder_a_repository_a_tag_and_a_file_are_one_model(
    kind: str, folder: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"hf_hub": "org/tiny/", **PREPROCESSING[kind], "quick_gelu": KINDS[kind].get("quick_gelu", False)}
    monkeypatch.setitem(import_open_clip().pretrained._PRETRAINED, f"tiny-{kind}", {"drawn": tag})
    checkpoint = str(folder / "open_clip_model.safetensors")
    whole = ClipEncoder.load(f"local-dir:{folder}", device="cpu")
    warnings.simplefilter("ignore", ClipWarning)
    for model, pretrained in [
        ("hf-hub:org/tiny", None),
        (f"tiny-{kind}", "drawn"),
        (f"tiny-{kind}", checkpoint),
    ]:
        encoder = ClipEncoder.load(model, pretrained, device="cpu")
        assert torch.equal(encoder.encode_text(PROMPTS), whole.encode_text(PROMPTS)), model
        if pretrained != checkpoint:  # which brings no preprocessing of its own
            assert encoder.preprocessing == whole.preprocessing
            assert encoder.sees_as(whole)


@pytest.mark.parametrize(("drawn", "warned"), [("siglip", True), ("vit", False)])
def test_a_file_whose_preprocessing_is_not_the_default_is_warned_of(
    tiny_clip_folder: Path, monkeypatch: pytest.MonkeyPatch, drawn: str, warned: bool
) -> None:
    open_clip = import_open_clip()
    config = json.loads((tiny_clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    tag = {"hf_hub": "org/tiny/", **(PREPROCESSING["siglip"] if drawn == "siglip" else {})}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"drawn": tag})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ClipEncoder.load("tiny", str(tiny_clip_folder / "open_clip_model.safetensors"), device="cpu")
    said = "guide.clip.pretrained: a checkpoint file brings no preprocessing, and open_clip's default is not"
    assert [str(item.message).startswith(said) for item in caught] == [True] * warned


def test_what_is_fetched_is_all_that_is_needed(
    kind: str, folder: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ClipSource("hf-hub:org/tiny")
    source.fetch()
    assert describe("hf-hub:org/tiny") is None
    assert missing(source.hub_files()) == []
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert ClipEncoder.load("hf-hub:org/tiny", device="cpu").encode_text(["red"]).shape[0] == 1


def test_a_tokenizer_that_is_not_here_is_told_with_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_of: Callable[[Mapping[str, Path]], str]
) -> None:
    folder = saved("siglip", tmp_path / "saved", monkeypatch)
    hub_of({"org/tiny": folder, TOKENS: folder})
    tag = {"drawn": {"hf_hub": "org/tiny/"}}
    monkeypatch.setitem(import_open_clip().pretrained._PRETRAINED, "tiny-siglip", tag)
    wanted = (
        "org/tiny/open_clip_model.safetensors and org/tokens/tokenizer.json and "
        "org/tokens/tokenizer_config.json from the Hugging Face Hub"
    )
    assert describe("tiny-siglip", "drawn") == wanted


def test_a_text_tower_of_transformers_takes_its_configuration_from_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_of: Callable[[Mapping[str, Path]], str]
) -> None:
    transformers = pytest.importorskip("transformers")
    open_clip = import_open_clip()
    tower = transformers.RobertaConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    tower.save_pretrained(tmp_path / "tower")
    words_tokenizer().save_pretrained(tmp_path / "tower")
    text = {
        "hf_model_name": str(tmp_path / "tower"),
        "hf_model_pretrained": False,
        "hf_proj_type": "mlp",
        "hf_tokenizer_name": str(tmp_path / "tower"),
        "context_length": 12,
    }
    monkeypatch.setitem(
        open_clip.factory._MODEL_CONFIGS,
        "tiny-roberta",
        {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": text},
    )
    model = open_clip.create_model("tiny-roberta", pretrained_text=False)
    saved_as = tmp_path / "saved"
    saved_as.mkdir()
    save_file(model.state_dict(), saved_as / "open_clip_model.safetensors")
    of_hub = {**text, "hf_model_name": "org/tower", "hf_tokenizer_name": "org/tower"}
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": of_hub}, "preprocess_cfg": {}}
    (saved_as / "open_clip_config.json").write_text(json.dumps(config))
    hub_of({"org/tiny": saved_as, "org/tower": tmp_path / "tower"})
    encoder = ClipEncoder.load("hf-hub:org/tiny", device="cpu")
    tokens = open_clip.get_tokenizer("tiny-roberta")(PROMPTS)
    with torch.no_grad():
        expected = model.eval().encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_text(PROMPTS), expected)


def test_other_weights_are_another_model(tiny_clip_folder: Path, other_clip_folder: Path) -> None:
    one, other = (
        ClipEncoder.load(f"local-dir:{path}", device="cpu") for path in (tiny_clip_folder, other_clip_folder)
    )
    assert one.sees_as(one)
    assert not one.sees_as(other)
    assert not other.sees_as(ClipEncoder.load("qdgs-mini", device="cpu"))
