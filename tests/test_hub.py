import threading
import time
from pathlib import Path

import pytest

from qdgs import hub
from qdgs.errors import MissingModelError
from qdgs.hub import HubFile, missing, told

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def repository(tmp_path, hub_of):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"old")
    hub_of({"org/tiny": folder})
    return folder


def test_the_first_name_that_the_repository_has_is_fetched(repository):
    file = HubFile("org/tiny", ("weights.safetensors", "weights.bin"))
    assert file.cached() is None
    assert not file.settled
    path = file.fetch()
    assert path is not None
    assert path.read_bytes() == b"old"
    assert file.cached() == path
    assert file.settled


def test_an_optional_file_that_does_not_exist_is_asked_for_once(repository, monkeypatch):
    file = HubFile("org/tiny", ("extras.json",), optional=True)
    assert not file.settled
    assert file.fetch() is None
    assert file.settled
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert file.fetch() is None


def test_what_is_missing_is_told_once_and_without_optional_files(repository):
    weights, extras = HubFile("org/tiny", ("weights.bin",)), HubFile("org/tiny", ("x.json",), optional=True)
    assert missing([weights, weights, extras]) == [weights, extras]
    assert told([weights, extras]) == "org/tiny/weights.bin"
    weights.fetch()
    assert missing([weights]) == []


def test_the_sentence_names_file_reason_and_the_way_from_another_machine(repository, tmp_path):
    with pytest.raises(MissingModelError) as error:
        HubFile("org/tiny", ("none.bin",), place="judges.auditor.clip").fetch()
    assert str(error.value) == (
        "judges.auditor.clip: org/tiny/none.bin is not on this machine and the repository has no such file; "
        "run `qdgs fetch CONFIG` on a machine that has a network and copy models--org--tiny from its hub "
        f"cache into {tmp_path / 'hub'}, or name a model that is here (qdgs list)"
    )


def test_a_name_server_that_never_answers_does_not_hang(monkeypatch):
    over = threading.Event()

    def never_found(*_, **__):
        over.wait(120)
        raise OSError("no such name")

    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr("urllib.request.urlopen", never_found)
    start = time.monotonic()
    with pytest.raises(MissingModelError, match="cannot be reached"):
        HubFile("org/tiny", ("weights.bin",)).fetch()
    over.set()
    assert time.monotonic() - start < 60


def test_a_copied_cache_is_all_that_another_machine_needs(repository, tmp_path, monkeypatch):
    file = HubFile("org/tiny", ("weights.bin",))
    file.fetch()
    Path(tmp_path / "hub").rename(tmp_path / "elsewhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingModelError, match="HF_HUB_OFFLINE is set"):
        file.fetch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert file.fetch() is not None
