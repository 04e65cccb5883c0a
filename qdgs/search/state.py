"""Everything that a search is between two iterations: what a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.errors import InputError
from qdgs.randomness import Stream, stream
from qdgs.search.algorithms import build_archives, build_scheduler
from qdgs.search.evaluation import Evaluation, Evaluator
from qdgs.search.frames import solutions_frame
from qdgs.search.lineages import Lineages, Prior
from qdgs.search.mixes import active_emitters, move_scheduler
from qdgs.search.ranges import Calibration, SamplePrior, Samples, calibrate, draw_samples, needs_samples
from qdgs.search.refits import add_again, refits_due, refitted
from qdgs.search.reservoir import Reservoir
from qdgs.search.screening import Screen, Surrogate
from qdgs.search.settings import GRADIENT_ALGORITHMS, iteration_cost, settle
from qdgs.search.threads import one_blas_thread
from qdgs.search.workers import Floats, Score, Workers


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        evaluations: Latents scored, range finding and starts included.
        seconds: Time spent searching; what a caller does between iterations is not counted.
        qd_score: Sum of the elites' objectives.
        norm_qd_score: The same by the number of cells.
        coverage: Share of cells with an elite.
        objective_max: Largest objective of an elite; NaN while there is none.
        objective_mean: Mean objective of the elites.
        clipped_fraction: Share of the solutions offered to the archive that lay outside a measure's range,
            and were counted in an edge cell.
        equivalents: Cost in forward passes (`Counts`).
        lineages: Number of different families among the elites.
    """

    evaluations: int
    seconds: float
    qd_score: float
    norm_qd_score: float
    coverage: float
    objective_max: float
    objective_mean: float
    clipped_fraction: float
    equivalents: float
    lineages: int

    def row(self) -> dict[str, float]:
        """One row of metrics.csv."""
        return asdict(self)


class Search:
    """A search between two iterations: archives, emitters, reservoir, counters, random numbers.

    Made by `begin` (or `create`, for a caller that calibrates by itself), driven by `illuminate`, saved and
    loaded by `checkpoint`.

    Attributes:
        config: The settled configuration.
        measures: Names, cells and ranges.
        seed: The seed of the run.
        calibration: What random samples settled.
        evaluator: Scores latents.
        scheduler: pyribs' scheduler.
        reservoir: Good solutions beside the elites.
        seconds: Time spent searching.
    """

    def __init__(
        self,
        config: SearchConfig,
        measures: Sequence[MeasureConfig],
        seed: int,
        calibration: Calibration,
        evaluator: Evaluator,
        prior: Prior,
    ) -> None:
        self.config = config
        self.measures = tuple(measures)
        self.seed = seed
        self.calibration = calibration
        self.evaluator = evaluator
        self.seconds = 0.0
        self.scheduler: Any = None
        self._prior = prior
        self._latent_dim = evaluator.latent_dim
        self._counts = evaluator.counts
        self._offered, self._clipped = 0, 0
        self._asked: Floats | None = None
        archive, result_archive = build_archives(config, measures, calibration, self._latent_dim, seed)
        self._archives = (archive, archive if result_archive is None else result_archive)
        self.reservoir = Reservoir(self.cells, config.reservoir, self._latent_dim, len(measures))
        self.screen: Screen | None = None
        if config.screen > 1:
            rng = stream(seed, Stream.SCHEDULER, _SURROGATE)
            self.screen = Screen(archive, config.screen, Surrogate(self._latent_dim, 1 + len(measures), rng))
        self._refits = 0

    @classmethod
    def begin(
        cls,
        config: SearchConfig,
        measures: Sequence[MeasureConfig],
        score: Score,
        *,
        latent_dim: int,
        differentiable: bool,
        sample_prior: SamplePrior,
        seed: int,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> Search:
        """Settle, draw random samples, calibrate on them, and start the search from them.

        Args:
            config: As the user wrote it, or settled.
            measures: Names, cells and ranges.
            score: The function of latents that is searched.
            latent_dim: Length of a latent.
            differentiable: Whether the score has gradients.
            sample_prior: Draws latents from the generator's prior.
            seed: The seed of the run.
            device: Where the score wants its latents.
            workers: Who scores; by default this process.

        Raises:
            InputError: The configuration cannot be searched with, or the budget does not hold one iteration.
        """
        started = time.perf_counter()
        config = settle(config, latent_dim, differentiable, device=torch.device(device).type)
        _check_budget(config, measures)
        evaluator = Evaluator(
            score,
            latent_dim=latent_dim,
            measure_dim=len(measures),
            micro_batch=config.micro_batch,
            device=device,
            workers=workers,
        )
        samples = None
        if needs_samples(config, measures):
            samples = draw_samples(evaluator, sample_prior, config.range_samples, stream(seed, Stream.RANGES))
        search = cls.create(
            config,
            measures,
            evaluator=evaluator,
            sample_prior=sample_prior,
            seed=seed,
            calibration=calibrate(config, measures, samples),
            samples=samples,
        )
        search.seconds = time.perf_counter() - started
        return search

    @classmethod
    def create(
        cls,
        config: SearchConfig,
        measures: Sequence[MeasureConfig],
        *,
        evaluator: Evaluator,
        sample_prior: SamplePrior,
        seed: int,
        calibration: Calibration,
        samples: Samples | None = None,
    ) -> Search:
        """Start a search whose calibration is known.

        Args:
            config: A settled configuration.
            measures: Names, cells and ranges.
            evaluator: Scores latents; its counts go on.
            sample_prior: Draws latents from the generator's prior.
            seed: The seed of the run.
            calibration: What random samples settled.
            samples: Random samples that are scored already: the first starts, at no further cost.
        """
        prior = Prior(sample_prior, stream(seed, Stream.PRIOR))
        search = cls(config, measures, seed, calibration, evaluator.scaled(calibration.scale), prior)
        search._start(samples)
        archive, result_archive = search._archives
        search.scheduler = build_scheduler(
            config, archive, None if result_archive is archive else result_archive, prior, seed, search.screen
        )
        return search

    @property
    def archive(self) -> Any:
        """The elitist archive of results."""
        return self._archives[1]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.archive.cells)

    @property
    def evaluations(self) -> int:
        """Latents scored so far."""
        return self._counts.evaluations

    @property
    def uses_gradients(self) -> bool:
        """Whether an iteration begins with the Jacobians of the emitters' points."""
        return self.config.algorithm in GRADIENT_ALGORITHMS

    @property
    def between_iterations(self) -> bool:
        """False from the first ask of an iteration to its last tell: then there is nothing whole to save."""
        return self._asked is None

    def affords(self, evaluations: int, seconds: float | None) -> bool:
        """Whether one more iteration fits into the budget of evaluations, and time is left."""
        within = self.evaluations + iteration_cost(self.config) <= evaluations
        return within and (seconds is None or self.seconds < seconds)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Count the time inside as spent searching."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def ask_dqd(self) -> Floats:
        """Points `(emitters, latent_dim)` whose Jacobians the emitters need."""
        return self._ask(self.scheduler.ask_dqd)

    def tell_dqd(self, evaluation: Evaluation) -> None:
        """Scores and Jacobians of the points of `ask_dqd`, in their order."""
        assert evaluation.jacobian is not None, "tell_dqd() needs what jacobians() gives"
        jacobian = evaluation.jacobian.astype(np.float64)  # a copy: pyribs normalises it in place
        sizes = [getattr(emitter, "batch_size_dqd", 0) for emitter in active_emitters(self.scheduler)]
        self._tell(self.scheduler.tell_dqd, sizes, evaluation, jacobian=jacobian)

    def ask(self) -> Floats:
        """Solutions `(emitters · batch_size, latent_dim)` to score."""
        return self._ask(self.scheduler.ask)

    def tell(self, evaluation: Evaluation) -> None:
        """Scores of the solutions of `ask`, in their order."""
        sizes = [emitter.batch_size for emitter in active_emitters(self.scheduler)]
        self._tell(self.scheduler.tell, sizes, evaluation)
        self._refit()
        self._asked = None

    def progress(self) -> Progress:
        """How far the search is."""
        stats = self.archive.stats
        return Progress(
            evaluations=self.evaluations,
            seconds=self.seconds,
            qd_score=float(stats.qd_score),
            norm_qd_score=float(stats.norm_qd_score),
            coverage=float(stats.coverage),
            objective_max=_number(stats.obj_max),
            objective_mean=_number(stats.obj_mean),
            clipped_fraction=self._clipped / max(self._offered, 1),
            equivalents=self._counts.equivalents,
            lineages=int(np.count_nonzero(np.bincount(self.archive.data("lineage")))),
        )

    def archive_frame(self) -> pd.DataFrame:
        """One row an elite, sorted by cell: cell, objective, measures by name, lineage, latents."""
        elites = self.archive.data()
        rows = {**elites, "cell": elites["index"], "latents": elites["solution"]}
        order = np.argsort(rows["cell"])
        return solutions_frame(self.measures, {name: values[order] for name, values in rows.items()})

    def reservoir_frame(self) -> pd.DataFrame:
        """One row a solution, sorted by (cell, rank): as `archive_frame`, with rank, 0 the best."""
        return solutions_frame(self.measures, self.reservoir.rows())

    def attach(
        self,
        score: Score,
        sample_prior: SamplePrior,
        device: torch.device | str,
        workers: Workers | None = None,
    ) -> None:
        """Give a search that comes from a checkpoint its functions back."""
        self._prior.attach(sample_prior)
        self.evaluator = Evaluator(
            score,
            latent_dim=self._latent_dim,
            measure_dim=len(self.measures),
            micro_batch=self.config.micro_batch,
            device=device,
            scale=self.calibration.scale,
            counts=self._counts,
            workers=workers,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "evaluator"}

    def _start(self, samples: Samples | None) -> None:
        """Put the starts into the archives: all of them, or as published the best one alone."""
        latents, evaluation = self._starts(samples)
        if self.config.preset == "paper" and len(latents):
            best = [int(evaluation.objective.argmax())]
            latents, evaluation = latents[best], evaluation.rows(best)
        if not len(latents):
            return
        lineage = self._prior.found(len(latents))
        for archive in {id(archive): archive for archive in self._archives}.values():
            archive.add(latents, evaluation.objective, evaluation.measures, lineage=lineage)
        self._keep(latents, evaluation, lineage)
        if self._archives[0].empty:
            raise InputError(
                f"search.threshold_min: expected one that random samples reach, whose best objective here is "
                f"{evaluation.objective.max():g}, got {self.calibration.threshold_min:g}"
            )

    def _starts(self, samples: Samples | None) -> tuple[Floats, Evaluation]:
        """As many starts as configured: of the samples first, and further ones where those are too few."""
        n = self.config.prior_starts
        if samples is None:
            latents = self._prior.sample(n)
            return latents, self.evaluator(latents)
        known = self.evaluator.rescale(samples.raw).rows(slice(n))
        further = self._prior.sample(n - len(known.objective))
        return np.concatenate([samples.latents[:n], further]), known.followed_by(self.evaluator(further))

    def _ask(self, ask: Callable[[], Any]) -> Floats:
        self._asked = np.empty((0, self._latent_dim), np.float32)  # an ask that fails halfway counts as asked
        # pyribs' bandit takes the logarithm of its successes, of which there may be none
        with one_blas_thread(), np.errstate(divide="ignore", invalid="ignore"):
            self._asked = np.asarray(ask(), np.float32)
        return self._asked

    def _tell(self, tell: Any, sizes: Sequence[int], evaluation: Evaluation, **fields: Any) -> None:
        assert self._asked is not None, "tell() comes after ask()"
        views = [emitter.archive for emitter in active_emitters(self.scheduler)]
        lineage = np.concatenate([view.lineages_of(n) for view, n in zip(views, sizes, strict=True)])
        with one_blas_thread():
            tell(evaluation.objective, evaluation.measures, lineage=lineage, **fields)
        self._keep(self._asked, evaluation, lineage)

    def _keep(self, latents: Floats, evaluation: Evaluation, lineage: Lineages) -> None:
        measures = evaluation.measures
        cells = self.archive.index_of(measures).astype(np.int64)
        self.reservoir.add(cells, latents, evaluation.objective, measures, lineage)
        if self.screen is not None:
            values = np.concatenate([evaluation.objective[:, None], measures], axis=1)
            self.screen.surrogate.observe(latents, values)
        low, high = self.archive.lower_bounds, self.archive.upper_bounds
        self._offered += len(latents)
        self._clipped += int(((measures < low) | (measures > high)).any(axis=1).sum())

    def _refit(self) -> None:
        """Find automatic ranges again where that is due, and put everything that is held there."""
        if self._refits == refits_due(self.evaluations, self.config.evaluations, self.config.refit_ranges):
            return
        self._refits += 1
        rows = self.reservoir.rows()
        self.calibration = refitted(self.calibration, self.measures, rows["measures"])
        archive, elitist = build_archives(
            self.config, self.measures, self.calibration, self._latent_dim, self.seed
        )
        archives = [archive] if elitist is None else [archive, elitist]
        add_again(archives, rows)
        self._archives = (archives[0], archives[-1])
        move_scheduler(self.scheduler, archive, elitist)
        if self.screen is not None:
            self.screen.archive = archive
        cells = self.archive.index_of(rows["measures"]).astype(np.int64)
        self.reservoir = self.reservoir.emptied()
        self.reservoir.add(cells, *(rows[name] for name in ("latents", "objective", "measures", "lineage")))


def _check_budget(config: SearchConfig, measures: Sequence[MeasureConfig]) -> None:
    samples = config.range_samples if needs_samples(config, measures) else 0
    starts, iteration = max(samples, config.prior_starts), iteration_cost(config)
    if config.evaluations < starts + iteration:
        raise InputError(
            f"search.evaluations: expected at least {starts + iteration} ({starts} random samples and "
            f"starts, and one iteration of {iteration}), got {config.evaluations}"
        )


_SURROGATE = 5000  # an index of Stream.SCHEDULER


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
