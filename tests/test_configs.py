"""Every configuration that is shipped holds, without a network, and says what it would fetch."""

from pathlib import Path

import pytest

from qdgs.checking import check_config, check_file, fetch_config
from qdgs.clip.sources import EMBEDDED
from qdgs.config import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
WANTED = {
    "stable-diffusion-people": [
        "stable-diffusion-v1-5/stable-diffusion-v1-5, revision 451f4fe16113bff5a5d2269ed5ad43b0592e9a14, "
        "variant fp16 from the Hugging Face Hub",
        "ViT-L-14",
    ],
    "sdxl-turbo": ["stabilityai/sdxl-turbo", "variant fp16 from the Hugging Face Hub"],
    "ddpm-celebahq-faces": ["google/ddpm-celebahq-256 from the Hugging Face Hub"],
}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and nothing fetched before."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_holds_without_a_network(path, offline):
    if "model: qdgs-faces" in path.read_text() and "qdgs-faces" not in EMBEDDED:
        pytest.skip("the guide qdgs-faces is not shipped yet")
    lines = check_file(path)
    assert lines[0].startswith("valid; ")
    for said in WANTED.get(path.stem, []):
        assert said in lines[0]
    if path.stem in WANTED:
        assert len(lines) == 1
        with pytest.raises(Exception, match=r"is not on this machine and HF_HUB_OFFLINE is set"):
            fetch_config(load_config(path))


def test_a_generator_that_is_here_needs_no_fetching(pipeline_folder, offline):
    data = load_config(CONFIGS / "shapes.yaml")
    named = {"name": "diffusers", "model": str(pipeline_folder("ddim")), "steps": 2}
    config = data.model_copy(update={"generator": type(data.generator)(**named)})
    assert check_config(config)[0] == "valid; nothing to fetch"
    assert fetch_config(config) == "nothing to fetch"
