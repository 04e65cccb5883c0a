"""A stage's images in shards, done by workers of Ray."""

from __future__ import annotations

from collections.abc import Callable

from qdgs.cluster import connected, each
from qdgs.run import Step, Watch
from qdgs.workers_config import WorkersConfig


def in_shards(
    workers: WorkersConfig,
    work: Callable[[int, int], object],
    shards: int,
    *,
    stage: str,
    images: int,
    watch: Watch,
) -> None:
    """Let workers do every shard; what a shard raises is raised here.

    Args:
        workers: Who works.
        work: Does a shard, given its place from 0 on and how many there are; safe to repeat.
        shards: How many.
        stage: Its name, for the watcher.
        images: Of all shards together.
        watch: Told after each.
    """
    with connected(workers) as ray:
        outcomes = each(ray, workers, work, [(index, shards) for index in range(shards)])
        for done, outcome in enumerate(outcomes, start=1):
            if outcome.error is not None:
                raise outcome.error
            watch(Step(stage, images * done // shards, images, "images"))
