import shutil

import pytest

from qdgs import needs
from qdgs.compat import import_open_clip
from qdgs.config import load_config, parse_config, plain
from qdgs.errors import MissingModelError
from qdgs.hub import missing, told
from qdgs.inspection import check_config, fetch_commands, fetch_config

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


def test_files_of_every_part_are_told_and_fetched(config):
    assert [str(file) for file in needs.files(config)] == [
        "org/tiny/open_clip_config.json",
        "org/tiny/open_clip_model.safetensors",
        "org/other/open_clip_config.json",
        "org/other/open_clip_model.safetensors",
    ]
    assert told(needs.fetch(config)) == " and ".join(map(str, needs.files(config)))
    assert needs.fetch(config) == []
    assert missing(needs.files(config)) == []


def test_check_tells_what_would_be_fetched_without_fetching_it(config):
    (line,) = check_config(config)
    assert line == (
        "valid; would fetch org/tiny/open_clip_config.json and org/tiny/open_clip_model.safetensors and "
        "org/other/open_clip_config.json and org/other/open_clip_model.safetensors from the Hugging Face Hub"
    )
    assert fetch_config(config) == line.replace("valid; would fetch", "fetched")
    assert check_config(config)[0] == "valid; nothing to fetch"
    assert fetch_config(config) == "nothing to fetch"


def test_what_is_to_be_fetched_elsewhere_comes_as_commands(config, tmp_path):
    files = "open_clip_config.json open_clip_model.safetensors open_clip_pytorch_model.bin"
    assert fetch_commands(config) == [
        f"hf download org/tiny --include {files}",
        f"hf download org/other --include {files}",
        f"# then copy models--org--tiny and models--org--other of that machine's hub cache into {tmp_path / 'hub'}",
    ]
    fetch_config(config)
    assert fetch_commands(config) == ["# nothing to fetch"]


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
    assert told(needs.fetch(config)).endswith(
        "org/other/open_clip_model.safetensors and org/tokens/tokenizer.json and org/tokens/tokenizer_config.json"
    )


def test_tags_of_a_builtin_architecture_are_files_too(tiny_config):
    assert import_open_clip().get_pretrained_cfg("ViT-B-32", "openai")
    data = plain(load_config(tiny_config))
    data["guide"]["clip"] = {"model": "ViT-B-32", "pretrained": "openai"}
    (line,) = (line for line in fetch_commands(parse_config(data)) if line.startswith("hf"))
    assert line.startswith("hf download timm/vit_base_patch32_clip_224.openai --include open_clip_model.safe")
