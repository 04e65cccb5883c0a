"""What workers of Ray gain: one against two, each with one thread, on one search.

    python experiments/speed/workers.py --out experiments/speed/results/workers.json

Both kinds are there from the beginning and take turns, so that whatever else the machine does hits both.
Beside the ratio of rates stand the seconds of CPU that this process and scoring take for an iteration: on
cores that nothing else uses the ratio can be at most (driver + scoring) / (driver + scoring / 2).
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from qdgs import load_config
from qdgs.cluster import connected
from qdgs.config import RunConfig
from qdgs.randomness import Stream, stream
from qdgs.search.loop import illuminate
from qdgs.search.remote import RayWorkers
from qdgs.search.state import Search
from qdgs.search.workers import Task, Workers, micro_batches
from qdgs.stages.scoring import Scorer, scorer_of
from qdgs.stages.workers import MakeScorer
from qdgs.workers_config import WorkersConfig

COUNTS = (1, 2)


def begun(config: RunConfig, scorer: Scorer, workers: Workers | None) -> Search:
    """A search of the run's, before its first iteration."""
    return Search.begin(
        config.search,
        config.guide.measures,
        scorer,
        latent_dim=scorer.generator.latent_dim,
        differentiable=scorer.differentiable,
        sample_prior=scorer.generator.sample_latents,
        seed=config.seed,
        workers=workers,
    )


def measured(search: Search, iterations: int) -> Iterator[dict[str, float]]:
    """Seconds, and seconds of this process's CPU, of each iteration but the first."""
    steps = illuminate(search, 10**9)
    next(steps)
    for _ in range(iterations):
        before, seconds, cpu = search.evaluations, time.perf_counter(), time.process_time()
        next(steps)
        yield {
            "evaluations": search.evaluations - before,
            "seconds": time.perf_counter() - seconds,
            "cpu_seconds": time.process_time() - cpu,
        }


def compare(config: RunConfig, repeats: int, iterations: int) -> dict[str, Any]:
    """Rates of one and of two workers, taking turns, and what they cost."""
    torch.set_num_threads(1)
    scorer = scorer_of(config, device="cpu")
    load, size = os.getloadavg()[0], config.search.micro_batch
    latents = scorer.generator.sample_latents(size, stream(config.seed, Stream.PROBE)).numpy()
    first = {"task": Task(len(config.guide.measures)), "probe": micro_batches(latents, size)[0]}
    rates: dict[int, list[float]] = {count: [] for count in COUNTS}
    driver: list[float] = []
    with connected(WorkersConfig(kind="ray", count=sum(COUNTS))) as ray:
        crews = {
            count: RayWorkers(ray, WorkersConfig(kind="ray", count=count), MakeScorer(config), **first)
            for count in COUNTS
        }
        searches = {count: begun(config, scorer, crew) for count, crew in crews.items()}
        for _ in range(repeats):
            for count in COUNTS:
                rows = list(measured(searches[count], iterations))
                rates[count].append(
                    sum(row["evaluations"] for row in rows) / sum(row["seconds"] for row in rows)
                )
                driver += [row["cpu_seconds"] for row in rows]
    alone = statistics.median(row["cpu_seconds"] for row in measured(begun(config, scorer, None), iterations))
    return told(rates, statistics.median(driver), alone) | {"micro_batch": size, "load_before": load}


def told(rates: dict[int, list[float]], driver: float, alone: float) -> dict[str, Any]:
    """The numbers: ratios first."""
    one, two = (statistics.median(rates[count]) for count in COUNTS)
    scoring = alone - driver
    return {
        "two_against_one": statistics.median(b / a for a, b in zip(rates[1], rates[2], strict=True)),
        "at_most": (driver + scoring) / (driver + scoring / 2),
        "one_per_second": one,
        "two_per_second": two,
        "driver_cpu_seconds": driver,
        "scoring_cpu_seconds": scoring,
        "repeats": len(rates[1]),
        "cores": os.cpu_count(),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("configs/shapes.yaml"))
    parser.add_argument(
        "--micro-batch", type=int, default=32, help="eight in an iteration, so that both workers end together"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=4, help="of each repeat")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    config = load_config(given.config, [f"search.micro_batch={given.micro_batch}"])
    numbers = compare(config, given.repeats, given.iterations)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(numbers, indent=2) + "\n")
    print(json.dumps(numbers, indent=2))


if __name__ == "__main__":
    main()
