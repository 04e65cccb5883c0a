import shutil

import pytest

import qdgs
from qdgs.compat import import_open_clip
from qdgs.config import ALGORITHMS
from qdgs.listing import parts_here


def states(heading):
    return {part.name: part.state for part in parts_here()[heading]}


@pytest.mark.usefixtures("tiny_config")
def test_everything_that_is_registered_is_listed():
    parts = {heading: [part.name for part in parts] for heading, parts in parts_here().items()}
    assert parts["generators"] == sorted(qdgs.GENERATORS)
    assert parts["judges"] == sorted(qdgs.JUDGES)
    assert parts["samplers"] == sorted(qdgs.SAMPLERS)
    assert parts["algorithms"] == list(ALGORITHMS)
    assert {"qdgs-mini", "python", "torchscript"} <= set(parts["guides"])


@pytest.mark.usefixtures("tiny_config")
def test_a_part_is_ready_or_tells_what_it_needs():
    generators, guides, judges = states("generators"), states("guides"), states("judges")
    assert generators["shapes-vae"] == judges["pixels"] == "ready"
    assert generators["stylegan2"] == "ready; needs the option path"
    assert generators["python"] == judges["python"] == "ready; needs the option target"
    assert judges["torchscript"] == "ready; needs the options path, attributes"
    assert guides["python"] == "guide.name: ready; needs the option target"
    assert guides["torchscript"] == "guide.name: ready; needs the option path"
    assert guides["qdgs-mini"].startswith("ready; embedded, ")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TypeError("no"), "cannot be used here: no"),
        (qdgs.QdgsError("spoilt"), "cannot be used here: spoilt"),
        (ImportError("nowhere"), "cannot be used here: nowhere"),
    ],
)
def test_a_part_that_fails_is_listed_with_what_it_says(monkeypatch, error, state):
    def broken():
        raise error

    monkeypatch.setitem(qdgs.GENERATORS, "broken", broken)
    assert states("generators")["broken"] == state


def test_what_is_not_installed_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("qdgs.listing.find_spec", lambda name: None)
    monkeypatch.setattr("qdgs.generators.diffusers.has_transformers", lambda: False)
    install = "pip install 'qdgs[transformers]'"
    assert states("judges")["image-classifier"] == f"needs an optional package: {install}"
    assert states("guides")["ViT-B-32 and others"].endswith(
        f"of SigLIP and others of transformers: {install}"
    )
    assert states("generators")["diffusers"] == (
        f"ready; needs the option model; pipelines that read prompts need transformers: {install}"
    )


def test_a_fetched_clip_is_listed(monkeypatch, tiny_clip_folder, tmp_path):
    open_clip = import_open_clip()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    shutil.copytree(tiny_clip_folder, tmp_path / "models--org--tiny/snapshots/main")
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "RN50", {"drawn": {"hf_hub": "org/tiny/"}})
    assert states("guides")["RN50 drawn"] == "ready; on this machine"
