"""Micro-batches scored by actors of Ray, each of which holds the models."""

from __future__ import annotations

import hashlib
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from qdgs.cluster import Parcel, device_of, first_line, raised
from qdgs.errors import QdgsError
from qdgs.memory import MemoryWarning
from qdgs.search.workers import MicroBatch, Score, Scored, Scoring, Task
from qdgs.workers_config import WorkersConfig

AHEAD = 2
"""Micro-batches that a worker is given at a time, so that it need not wait for the next one."""

LOSSES = 3
"""How many workers in a row may be lost without anything scored in between, beside those of a machine that
takes all others with it."""

START_SECONDS = 600.0
"""How long to wait for one more worker to start."""

MakeScore = Callable[[str], Score]
"""Makes the function of latents that is searched, on a device; called once in each worker."""


class WorkersWarning(UserWarning):
    """Something about the workers that the results may feel."""


class Ready(NamedTuple):
    """What a worker says of itself.

    Attributes:
        host: Its machine.
        bits: SHA-256 of what it computed of the first micro-batch.
        sentences: What there is to be said of its memory.
    """

    host: str
    bits: str
    sentences: list[str]


class Actor:
    """Lives in a process of Ray, and holds the models.

    Args:
        parcel: Makes the score.
        device: Where the models work.
    """

    def __init__(self, parcel: Parcel, device: str) -> None:
        self._parcel = parcel
        self._device = device

    def ready(self, task: Task, probe: MicroBatch) -> Ready:
        """Load the models and score a first micro-batch, which also warms everything up."""
        make_score: MakeScore = self._parcel.open()
        self._scoring = Scoring(make_score(self._device), self._device)
        scored, sentences = self.work(task, probe)
        bits = hashlib.sha256(scored.scores.tobytes()).hexdigest()
        return Ready(socket.gethostname(), bits, sentences)

    def work(self, task: Task, batch: MicroBatch) -> tuple[Scored, list[str]]:
        """Score a micro-batch; also what there is to be said of memory."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MemoryWarning)
            scored = self._scoring(task, batch)
        return scored, [str(item.message) for item in caught if issubclass(item.category, MemoryWarning)]


class RayWorkers:
    """Hands micro-batches to actors, takes them back from those that are lost, and keeps their order.

    A worker that is lost, with its process or its machine, is replaced; what it had not answered is scored
    by the others meanwhile. Micro-batches are the same whoever scores them, and so are the scores.

    Args:
        ray: Connected.
        config: How many workers, and what each is given.
        make_score: Makes the score in each worker.
        task: What the workers are tried out with.
        probe: The micro-batch that they are tried out with.

    Raises:
        QdgsError: No worker can be started, or what the score raised.
    """

    def __init__(
        self, ray: Any, config: WorkersConfig, make_score: MakeScore, *, task: Task, probe: MicroBatch
    ) -> None:
        self._ray = ray
        self._config = config
        self._first = (task, probe)
        needs = {"num_cpus": config.threads, "num_gpus": config.gpus_per_worker}
        self._kind = ray.remote(**needs)(Actor)
        self._given = (ray.put(Parcel.of(make_score, config.threads)), device_of(config))
        self._probe = (task, probe)
        self._actors: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._losses = 0
        self._said: set[str] = set()
        self._hosts: dict[str, set[str]] = {}
        try:
            for _ in range(config.count):
                self._start()
            self._wait_for_all()
        except BaseException:
            self.close()
            raise

    def work(self, task: Task, batches: Sequence[MicroBatch]) -> Iterator[Scored]:
        """Score micro-batches.

        Raises:
            QdgsError: Workers are lost again and again, or what the score raised.
        """
        job = _Job(task, batches, deque(range(len(batches))), {}, {})
        for index in range(len(batches)):
            while index not in job.scored:
                self._hand_out(job)
                self._take_back(job)
            yield job.scored.pop(index)

    def close(self) -> None:
        """End the workers."""
        for actor in [*self._actors, *self._starting.values()]:
            self._ray.kill(actor)
        self._actors, self._starting = [], {}

    def _start(self) -> None:
        actor = self._kind.remote(*self._given)
        self._starting[actor.ready.remote(*self._probe)] = actor

    def _wait_for_all(self) -> None:
        """Wait until all workers are there, or for long enough that those that are may begin."""
        while self._starting:
            done, _ = self._ray.wait(list(self._starting), num_returns=1, timeout=START_SECONDS)
            if done:
                self._welcome(done[0])
            elif self._actors:
                return
            else:
                raise _nobody()

    def _welcome(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            ready: Ready = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._count_loss(error)
            self._start()
            return
        self._actors.append(actor)
        self._hosts.setdefault(ready.bits, set()).add(ready.host)
        for sentence in ready.sentences:
            self._say(sentence)
        if len(self._hosts) > 1:
            kinds = " and ".join(", ".join(sorted(hosts)) for hosts in self._hosts.values())
            self._say(
                f"workers: the machines {kinds} score the same latents differently in the last bits, so that "
                "the archive depends on who scored what; take machines of one kind to have it the same again"
            )

    def _hand_out(self, job: _Job) -> None:
        for ahead in range(AHEAD):
            for actor in self._actors:
                if job.waiting and job.load(actor) == ahead:
                    index = job.waiting.popleft()
                    job.running[actor.work.remote(job.task, job.batches[index])] = (actor, index)

    def _take_back(self, job: _Job) -> None:
        patience = None if job.running else START_SECONDS
        done, _ = self._ray.wait([*job.running, *self._starting], num_returns=1, timeout=patience)
        if not done:
            raise _nobody()
        if done[0] in self._starting:
            self._welcome(done[0])
            return
        actor, index = job.running.pop(done[0])
        try:
            scored, sentences = self._ray.get(done[0])
        except self._ray.exceptions.RayError as error:
            self._count_loss(error)
            job.waiting.appendleft(index)
            if isinstance(error, self._ray.exceptions.RayActorError):
                self._replace(actor, job)
            return
        job.scored[index] = scored
        self._losses = 0
        for sentence in sentences:
            self._say(sentence)

    def _replace(self, actor: Any, job: _Job) -> None:
        if actor in self._actors:
            self._actors.remove(actor)
            self._ray.kill(actor)  # where it is only out of reach, it would keep what the next one needs
            job.give_up(actor)
            self._start()

    def _count_loss(self, error: Exception) -> None:
        """Go on where a worker or an answer is lost, up to a point, and not where the score itself failed.

        Raises:
            QdgsError: Too many were lost, or what the score raised.
        """
        if isinstance(error, self._ray.exceptions.RayTaskError):
            raise raised(error)
        self._losses += 1
        if self._losses > LOSSES + self._config.count - 1:
            raise QdgsError(
                f"workers: {self._losses} workers were lost without anything scored in between; Ray says of "
                f"the last one: {first_line(error)}"
            ) from error

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            warnings.warn(sentence, WorkersWarning, stacklevel=2)


def _nobody() -> QdgsError:
    return QdgsError(
        f"workers: no worker has started within {START_SECONDS:g} s; other work may hold what Ray "
        "has: look at ray status, or ask for less"
    )


@dataclass
class _Job:
    """Micro-batches on their way: by index, those that wait, run and are scored."""

    task: Task
    batches: Sequence[MicroBatch]
    waiting: deque[int]
    running: dict[Any, tuple[Any, int]]
    scored: dict[int, Scored]

    def load(self, actor: Any) -> int:
        """How many micro-batches an actor has."""
        return sum(other == actor for other, _ in self.running.values())

    def give_up(self, actor: Any) -> None:
        """Let what an actor has wait for another one."""
        lost = [reference for reference, (other, _) in self.running.items() if other == actor]
        self.waiting.extendleft(sorted((self.running.pop(reference)[1] for reference in lost), reverse=True))
