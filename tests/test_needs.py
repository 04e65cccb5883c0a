import shutil

import pytest

from qdgs import needs
from qdgs.checking import check_config, fetch_config
from qdgs.clip.sources import ClipSource
from qdgs.compat import import_open_clip
from qdgs.config import load_config, parse_config, plain
from qdgs.errors import ConfigError, MissingModelError

pytestmark = pytest.mark.usefixtures("empty_cache")
READS = {"color": {"red": "a red shape", "blue": "a blue shape"}}


@pytest.fixture
def config(tiny_config, tiny_clip_folder, other_clip_folder, hub_of, tmp_path):
    """Guide and auditor of two repositories."""
    hub_of({"org/tiny": tiny_clip_folder, "org/other": other_clip_folder})
    data = plain(load_config(tiny_config))
    data["guide"]["clip"] = {"model": "hf-hub:org/tiny"}
    auditor = {"name": "clip-zero-shot", "clip": {"model": "hf-hub:org/other"}, "attributes": READS}
    data["judges"]["auditor"] = auditor
    data["dataset"]["groups"]["edges"]["audit"] = None
    return parse_config(data)


TINY = "org/tiny/open_clip_config.json and org/tiny/open_clip_model.safetensors from the Hugging Face Hub"
OTHER = TINY.replace("org/tiny", "org/other")


def test_what_every_part_needs_is_told_and_fetched(config):
    assert needs.missing(needs.sources(config)) == [TINY, OTHER]
    assert needs.fetch(config) == [TINY, OTHER]
    assert needs.fetch(config) == []
    assert needs.missing(needs.sources(config)) == []


def test_check_tells_what_would_be_fetched_without_fetching_it(config, empty_cache):
    assert check_config(config) == [f"valid; would fetch {TINY} and {OTHER}"]
    assert not empty_cache.exists()
    assert fetch_config(config) == f"fetched {TINY} and {OTHER}"
    assert check_config(config)[0] == "valid; nothing to fetch"
    assert fetch_config(config) == "nothing to fetch"


def test_what_is_to_be_fetched_elsewhere_comes_as_commands(config, empty_cache):
    files = "open_clip_config.json open_clip_model.safetensors open_clip_pytorch_model.bin"
    assert needs.commands(config) == [
        f"hf download org/tiny --include {files}",
        f"hf download org/other --include {files}",
        f"# then copy what that machine's hub cache holds of these (models--…) into {empty_cache}",
    ]
    fetch_config(config)
    assert needs.commands(config) == ["# nothing to fetch"]


def test_one_model_for_two_attributes_is_fetched_once(config):
    judge = config.judges.auditor.model_dump()
    data = plain(config)
    data["judges"]["auditor"] = {"color": judge, "shape": "pixels"}
    data["judges"]["gate"] = judge
    assert needs.missing(
        needs.sources(parse_config({**data, "judges": {**data["judges"], "shared": True}}))
    ) == [
        TINY,
        OTHER,
    ]


def test_a_judge_that_is_the_guide_is_told_by_check(config, tiny_clip_folder, hub_of):
    hub_of({"org/tiny": tiny_clip_folder, "org/other": tiny_clip_folder})
    assert needs.fetch(config) == [TINY, OTHER]
    with pytest.raises(ConfigError, match=r"^judges\.auditor\.clip: expected another CLIP than the guide's"):
        check_config(config)


def test_a_network_that_is_not_there_is_one_sentence(config, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MissingModelError, match=r"^guide\.clip: org/tiny/open_clip_config\.json is not on"):
        fetch_config(config)


def test_what_a_fetched_configuration_asks_for_is_fetched_too(
    config, tiny_clip_folder, tmp_path, hub_of, monkeypatch
):
    pytest.importorskip("transformers")
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "with tokenizer")
    text = '"text_cfg": {"hf_tokenizer_name": "org/tokens", '
    file = folder / "open_clip_config.json"
    file.write_text(file.read_text().replace('"text_cfg": {', text))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    hub_of({"org/tiny": folder, "org/other": folder, "org/tokens": folder})
    needs.fetch(config)
    assert [str(file) for file in ClipSource("hf-hub:org/other").hub_files() if not file.optional] == [
        "org/other/open_clip_config.json",
        "org/other/open_clip_model.safetensors",
        "org/tokens/tokenizer.json",
        "org/tokens/tokenizer_config.json",
    ]
    assert needs.missing([ClipSource("hf-hub:org/other")]) == []


def test_tags_of_a_builtin_architecture_are_files_too(tiny_config):
    assert import_open_clip().get_pretrained_cfg("ViT-B-32", "openai")
    data = plain(load_config(tiny_config))
    data["guide"]["clip"] = {"model": "ViT-B-32", "pretrained": "openai"}
    (line,) = (line for line in needs.commands(parse_config(data)) if line.startswith("hf"))
    assert line.startswith("hf download timm/vit_base_patch32_clip_224.openai --include open_clip_model.safe")
