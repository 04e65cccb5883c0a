"""Who races: the published loop, plain pyribs, qdgs, and generator and guide alone.

Each advances for some seconds, and knows what it has evaluated in how much of its own time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from ribs.archives import GridArchive
from ribs.emitters import EvolutionStrategyEmitter, GradientArborescenceEmitter
from ribs.schedulers import Scheduler

from qdgs.randomness import Stream, integer_seed, stream
from qdgs.search.evaluation import Evaluator
from qdgs.search.loop import illuminate
from qdgs.search.ranges import Calibration
from qdgs.search.state import Search
from qdgs.side_by_side import side_by_side
from speed_task import ENGINES, LAYOUTS, Task

Floats = NDArray[np.float32]
SNAPSHOT_SECONDS = 0.25


@dataclass(frozen=True)
class Snapshot:
    """An archive at a moment.

    Attributes:
        seconds: Of the contestant's own time.
        evaluations: Until then.
        solutions: `(n, latent_dim)`.
        objective: `(n,)`, scaled as qdgs scales it.
        measures: `(n, measure_dim)`.
    """

    seconds: float
    evaluations: int
    solutions: Floats
    objective: Floats
    measures: Floats


@dataclass
class Contestant(ABC):
    """Advances in slices of time.

    Attributes:
        task: What is evaluated.
        seconds: Spent so far.
        evaluations: Done so far.
        rates: Evaluations a second, one a slice.
        snapshots: Of the archive, in the order of time; the last alone where `keeps_all` is False.
    """

    keeps_all: ClassVar[bool] = True

    task: Task
    seconds: float = 0.0
    evaluations: int = 0
    rates: list[float] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    @abstractmethod
    def step(self) -> int:
        """One iteration; how many latents it evaluated."""

    def snapshot(self) -> Snapshot | None:
        """The archive as it is; None where there is none."""
        return None

    def advance(self, seconds: float) -> None:
        """Step until the seconds are over, at least once. Snapshots are not on the contestant's time."""
        spent, done = 0.0, 0
        while spent < seconds or not done:
            begun = self.task.clock()
            done += self.step()
            self.task.wait()
            taken = self.task.clock() - begun
            spent, self.seconds = spent + taken, self.seconds + taken
            self._look()
        self.evaluations += done
        self.rates.append(done / spent)

    def _look(self) -> None:
        due = not self.snapshots or self.seconds - self.snapshots[-1].seconds >= SNAPSHOT_SECONDS
        if due and (snapshot := self.snapshot()) is not None:
            self.snapshots = [*(self.snapshots if self.keeps_all else ()), snapshot]


@dataclass
class Raw(Contestant):
    """Generator and guide alone, without gradients, at one batch size and layout."""

    batch: int = 64
    layout: str = LAYOUTS[0]

    def __post_init__(self) -> None:
        self.points = self.task.latents(self.batch)

    def step(self) -> int:
        """One iteration."""
        with torch.no_grad():
            self.task.scorer(self.layout)(self.points)
        return self.batch


@dataclass
class RawGradient(Raw):
    """One forward pass of a batch, and a backward pass for the objective and for each measure."""

    def step(self) -> int:
        """One iteration."""
        points = self.points.clone().requires_grad_()
        objective, measures = self.task.scorer(self.layout)(points)
        scorer = self.task.scorer(self.layout)
        through = side_by_side if self.layout == ENGINES and scorer.thread_safe else map

        def backward(total: torch.Tensor) -> Any:
            return torch.autograd.grad(total, points, retain_graph=True)

        list(through(backward, [objective.sum(), *measures.sum(dim=0)]))
        return self.batch


@dataclass
class Jacobians(Contestant):
    """Scores and Jacobians of as many points as there are emitters, as qdgs differentiates them."""

    def __post_init__(self) -> None:
        search, generator = self.task.config.search, self.task.engine.generator
        self.points = self.task.latents(search.emitters).cpu().numpy()
        self.evaluator = Evaluator(
            self.task.engine,
            latent_dim=generator.latent_dim,
            measure_dim=self.task.measure_dim,
            micro_batch=64,
            device=self.task.device,
        )

    def step(self) -> int:
        """One iteration."""
        self.evaluator.jacobians(self.points)
        return len(self.points)


@dataclass
class WithArchive(Contestant):
    """A search over pyribs' archives alone, over ranges that qdgs found and gives away for nothing."""

    keeps_all: ClassVar[bool] = False

    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        assert self.calibration is not None, "ranges come from qdgs"
        self.scale = self.calibration.scale
        self.begin(self.calibration)

    @abstractmethod
    def begin(self, calibration: Calibration) -> None:
        """Make archives, emitters and scheduler."""

    def archive(self, calibration: Calibration, **options: Any) -> Any:
        """A grid of the task."""
        return GridArchive(
            solution_dim=self.task.generator.latent_dim,
            dims=[measure.cells for measure in self.task.config.guide.measures],
            ranges=list(calibration.ranges),
            **options,
        )

    def scores(self, latents: Any) -> tuple[Any, Any]:
        """Raw objective and measures of latents, in one forward pass."""
        points = torch.as_tensor(np.asarray(latents, np.float32), device=self.task.device)
        with torch.no_grad():
            objective, measures = self.task.plain(points)
        return objective.cpu().numpy(), measures.cpu().numpy()

    def scaled(self, objective: Any) -> Any:
        """The objective as qdgs scales it."""
        return objective if self.scale is None else self.scale(torch.as_tensor(objective)).numpy()

    def snapshot(self) -> Snapshot:
        """The elites so far."""
        elites = self.results.data()
        return Snapshot(
            self.seconds,
            self.evaluations,
            elites["solution"].astype(np.float32),
            np.asarray(self.as_scaled(elites["objective"]), np.float32),
            elites["measures"].astype(np.float32),
        )

    @property
    @abstractmethod
    def results(self) -> Any:
        """The elitist archive."""

    def as_scaled(self, objective: Any) -> Any:
        """Objectives of the archive on qdgs' scale."""
        return objective


@dataclass
class Published(WithArchive):
    """The loop that was published, stated again: CMA-MAEGA with one emitter.

    An iteration evaluates one point and its three branches. The point takes a forward and a backward pass at
    batch size 1 for the objective, and one more for each measure; the branches one forward pass. It starts
    from the best of 512 random latents; α = 0.02 and a threshold of 0 for the raw objective.

    References:
        Chang et al. 2024, arXiv 2312.14369, and its released code (settings alone).
    """

    branches: int = 3
    starts: int = 512
    seed: int = 0

    def begin(self, calibration: Calibration) -> None:
        """Archives, emitters, scheduler."""
        self._annealed = self.archive(calibration, learning_rate=0.02, threshold_min=0.0)
        self._elitist = self.archive(calibration)
        self._scheduler: Any = None

    def step(self) -> int:
        """One iteration."""
        if self._scheduler is None:
            return self._start()
        points = self._scheduler.ask_dqd()
        objective, measures, jacobian = self._differentiate(points)
        self._scheduler.tell_dqd(objective, measures, jacobian)
        self._scheduler.tell(*self.scores(self._scheduler.ask()))
        return 1 + self.branches

    @property
    def results(self) -> Any:
        """The elitist archive."""
        return self._elitist

    def as_scaled(self, objective: Any) -> Any:
        """Objectives of the archive on qdgs' scale."""
        return self.scaled(objective)

    def _start(self) -> int:
        latents = self.task.generator.sample_latents(
            self.starts, stream(self.seed, Stream.PRIOR, 901)
        ).numpy()
        scores = [self.scores(part) for part in np.array_split(latents, 8)]
        objective, measures = (np.concatenate(column) for column in zip(*scores, strict=True))
        best = objective.argmax()
        for archive in (self._annealed, self._elitist):
            archive.add(latents[[best]], objective[[best]], measures[[best]])
        emitter = GradientArborescenceEmitter(
            self._annealed,
            x0=latents[best],
            sigma0=0.5,
            lr=0.5,
            ranker="imp",
            restart_rule="basic",
            selection_rule="mu",
            batch_size=self.branches,
            seed=integer_seed(self.seed, Stream.EMITTER, 901),
        )
        self._scheduler = Scheduler(self._annealed, [emitter], self._elitist)
        return self.starts

    def _differentiate(self, points: Any) -> tuple[Any, Any, Any]:
        """One point at a time, one value at a time."""
        values, gradients = [], []
        for index in range(1 + self.task.measure_dim):
            latent = torch.as_tensor(np.asarray(points, np.float32), device=self.task.device).requires_grad_()
            objective, measures = self.task.plain(latent)
            value = objective[0] if index == 0 else measures[0, index - 1]
            value.backward()
            values.append(float(value.detach()))
            gradients.append(latent.grad.cpu().numpy()[0])
        return np.array(values[:1]), np.array([values[1:]]), np.array([gradients])


@dataclass
class Plain(WithArchive):
    """CMA-MAE as pyribs' tutorials write it, at the emitters and batch size of qdgs: ask, evaluate, tell.

    It gets the ranges and the objective's scale of qdgs; starts, restarts and selection are pyribs' own.
    """

    seed: int = 0

    def begin(self, calibration: Calibration) -> None:
        """Archives, emitters, scheduler."""
        search = self.task.config.search
        self._annealed = self.archive(calibration, learning_rate=0.01, threshold_min=0.0)
        self._elitist = self.archive(calibration)
        emitters = [
            EvolutionStrategyEmitter(
                self._annealed,
                x0=np.zeros(self.task.generator.latent_dim),
                sigma0=0.5,
                ranker="imp",
                selection_rule="mu",
                restart_rule="basic",
                batch_size=search.batch_size,
                seed=integer_seed(self.seed, Stream.EMITTER, 902 + index),
            )
            for index in range(search.emitters)
        ]
        self._scheduler = Scheduler(self._annealed, emitters, self._elitist)

    def step(self) -> int:
        """One iteration."""
        solutions = self._scheduler.ask()
        objective, measures = self.scores(solutions)
        self._scheduler.tell(self.scaled(objective), measures)
        return len(solutions)

    @property
    def results(self) -> Any:
        """The elitist archive."""
        return self._elitist


@dataclass
class Engine(Contestant):
    """qdgs: range finding and starts are on its own time."""

    algorithm: str = "cma_mae"
    seed: int = 0
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.search: Search | None = None

    def step(self) -> int:
        """One iteration."""
        if self.search is None:
            self.search = self._begin()
            self._loop = illuminate(self.search, 10**9)
            return self.search.evaluations
        before = self.search.evaluations
        next(self._loop)
        return self.search.evaluations - before

    def _begin(self) -> Search:
        config, generator = self.task.config, self.task.engine.generator
        update = {"algorithm": self.algorithm, **self.overrides}
        return Search.begin(
            config.search.model_copy(update=update),
            config.guide.measures,
            self.task.engine,
            latent_dim=generator.latent_dim,
            differentiable=generator.differentiable,
            sample_prior=generator.sample_latents,
            seed=self.seed,
            device=self.task.device,
        )

    def snapshot(self) -> Snapshot:
        """The elites so far."""
        assert self.search is not None, "a step comes first"
        elites = self.search.archive.data(["solution", "objective", "measures"])
        return Snapshot(
            self.seconds,
            self.search.evaluations,
            elites["solution"].astype(np.float32),
            elites["objective"].astype(np.float32),
            elites["measures"].astype(np.float32),
        )
