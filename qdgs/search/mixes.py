"""Emitters of several kinds side by side, chosen by a bandit where pyribs has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ribs.schedulers import BanditScheduler, Scheduler

from qdgs.config import SearchConfig
from qdgs.search.settings import GRADIENT_ALGORITHMS, TUNED

MakeEmitter = Callable[[SearchConfig, int, int], Any]
"""(configuration of its kind, batch size, index) → an emitter."""


def mixed_scheduler(config: SearchConfig, archive: Any, result_archive: Any | None, make: MakeEmitter) -> Any:
    """A scheduler over emitters of the kinds of `config.mix`.

    Without gradients there are `config.emitters` of each kind, and as many of all are active at a time:
    whoever restarts, and whoever never does, gives its place to the emitter with the best upper confidence
    bound on its share of accepted solutions. pyribs' bandit knows no gradients: with a gradient algorithm
    there are `config.emitters` in all, of each kind in turn, and all are active.

    Args:
        config: A settled configuration with a mix.
        archive: What the emitters see.
        result_archive: The elitist archive, where the other is annealed.
        make: Makes an emitter.

    References:
        Cully 2021, "Multi-emitter MAP-Elites", arXiv 2007.05352.
    """
    n, kinds = config.emitters, [_of_kind(config, kind) for kind in config.mix]
    if config.algorithm in GRADIENT_ALGORITHMS:
        turns = [make(kinds[index % len(kinds)], config.batch_size, index) for index in range(n)]
        return Scheduler(archive, turns, result_archive)
    pool = [make(kinds[index % len(kinds)], config.batch_size, index) for index in range(n * len(kinds))]
    return BanditScheduler(archive, pool, result_archive, num_active=n)


def active_emitters(scheduler: Any) -> list[Any]:
    """The emitters that were asked last, in the order of their solutions."""
    if isinstance(scheduler, BanditScheduler):
        return list(scheduler.emitter_pool[scheduler.active])
    return list(scheduler.emitters)


def all_emitters(scheduler: Any) -> list[Any]:
    """Every emitter, active or not."""
    return list(scheduler.emitter_pool if isinstance(scheduler, BanditScheduler) else scheduler.emitters)


def move_scheduler(scheduler: Any, archive: Any, result_archive: Any | None) -> None:
    """Put a scheduler and its emitters on other archives; emitters keep what they have learnt."""
    scheduler._archive, scheduler._result_archive = archive, result_archive  # pyribs has no other way to it
    for emitter in all_emitters(scheduler):
        emitter.archive.move_to(archive)


def _of_kind(config: SearchConfig, kind: str) -> SearchConfig:
    """The run's settings for its own algorithm, and the tuned ones for the others."""
    if kind == config.algorithm:
        return config
    own = {name: value for name, value in TUNED[kind].items() if name != "prior_share"}
    return config.model_copy(update={**own, "algorithm": kind})
