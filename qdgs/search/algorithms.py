"""The algorithms, put together from pyribs' archives, emitters and scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ribs.archives import CVTArchive, GridArchive, k_means_centroids
from ribs.emitters import (
    EvolutionStrategyEmitter,
    GaussianEmitter,
    GradientArborescenceEmitter,
    IsoLineEmitter,
)
from ribs.emitters.opt import (
    CMAEvolutionStrategy,
    LMMAEvolutionStrategy,
    SeparableCMAEvolutionStrategy,
)
from ribs.schedulers import Scheduler
from threadpoolctl import threadpool_limits

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.search.lineages import ArchiveView, FamilyView, FreshView, Prior, PriorEmitter
from qdgs.search.mixes import mixed_scheduler
from qdgs.search.ranges import Calibration
from qdgs.search.screening import Screen, ScreenedEmitter
from qdgs.search.settings import ANNEALED_ALGORITHMS, GRADIENT_ALGORITHMS, STRATEGY_ALGORITHMS, split_batch

LARGEST_FULL_COVARIANCE = 512
"""Above this dimension the evolution strategy adapts a diagonal covariance: a full one costs cubic time."""

LARGEST_DIAGONAL_COVARIANCE = 2048
"""Above this dimension it adapts a few directions (LM-MA-ES): so many latents are noise over pixels, in which
no single one matters, but directions across many do."""

CVT_SAMPLES_PER_CENTROID = 50

_ARCHIVE_SEEDS, _VIEW_SEEDS = 0, 1000  # index ranges of Stream.SCHEDULER


def build_archives(
    config: SearchConfig,
    measures: Sequence[MeasureConfig],
    calibration: Calibration,
    latent_dim: int,
    seed: int,
) -> tuple[Any, Any | None]:
    """The archive that the emitters see, and where that one is annealed an elitist one beside it, or None.

    Solutions are stored in float32; both archives also hold each elite's lineage.

    Args:
        config: A settled configuration.
        measures: Their cells make the grid.
        calibration: Ranges, thresholds and learning rate.
        latent_dim: Length of a latent.
        seed: The seed of the run.
    """
    shared: dict[str, Any] = {
        "solution_dim": latent_dim,
        "ranges": list(calibration.ranges),
        "solution_dtype": np.float32,
        "objective_dtype": np.float64,
        "measures_dtype": np.float64,
        "extra_fields": {"lineage": ((), np.int32)},
    }
    if config.archive == "cvt":
        kind, shared["centroids"] = CVTArchive, _centroids(config.centroids, calibration.ranges, seed)
    else:
        kind, shared["dims"] = GridArchive, [measure.cells for measure in measures]
    elitist = kind(**shared, seed=integer_seed(seed, Stream.SCHEDULER, _ARCHIVE_SEEDS))
    if config.algorithm not in ANNEALED_ALGORITHMS:
        return elitist, None
    annealed = kind(
        **shared,
        learning_rate=calibration.learning_rate,
        threshold_min=calibration.threshold_min,
        seed=integer_seed(seed, Stream.SCHEDULER, _ARCHIVE_SEEDS + 1),
    )
    return annealed, elitist


def build_scheduler(
    config: SearchConfig,
    archive: Any,
    result_archive: Any | None,
    prior: Prior,
    seed: int,
    screen: Screen | None = None,
) -> Any:
    """Emitters and scheduler over archives that already hold the starts.

    Args:
        config: A settled configuration.
        archive: What the emitters see.
        result_archive: The elitist archive, where the other is annealed.
        prior: Source of fresh samples.
        seed: The seed of the run; every emitter gets its own from it.
        screen: Looks at candidates before they are scored.
    """

    def make(kind: SearchConfig, batch_size: int, index: int) -> Any:
        return _made(kind, archive, prior, batch_size, seed, index, screen)

    if config.mix:
        return mixed_scheduler(config, archive, result_archive, make)
    own, fresh = split_batch(config)
    emitters = [make(config, own, index) for index in range(config.emitters if own else 0)]
    if fresh:
        emitters.append(make(config.model_copy(update={"algorithm": "random"}), fresh, config.emitters))
    return Scheduler(archive, emitters, result_archive)


def _made(
    config: SearchConfig,
    archive: Any,
    prior: Prior,
    batch_size: int,
    seed: int,
    index: int,
    screen: Screen | None,
) -> Any:
    """An emitter of the configuration's kind; evolution strategies keep account, and are not screened."""
    factor = screen.factor if screen and config.algorithm not in STRATEGY_ALGORITHMS else 1
    if config.algorithm == "random":
        inner: Any = PriorEmitter(FreshView(archive, prior), batch_size=factor * batch_size)
    else:
        inner = _emitter(config, archive, prior, factor * batch_size, seed, index)
    return ScreenedEmitter(inner, screen, batch_size=batch_size) if screen and factor > 1 else inner


def _emitter(config: SearchConfig, archive: Any, prior: Prior, batch_size: int, seed: int, index: int) -> Any:
    settings: dict[str, Any] = {"batch_size": batch_size, "seed": integer_seed(seed, Stream.EMITTER, index)}
    if config.algorithm not in STRATEGY_ALGORITHMS:
        # MAP-Elites asks for its parents in every iteration; x0 is for empty archives, which a view never is.
        settings.update(archive=ArchiveView(archive, prior), x0=np.zeros(archive.solution_dim))
        if config.algorithm == "map_elites":
            return GaussianEmitter(sigma=config.sigma0, **settings)
        return IsoLineEmitter(iso_sigma=config.iso_sigma, line_sigma=config.line_sigma, **settings)
    view = _restarts(config, archive, prior, seed, index)
    settings.update(
        archive=view,
        x0=view.sample_elites(1)["solution"][0],
        sigma0=config.sigma0,
        ranker=config.ranker,
        selection_rule=config.selection_rule,
        restart_rule=config.restart_rule,
        es=_evolution_strategy,
    )
    if config.algorithm in GRADIENT_ALGORITHMS:
        return GradientArborescenceEmitter(lr=config.step_size, **settings)
    return EvolutionStrategyEmitter(**settings)


def _restarts(config: SearchConfig, archive: Any, prior: Prior, seed: int, index: int) -> ArchiveView:
    """Where an emitter starts and restarts: as published, or so that families stay apart."""
    if config.preset == "paper":
        return ArchiveView(archive, prior)
    rng = stream(seed, Stream.SCHEDULER, _VIEW_SEEDS + index)
    return FamilyView(archive, prior, config.prior_share or 0.0, rng)


def _evolution_strategy(*, solution_dim: int, dtype: Any, **settings: Any) -> Any:
    """CMA-ES in float64 whatever the archive stores: in float32 its eigenvalues break down."""
    strategy: Any = CMAEvolutionStrategy
    if solution_dim > LARGEST_FULL_COVARIANCE:
        strategy = SeparableCMAEvolutionStrategy
    if solution_dim > LARGEST_DIAGONAL_COVARIANCE:
        strategy = LMMAEvolutionStrategy
    settings["lower_bounds"] = np.asarray(settings["lower_bounds"], np.float64)
    settings["upper_bounds"] = np.asarray(settings["upper_bounds"], np.float64)
    return strategy(solution_dim=solution_dim, dtype=np.float64, **settings)


def _centroids(count: int, ranges: Sequence[tuple[float, float]], seed: int) -> NDArray[np.float64]:
    """Centroids of a CVT; on one thread, for k-means adds up in the order in which its threads finish."""
    with threadpool_limits(limits=1):
        centroids, _ = k_means_centroids(
            centroids=count,
            ranges=ranges,
            samples=max(CVT_SAMPLES_PER_CENTROID * count, 1000),
            seed=integer_seed(seed, Stream.SCHEDULER, _ARCHIVE_SEEDS + 2),
        )
    return np.asarray(centroids, np.float64)
