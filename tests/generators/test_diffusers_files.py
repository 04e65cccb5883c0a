"""Where pipelines come from, and what is said where they do not."""

import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from qdgs.errors import ConfigError, CorruptFileError, MissingModelError, MissingPackageError
from qdgs.generators import diffusers_files
from qdgs.generators.diffusers import lacking, load_diffusers
from qdgs.generators.diffusers_files import Source, class_of, load, source_of
from qdgs.stages.identity import identity


@pytest.fixture
def copied(pipeline_folder, tmp_path):
    """A copy of a pipeline, to be spoilt."""

    def act(kind):
        return shutil.copytree(pipeline_folder(kind), tmp_path / "copy")

    return act


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A cache of the hub with nothing in it, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(hub, folder, name="maker/model"):
    """A folder as the hub's client keeps a downloaded repository."""
    repository = hub / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / "0123abcd")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    return repository / "snapshots" / "0123abcd"


COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """What the client of the Hugging Face Hub asks for: files of maker/model, and what there is of them."""

    def __init__(self, folder, *args):
        self.names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        super().__init__(*args)

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.wfile.write(self.answer())

    def answer(self):
        place = urlsplit(self.path).path
        if place.startswith("/api/models/maker/model/tree/"):
            return self.send(json.dumps([self.entry(name) for name in self.names]).encode())
        if place.startswith("/api/models/maker/model"):
            siblings = [{"rfilename": name} for name in self.names]
            return self.send(json.dumps({"id": "maker/model", "sha": COMMIT, "siblings": siblings}).encode())
        name = place.removeprefix("/maker/model/resolve/").partition("/")[2]
        if name in self.names:
            return self.send(self.names[name].read_bytes(), ETag=f'"{name.replace("/", "-")}"')
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        return b""

    def entry(self, name):
        return {"type": "file", "path": name, "size": self.names[name].stat().st_size, "oid": name}

    def send(self, body, **headers):
        self.send_response(200)
        for key, value in {**headers, "X-Repo-Commit": COMMIT, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        return body

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch, hub):
    """Let the hub hold a folder as maker/model."""
    servers = []

    def act(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder))
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

    yield act
    for server in servers:
        server.shutdown()
        server.server_close()


def told(call, error):
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_told():
    said = told(lambda: load_diffusers(model="./nowhere"), ConfigError)
    assert said == (
        "generator.model: expected a folder of save_pretrained, or ORGANISATION/REPOSITORY, got 'nowhere', "
        "which is not there"
    )


def test_a_folder_without_an_index_is_told(tmp_path):
    said = told(lambda: load_diffusers(model=str(tmp_path)), ConfigError)
    assert said.startswith("generator.model: expected a folder with model_index.json (a pipeline) or config")


@pytest.mark.parametrize("name", ["KandinskyPipeline", ["my_pipeline", "Mine"], None])
def test_a_pipeline_that_is_not_supported_is_told_with_those_that_are(copied, name):
    folder = copied("ddim")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
    said = told(lambda: load_diffusers(model=str(folder)), ConfigError)
    assert f"holds a {name}, which is not supported; supported: AutoencoderKL, ConsistencyModelPip" in said
    assert "StableDiffusionXLPipeline" in said


def test_an_own_scheduler_that_is_not_supported_is_told_with_others(copied, pipelines):
    folder = copied("ddpm")
    shutil.rmtree(folder / "scheduler")
    pipelines.diffusers.RePaintScheduler().save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "RePaintScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    said = told(lambda: load_diffusers(model=str(folder)), ConfigError)
    assert "own, RePaintScheduler, is not supported; take one of consistency, ddim" in said


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "unet" / "diffusion_pytorch_model.safetensors"),
        lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
        lambda folder: (folder / "unet" / "config.json").write_text("{"),
        lambda folder: shutil.rmtree(folder / "scheduler"),
        lambda folder: widen(folder / "unet" / "config.json"),
    ],
)
def test_a_damaged_pipeline_is_one_sentence(copied, damage):
    folder = copied("ddim")
    damage(folder)
    said = told(lambda: load_diffusers(model=str(folder)), CorruptFileError)
    assert said.startswith(f"{folder}: cannot be read as a DDIMPipeline: ")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def widen(path):
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "block_out_channels": [8, 32]}))


def test_a_decoder_is_found_within_a_pipeline(pipeline_folder, pipelines):
    source = source_of({"model": str(pipeline_folder("stable-diffusion")), "subfolder": "vae", "steps": 3})
    assert class_of(source.folder()) == "AutoencoderKL"
    loaded = load(source, None)
    assert isinstance(loaded, pipelines.diffusers.AutoencoderKL)


def test_a_repository_that_is_not_here_is_told_with_the_command_that_fetches_it(hub):
    said = told(lambda: load_diffusers(model="maker/model", revision="v1"), MissingModelError)
    assert said == (
        "generator.model: maker/model, revision v1 is not on this machine; run qdgs fetch CONFIG where there "
        "is a network, or name a folder that holds it"
    )
    source = Source("maker/model", revision="v1", variant="fp16")
    assert source.missing() == "maker/model, revision v1, variant fp16 from the Hugging Face Hub"
    said = told(source.fetch, MissingModelError)
    assert "variant fp16 is not on this machine and HF_HUB_OFFLINE is set; run `qdgs fetch CONFIG`" in said


def test_a_repository_of_the_cache_is_read_without_a_network(hub, pipeline_folder):
    folder = cached(hub, pipeline_folder("ddim"))
    source = Source("maker/model")
    assert source.folder() == folder
    assert source.missing() is None
    source.fetch()
    assert load_diffusers(model="maker/model", steps=2).latent_dim == 768
    assert (
        Source("maker/model", revision="v2").missing() == "maker/model, revision v2 from the Hugging Face Hub"
    )


def test_a_repository_that_was_fetched_in_part_is_missing(hub, pipeline_folder):
    folder = cached(hub, pipeline_folder("ddim"))
    assert Source("maker/model", variant="fp16").missing() is not None
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert Source("maker/model").missing() is not None


@pytest.mark.parametrize("kind", ["ddim", "decoder"])
def test_a_repository_is_fetched_once_and_equals_its_folder(serve, hub, pipeline_folder, kind):
    serve(pipeline_folder(kind))
    source = Source("maker/model")
    assert source.missing() == "maker/model from the Hugging Face Hub"
    source.fetch()
    assert source.missing() is None
    there, here = (load_diffusers(model=name) for name in ("maker/model", str(pipeline_folder(kind))))
    assert identity(there) == identity(here)


def test_a_repository_that_does_not_exist_is_told(serve, pipeline_folder):
    serve(pipeline_folder("ddim"))
    said = told(Source("maker/other").fetch, MissingModelError)
    assert said.startswith("generator.model: maker/other could not be downloaded: ")


def test_what_is_to_be_fetched_elsewhere_comes_as_commands():
    (command,) = Source("maker/model", revision="v1", variant="fp16").commands()
    assert command == (
        "python -c \"from diffusers import DiffusionPipeline; DiffusionPipeline.download('maker/model', "
        "revision='v1', variant='fp16', safety_checker=None)\""
    )
    compile(command.removeprefix('python -c "').removesuffix('"'), "command", "exec")
    (command,) = Source("maker/model", subfolder="vae").commands()
    assert command == (
        "hf download maker/model --include vae/config.json vae/diffusion_pytorch_model.safetensors"
    )


def test_options_that_do_not_hold_are_told_before_anything_is_fetched():
    said = told(lambda: source_of({"model": "maker/model", "stpes": 3}), ConfigError)
    assert said.startswith("generator.stpes: unknown key; did you mean 'steps'? known: ")


def test_a_flat_repository_is_read_as_early_ones_are(hub, pipeline_folder):
    folder = cached(hub, pipeline_folder("ddpm"))
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    assert Source("maker/model").missing() is None
    assert load_diffusers(model="maker/model", steps=2).latent_dim == 768


def test_prompts_need_an_optional_package(pipeline_folder, monkeypatch):
    folder = pipeline_folder("stable-diffusion")
    assert lacking() is None
    monkeypatch.setattr(diffusers_files, "has_transformers", lambda: False)
    said = told(lambda: load_diffusers(model=str(folder), prompt="x"), MissingPackageError)
    assert said.endswith(
        "a StableDiffusionPipeline needs an optional package: pip install 'qdgs[transformers]'"
    )


def test_nothing_is_written_to_the_terminal_while_a_pipeline_is_read(pipeline_folder, capfd):
    for kind, options in (("ddim", {}), ("stable-diffusion", {"prompt": "a"})):
        folder = str(pipeline_folder(kind))
        capfd.readouterr()
        load_diffusers(model=folder, **options)
        assert capfd.readouterr() == ("", "")
