"""The workers that a run's configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qdgs.cluster import connected, device_of
from qdgs.config import RunConfig
from qdgs.randomness import Stream, stream
from qdgs.search.settings import settle
from qdgs.search.workers import Score, Task, Workers, micro_batches
from qdgs.stages.scoring import Scorer, scorer_of


@dataclass(frozen=True)
class MakeScorer:
    """Makes the score of a run wherever it is sent.

    Attributes:
        config: The run's.
    """

    config: RunConfig

    def __call__(self, device: str) -> Score:
        """The function of latents that the run searches."""
        return scorer_of(self.config, device=device)


def scoring_device(config: RunConfig, device: str) -> str:
    """Where a run's latents are scored: on the device of this process, or on its workers'."""
    return device if config.workers.kind == "local" else device_of(config.workers)


@contextmanager
def search_workers(config: RunConfig, scorer: Scorer) -> Iterator[Workers | None]:
    """The workers that score for a run; None where this process does.

    Raises:
        InputError: They cannot be had.
    """
    if config.workers.kind == "local":
        yield None
        return
    from qdgs.search.remote import RayWorkers

    with connected(config.workers) as ray:
        workers = RayWorkers(ray, config.workers, MakeScorer(config), **_first_job(config, scorer))
        try:
            yield workers
        finally:
            workers.close()


def _first_job(config: RunConfig, scorer: Scorer) -> dict[str, Any]:
    """Random latents that workers are tried out with."""
    generator = scorer.generator
    device = device_of(config.workers)
    settled = settle(config.search, generator.latent_dim, scorer.differentiable, device=device)
    latents = generator.sample_latents(settled.micro_batch, stream(config.seed, Stream.PROBE)).numpy()
    return {"task": Task(len(config.guide.measures)), "probe": micro_batches(latents, settled.micro_batch)[0]}
