"""Fixtures that several parts share."""

import importlib
import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from qdgs.compat import import_open_clip
from qdgs.generators.stylegan2_convert import convert_stylegan2
from qdgs.run import Run

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
TINY_PREPROCESSING = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
TINY_VOCABULARY = [
    "a",
    "red",
    "blue",
    "shape",
    "square",
    "triangle",
    "with",
    "3",
    "4",
    "edges",
    "half-formed",
]


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 0.8 million random weights in the form that open_clip's `local-dir:` reads, with a card.

    Weights are float16, as an embedded model's are. Do not write into it: copy it.
    """
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": TINY_PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = import_open_clip().model.CLIP(**TINY_CLIP)
    weights = folder / "open_clip_model.safetensors"
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, weights)
    card = {
        "sha256": sha256(weights.read_bytes()).hexdigest(),
        "vocabulary": TINY_VOCABULARY,
        "taught_by": "pixels",
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a run of stand-ins that takes seconds; its cache is a folder apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        patch.setenv("QDGS_CACHE", str(tmp_path_factory.mktemp("cache")))
        standins = importlib.import_module("standins")
        standins.register()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield standins.write_config(tmp_path_factory.mktemp("config") / "tiny.yaml", tiny_clip_folder)
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished_folder(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is through with every stage. Do not write into it: copy it."""
    return Run.create(tiny_config, tmp_path_factory.mktemp("runs") / "finished").complete().path


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> Run:
    """A run of one's own that is through with every stage."""
    shutil.copytree(finished_folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture(scope="session")
def stylegans() -> Iterator[ModuleType]:
    """The module that makes small StyleGAN2s, and pickles of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("stylegans")


@pytest.fixture(scope="session")
def stylegan2_pickle(stylegans: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pickle as a training run of a StyleGAN2 of 32×32 writes it. Do not write into it: copy it."""
    with stylegans.published_modules():
        data = stylegans.snapshot(stylegans.generator_of(stylegans.TINY))
        path: Path = stylegans.write_pickle(tmp_path_factory.mktemp("pickle") / "tiny.pkl", data)
    return path


@pytest.fixture(scope="session")
def stylegan2_folder(stylegan2_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, converted. Do not write into it: copy it."""
    folder = tmp_path_factory.mktemp("converted") / "tiny"
    convert_stylegan2(stylegan2_pickle, folder)
    return folder
