import copy

import pytest
import yaml

import qdgs
from qdgs.checking import check_config, check_file, fetch_config, load_any
from qdgs.compare_config import CompareConfig
from qdgs.config import RunConfig
from qdgs.errors import ConfigError, InputError
from qdgs.recognition_config import RecognitionConfig

LACKING = {"name": "diffusers", "model": "nobody/nothing"}
WANTED = "nobody/nothing from the Hugging Face Hub"


@pytest.fixture
def data(tiny_config):
    return copy.deepcopy(yaml.safe_load(tiny_config.read_text()))


@pytest.fixture
def written(tmp_path):
    def act(data):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return act


def comparison(data):
    return {"kind": "compare", "run": data, "methods": ["random", "rejection"], "seeds": 2}


def recognition(**samples):
    drawn = {"generator": "patches", "identities": 4, "images": 2, **samples}
    return {"kind": "recognition", "data": {"samples": drawn}}


def test_every_kind_is_read_as_what_it_is(data, written):
    assert isinstance(load_any(written(data)), RunConfig)
    assert isinstance(load_any(written(comparison(data))), CompareConfig)
    assert isinstance(load_any(written(recognition())), RecognitionConfig)
    with pytest.raises(ConfigError, match=r"^kind: "):
        load_any(written({**data, "kind": "rn"}))


def test_what_every_kind_needs_is_told_and_asked_for(data, written, empty_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    run = {**data, "generator": LACKING}
    for kind in (run, comparison(run), recognition(generator=LACKING)):
        path = written(kind)
        assert check_file(path)[0] == f"valid; would fetch {WANTED}"
        with pytest.raises(InputError, match=r"^generator\.model: nobody/nothing is not on this machine and"):
            fetch_config(load_any(path))


def test_what_is_here_needs_nothing(data, written):
    for kind in (data, comparison(data), recognition()):
        assert check_file(written(kind))[0] == "valid; nothing to fetch"
        assert fetch_config(load_any(written(kind))) == "nothing to fetch"
    assert check_file(written(comparison(data)))[-1] == "4 cells"


def test_what_a_recogniser_lacks_is_told(tmp_path, tiny_config):
    data = {"kind": "recognition", "data": {"folder": str(tmp_path / "none")}, "pretrained": "no-run"}
    first, second, third = check_config(qdgs.load_recognition(_written(tmp_path, data)))
    assert first == "valid; nothing to fetch"
    assert second == f"cannot run yet: data.folder: expected a folder, got none at {tmp_path / 'none'}"
    assert third == "cannot run yet: pretrained: expected the run of a recogniser, got none at no-run"


def _written(folder, data):
    path = folder / "recognition.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_package_that_is_not_installed_keeps_a_configuration_valid(data, written, monkeypatch):
    def lacking():
        raise qdgs.errors.MissingPackageError("generator.name: mine needs pip install mine")

    monkeypatch.setitem(qdgs.GENERATORS, "mine", lacking)
    assert check_file(written({**data, "generator": "mine"})) == [
        "valid; nothing to fetch",
        "cannot run yet: generator.name: mine needs pip install mine",
    ]


def test_words_that_the_guide_never_saw_are_told(data, written):
    data["guide"]["objective"]["positive"] = "a purple shape"
    first, second = check_file(written(data))
    assert first == "valid; nothing to fetch"
    assert second.startswith("warning: ")
    assert "never saw these words of the prompts: purple" in second


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("image_size", 64, "guide: expected one for the generator's images of 32 pixels, got mine for im"),
        ("score", lambda images: images.mean(), "guide (mine): expected objective (batch_size,) = (2,) and"),
        ("score", lambda images: 1 / 0, "guide (mine): fails on images (2, 3, 32, 32): ZeroDivisionError: "),
    ],
)
def test_a_guide_that_does_not_fit_is_told_before_a_run(
    data, written, brought, monkeypatch, attribute, value, said
):
    guide = brought.Warmth()
    setattr(guide, attribute, value)
    monkeypatch.setitem(qdgs.GUIDES, "mine", guide)
    data["guide"] = {"name": "mine", "measures": [{"name": "warmth"}, {"name": "detail"}]}
    group = {"cut": 0.0, "low": "red", "high": "blue", "audit": "color"}
    data["dataset"] |= {"label": "warmth", "groups": {"warmth": group}}
    path = written(data)
    with pytest.raises(ConfigError) as error:
        check_file(path)
    assert str(error.value).startswith(said)
    with pytest.raises(ConfigError) as error:
        qdgs.Run.create(path, path.parent / "RUN").do("search")
    assert str(error.value).startswith(said)
    assert not (path.parent / "RUN/search").exists()
