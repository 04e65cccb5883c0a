import socket
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from qdgs import cluster
from qdgs.cluster import connected, each
from qdgs.errors import InputError, MissingPackageError, QdgsError
from qdgs.workers_config import WorkersConfig


def workers(**keys):
    return WorkersConfig(kind="ray", **keys)


@pytest.fixture
def silent():
    """The address of something that listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web():
    """The address of a web server."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"^workers.kind: .* pip install 'qdgs\[ray\]'$"):
        connected(workers()).__enter__()


def test_an_address_that_does_not_answer_is_one_sentence_and_soon(silent, web, monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    for address in (silent, web, "127.0.0.1:1", "no-such-host.invalid:6379"):
        begun = time.monotonic()
        with pytest.raises(InputError, match=f"^workers.address: .* got no answer from {address}$"):
            connected(workers(address=address)).__enter__()
        assert time.monotonic() - begun < 10


def test_an_address_of_the_environment_that_is_none_is_one_sentence(monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:port")
    with pytest.raises(InputError, match=r"^workers.address: .* got no answer from 127.0.0.1:port$"):
        connected(workers(address="auto")).__enter__()


def test_a_head_that_died_is_one_sentence_and_soon(monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"^workers.address: .* got no answer from 127.0.0.1:1$"):
        connected(workers(address="auto")).__enter__()
    assert time.monotonic() - begun < 10


def test_more_than_there_is_is_refused(ray_here):
    with pytest.raises(InputError, match=r"^workers.gpus_per_worker: .* got 2 workers × 3 = 6$"):
        connected(workers(count=2, gpus_per_worker=3)).__enter__()
    with pytest.raises(InputError, match=r"^workers.threads: .* the 2 CPUs .* got 3 workers × 1 = 3$"):
        connected(workers(count=3)).__enter__()


def test_tasks_are_done_once_each_and_begun_again_where_their_process_dies(ray_here, tmp_path):
    def work(number):
        import os
        import signal

        dead = tmp_path / f"dead-{number}"
        if number == 2 and not dead.exists():
            dead.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 3:
            raise QdgsError("three: is no good")
        return number * number

    outcomes = {
        outcome.task: outcome for outcome in each(ray_here, workers(count=2), work, [(n,) for n in range(5)])
    }
    assert {task: outcome.value for task, outcome in outcomes.items()} == {0: 0, 1: 1, 2: 4, 3: None, 4: 16}
    assert str(outcomes[3].error) == "three: is no good"
    assert isinstance(outcomes[3].error, QdgsError)
    assert [outcome.error for task, outcome in outcomes.items() if task != 3] == [None] * 4
