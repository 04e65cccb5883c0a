"""Fixtures that several parts share."""

import importlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from hypothesis import settings
from safetensors.torch import save_file

from qdgs.compat import import_open_clip, import_torchvision
from qdgs.generators.stylegan2_convert import convert_stylegan2
from qdgs.run import Run

settings.register_profile("suite", deadline=None)  # a busy machine is no fault
settings.load_profile("suite")
TOGETHER = {
    "tests/comparison/test_compare.py": "a comparison",
    "tests/comparison/test_page.py": "a comparison",
    "tests/experiments/test_algorithms.py": "a study of algorithms",
    "tests/experiments/test_probe_restoration.py": "a study of restorers",
    "tests/probe/test_carry_out.py": "a probe",
    "tests/probe/test_restoration.py": "a probe of a restorer",
    "tests/report/test_browser.py": "a report and a browser",
    "tests/report/test_page.py": "a report and a browser",
    "tests/search/test_remote.py": "a Ray",
    "tests/stages/test_identities.py": "a run with identities",
    "tests/stages/test_merge.py": "a merged set",
    "tests/stages/test_workers.py": "a Ray",
    "tests/test_cluster.py": "a Ray",
    "tests/test_shapes.py": "the run of the shapes",
    "tests/test_tutorial.py": "a tutorial",
}
"""What the tests of some files share and what takes seconds to make."""
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand tests out one by one, but those that share something costly to one process, the largest first.

    The mark xdist_group is of no effect with pytest 9.2 (pytest-dev/pytest-xdist#1386).
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    assert all((config.rootpath / file).is_file() for file in TOGETHER)
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(nodeid.partition("::")[0], nodeid)

    return Together(config, log)


def written_clip(folder: Path, seed: int) -> Path:
    folder.mkdir()
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": TINY_PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = import_open_clip().model.CLIP(**TINY_CLIP)
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads of torch, however many the suite has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def other_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another CLIP of the same kind, without a card: a judge beside the first as guide."""
    return written_clip(tmp_path_factory.mktemp("clip") / "other-clip", seed=1)


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 0.8 million random weights in the form that open_clip's `local-dir:` reads, with a card.

    Weights are float16, as an embedded model's are. Do not write into it: copy it.
    """
    folder = written_clip(tmp_path_factory.mktemp("clip") / "tiny-clip", seed=0)
    weights = folder / "open_clip_model.safetensors"
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


@pytest.fixture(scope="session")
def brought() -> Iterator[ModuleType]:
    """The module of what a user might bring, which targets can name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("brought")


@pytest.fixture(scope="session")
def scripts(brought: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """TorchScript files of a generator, a guide and a judge."""
    folder = tmp_path_factory.mktemp("scripts")
    modules = {"generator": brought.Painter, "guide": brought.Rater, "judge": brought.Sorter}
    return {kind: str(brought.scripted(made(), folder / f"{kind}.pt")) for kind, made in modules.items()}


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random image classifier of four labels, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    import_torchvision()
    folder = tmp_path_factory.mktemp("classifier")
    labels = dict(enumerate(["cat", "dog", "fox", "wolf"]))
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.2]
    )
    processor.save_pretrained(folder)
    return folder


HubOf = Callable[[Mapping[str, Path]], str]
COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The part of the Hugging Face Hub that a download asks for: files of repositories that are folders."""

    def __init__(self, repositories: Mapping[str, Path], *args: object) -> None:
        self.repositories = repositories
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        repository, _, name = self.path.removeprefix("/").partition("/resolve/main/")
        folder = self.repositories.get(repository)
        if folder is None or not (folder / name).is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if folder else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            return b""
        body = (folder / name).read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of the test's own, with nothing in it; the network may be asked."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def hub_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubOf]:
    """Start a hub of repositories, by their names, and tell its address."""
    with ExitStack() as stack:

        def start(repositories: Mapping[str, Path]) -> str:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, repositories)))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(server.shutdown)
            endpoint = f"http://127.0.0.1:{server.server_port}"
            monkeypatch.setattr(constants, "ENDPOINT", endpoint)
            template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            return endpoint

        yield start


@pytest.fixture(scope="session")
def pipelines() -> Iterator[ModuleType]:
    """The module that makes small diffusers pipelines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("pipelines")


@pytest.fixture(scope="session")
def pipeline_folder(pipelines: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Kind of a small diffusers pipeline → the folder it is saved in. Do not write into it: copy it."""
    root = tmp_path_factory.mktemp("pipelines")

    def act(kind: str) -> Path:
        if kind in pipelines.TEXT and find_spec("transformers") is None:
            pytest.skip("transformers is not installed: pip install 'qdgs[transformers]'")
        folder = root / kind / "model"
        if not folder.exists():
            pipelines.save(kind, folder)
        return folder

    return act


@pytest.fixture(scope="session")
def ray_here() -> Iterator[object]:
    """A Ray of two processes, which every run of a test that asks for one takes."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from qdgs.cluster import connected
    from qdgs.workers_config import WorkersConfig

    with connected(WorkersConfig(kind="ray", count=2)) as ray:
        yield ray
