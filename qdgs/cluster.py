"""Ray, connected to and left again: what everything that runs on several machines has in common."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qdgs.errors import InputError, MissingPackageError, QdgsError
from qdgs.workers_config import OWN, RUNNING, WorkersConfig

ANSWER_SECONDS = 10.0
"""How long an address may take to answer."""

OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory of a Ray of our own: what workers send each other is small."""

TRIES = 3
"""How often a task is begun whose process dies, before it is given up."""

_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody is told that qdgs runs
    "RAY_worker_register_timeout_seconds": "300",  # a busy machine is slow to import torch
    "RAY_prestart_worker_first_driver": "0",  # processes that nobody asked for
}
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4
"""Type of the first frame that a server of HTTP/2 (and so of gRPC, which Ray speaks) sends."""


class Outcome(NamedTuple):
    """What became of one of several tasks.

    Attributes:
        task: Which one.
        value: What it returned; None where it failed.
        error: Why it failed, as it was raised there; None where it did not.
    """

    task: int
    value: Any
    error: Exception | None


@dataclass(frozen=True)
class Parcel:
    """Something for a process of Ray, and what that process needs to find what this one finds.

    Attributes:
        folder: The working directory, for relative paths.
        modules: Folders that modules are imported from.
        environment: Variables of qdgs.
        threads: Threads of a CPU that the process may use.
        content: The thing, and the parts that the user has registered, pickled.
    """

    folder: Path
    modules: tuple[str, ...]
    environment: dict[str, str]
    threads: int
    content: bytes

    @classmethod
    def of(cls, thing: Any, threads: int) -> Parcel:
        """Pack a thing; functions and classes that cannot be imported travel whole."""
        from ray import cloudpickle

        parts = {place: _brought(registry) for place, registry in _registries().items()}
        content = cloudpickle.dumps((parts, thing))
        modules = tuple(path for path in sys.path if path)
        environment = {key: value for key, value in os.environ.items() if key.startswith("QDGS_")}
        return cls(Path.cwd(), modules, environment, threads, content)

    def open(self) -> Any:
        """Make the surroundings those of this process, and unpack the thing.

        Folders that are not on this machine are left out.
        """
        import torch
        from ray import cloudpickle

        torch.set_num_threads(self.threads)
        os.environ.update(self.environment)
        if self.folder.is_dir():
            os.chdir(self.folder)
        sys.path += [path for path in self.modules if path not in sys.path and Path(path).exists()]
        parts, thing = cloudpickle.loads(self.content)
        for place, registry in _registries().items():
            registry.update(parts[place])
        return thing


@contextmanager
def connected(config: WorkersConfig) -> Iterator[Any]:
    """Ray, with what `config` asks for; left again at the end, and stopped where it was started for this.

    Raises:
        MissingPackageError: Ray is not installed.
        InputError: The address does not answer, or there are fewer GPUs or CPUs than asked for.
    """
    ray = _import_ray()
    if ray.is_initialized():  # the caller's own, who leaves it too
        _check_resources(ray, config)
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)
    _connect(ray, config)
    try:
        _check_resources(ray, config)
        yield ray
    finally:
        ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own there


def held(config: WorkersConfig) -> AbstractContextManager[Any]:
    """Ray for several stages, where that is what `config` asks for: each would connect by itself."""
    return connected(config) if config.kind == "ray" else nullcontext()


def each(
    ray: Any, config: WorkersConfig, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[Outcome]:
    """Call a function with the arguments of each task, as many at a time as there are workers.

    Outcomes come as tasks end. A task whose process or machine is lost is begun again elsewhere, so that it
    must be safe to repeat.

    Args:
        ray: Connected.
        config: How many workers, and what each is given.
        function: Called in a process of its own.
        tasks: Arguments of each call.
    """
    needs = {"num_cpus": config.threads, "num_gpus": config.gpus_per_worker, "max_retries": TRIES - 1}
    remote, parcel = ray.remote(**needs)(_call), ray.put(Parcel.of(function, config.threads))
    waiting = list(reversed(range(len(tasks))))
    running: dict[Any, int] = {}
    while waiting or running:
        while waiting and len(running) < config.count:
            index = waiting.pop()
            running[remote.remote(parcel, tasks[index])] = index
        done, _ = ray.wait(list(running), num_returns=1)
        yield _outcome(ray, running.pop(done[0]), done[0])


def device_of(config: WorkersConfig) -> str:
    """Where models work in a worker."""
    return "cuda" if config.gpus_per_worker else "cpu"


def raised(error: Exception) -> Exception:
    """What was raised in a process of Ray, as it was there; what Ray itself has to say in one sentence."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return cause
    return QdgsError(f"workers: {first_line(error)}")


def _call(parcel: Parcel, arguments: tuple[Any, ...]) -> Any:
    return parcel.open()(*arguments)


def _outcome(ray: Any, index: int, reference: Any) -> Outcome:
    try:
        return Outcome(index, ray.get(reference), None)
    except ray.exceptions.RayError as error:
        return Outcome(index, None, raised(error))


def _import_ray() -> Any:
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingPackageError(
            "workers.kind: ray needs an optional package: pip install 'qdgs[ray]'"
        ) from None
    return ray


def _start(ray: Any, cpus: int) -> None:
    """Start a Ray of our own; it gives itself half a minute, which a busy machine may need twice."""
    for attempt in range(TRIES):
        try:
            ray.init(
                "local", num_cpus=cpus, include_dashboard=False, object_store_memory=OBJECT_STORE, **_QUIET
            )
            return
        except (Exception, SystemExit) as error:
            ray.shutdown()
            if attempt == TRIES - 1:
                raise QdgsError(f"workers: Ray cannot be started here: {first_line(error)}") from error


def _connect(ray: Any, config: WorkersConfig) -> None:
    address = os.environ.get("RAY_ADDRESS", RUNNING) if config.address == RUNNING else config.address
    if address == OWN:
        _start(ray, config.count * config.threads)
        return
    known = _noted_address() if address == RUNNING else address
    if known is not None and not _answers(known):
        raise InputError(f"workers.address: expected the head of a Ray cluster, got no answer from {known}")
    try:
        ray.init(address, **_QUIET)
    except (Exception, SystemExit) as error:  # Ray exits where a cluster does not let it in
        ray.shutdown()
        raise InputError(
            f"workers.address: expected the head of a Ray cluster at {address}: {first_line(error)}"
        ) from None


def _noted_address() -> str | None:
    """The head that `ray start` noted on this machine, which may have died since; Ray would wait for it."""
    folder = next((os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "/tmp")
    with suppress(OSError):
        return (Path(folder) / "ray" / "ray_current_cluster").read_text().strip()
    return None


def _answers(address: str) -> bool:
    """Whether an address speaks Ray's protocol; Ray itself takes two minutes to say that it does not."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return False
    place = (host.strip("[]"), int(port))
    until = time.monotonic() + ANSWER_SECONDS
    with suppress(OSError, OverflowError), socket.create_connection(place, ANSWER_SECONDS) as line:
        line.settimeout(max(until - time.monotonic(), 0.1))
        line.sendall(_HTTP2_PREFACE)
        head = line.recv(9)
        return len(head) > 3 and head[3] == _SETTINGS
    return False


def _check_resources(ray: Any, config: WorkersConfig) -> None:
    there = ray.cluster_resources()
    for key, each_needs, name in (
        ("gpus_per_worker", config.gpus_per_worker, "GPU"),
        ("threads", config.threads, "CPU"),
    ):
        wanted, found = config.count * each_needs, there.get(name, 0.0)
        if wanted > found:
            raise InputError(
                f"workers.{key}: expected at most the {found:g} {name}s that Ray has, got {config.count} "
                f"workers × {each_needs:g} = {wanted:g}"
            )


def _registries() -> dict[str, dict[str, Any]]:
    from qdgs.generators.base import GENERATORS
    from qdgs.guides.base import GUIDES
    from qdgs.judges.base import JUDGES

    return {"generators": GENERATORS, "guides": GUIDES, "judges": JUDGES}


def _brought(registry: dict[str, Any]) -> dict[str, Any]:
    """What does not come with qdgs."""
    shipped = {name for name, part in registry.items() if isinstance(part, str) and part.startswith("qdgs.")}
    return {name: part for name, part in registry.items() if name not in shipped}


def first_line(error: BaseException) -> str:
    """The beginning of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
