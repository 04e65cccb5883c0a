"""Where the time of an iteration goes: generator, guide, or what is around them; and which operations.

Writes a table of parts and one of torch's operations for each guide, forward and backward, with the models
as they were loaded and as qdgs runs them.

    python experiments/speed/profile_engine.py --out experiments/speed/results/profile.md
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from contestants import Engine
from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from qdgs.stages.scoring import Scorer
from speed_task import GUIDES, MINI, Task, load_task

OPERATIONS = 8
ONE_AFTER_ANOTHER = ("search.speed.rows_at_once=16",)
"""Profilers see one thread: portions pass one after another here, not side by side."""

AROUND = {
    "ask": ("state.py", "_ask"),
    "tell: pyribs": ("_scheduler.py", "tell"),
    "tell: reservoir": ("reservoir.py", "add"),
    "progress": ("state.py", "progress"),
}


def parts(task: Task, batch: int) -> list[tuple[str, float, float]]:
    """Milliseconds an image of each part, as loaded and as qdgs runs it."""
    found: dict[str, list[float]] = {}
    for scorer in (task.plain, task.engine):
        latents = task.latents(batch)
        encoder: Any = scorer.guide.encoder  # type: ignore[attr-defined]
        with torch.no_grad():
            for _ in range(9):  # the engine looks for its pace
                scorer(latents)
            images = scorer.generator(latents)
            pixels = encoder.preprocessing(images)
            steps: dict[str, Callable[[], Any]] = {
                "generator": lambda scorer=scorer, latents=latents: scorer.generator(latents),  # type: ignore[misc]
                "preprocessing": lambda encoder=encoder, images=images: encoder.preprocessing(images),  # type: ignore[misc]
                "image tower": lambda encoder=encoder, pixels=pixels: encoder.model.encode_image(pixels),  # type: ignore[misc]
                "everything": lambda scorer=scorer, latents=latents: scorer(latents),  # type: ignore[misc]
            }
            for name, step in steps.items():
                found.setdefault(name, []).append(1000 * _seconds(task, step) / batch)
    return [(name, one, other) for name, (one, other) in found.items()]


def _seconds(task: Task, step: Callable[[], Any], repeats: int = 3) -> float:
    taken = []
    for _ in range(1 + repeats):
        begun = task.clock()
        step()
        task.wait()
        taken.append(task.clock() - begun)
    return min(taken[1:])


def around(task: Task, iterations: int) -> tuple[list[tuple[str, float]], float]:
    """Share of an iteration that each part of the bookkeeping takes, and of the scores; seconds of one."""
    engine = Engine(task)
    for _ in range(3):
        engine.step()
    recorder = cProfile.Profile()
    recorder.enable()
    for _ in range(iterations):
        engine.step()
    recorder.disable()
    stats = pstats.Stats(recorder)
    total = stats.total_tt  # type: ignore[attr-defined]
    named = {**AROUND, "scores": ("scoring.py", "__call__")}
    shares = [(name, _cumulative(stats, *place) / total) for name, place in named.items()]
    return shares, total / iterations


def _cumulative(stats: Any, file: str, function: str) -> float:
    return sum(
        row[3] for (path, _, name), row in stats.stats.items() if path.endswith(file) and name == function
    )


def operations(
    task: Task, scorer: Scorer, batch: int, *, backward: bool
) -> list[tuple[str, str, float, int]]:
    """Torch's operations by their own time: name, shapes, share, calls."""
    latents = task.latents(batch).requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        scorer(latents)
        total = scorer(latents)[0].sum()
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
            if backward:
                torch.autograd.grad(total, latents)
            else:
                scorer(latents)
    rows = recorded.key_averages(group_by_input_shape=True)
    everything = sum(row.self_cpu_time_total for row in rows)
    slowest = sorted(rows, key=lambda row: -row.self_cpu_time_total)[:OPERATIONS]
    return [
        (row.key, str(row.input_shapes[:2]), row.self_cpu_time_total / everything, row.count)
        for row in slowest
    ]


def told(task: Task, batch: int, iterations: int) -> str:
    """Markdown on one guide."""
    lines = [f"## {task.guide}", "", "| milliseconds an image | as loaded | qdgs |", "|---|--:|--:|"]
    lines += [f"| {name} | {one:.2f} | {other:.2f} |" for name, one, other in parts(task, batch)]
    shares, seconds = around(task, iterations)
    lines += ["", f"| share of an iteration of {seconds:.2f} s | |", "|---|--:|"]
    lines += [f"| {name} | {share:.4f} |" for name, share in shares]
    for backward in (False, True):
        for name, scorer in (("as loaded", task.plain), ("qdgs", task.engine)):
            way = "backward" if backward else "forward"
            lines += ["", f"| {way}, {name} | shapes | share | calls |", "|---|---|--:|--:|"]
            rows = operations(task, scorer, min(batch, 16) if backward else batch, backward=backward)
            lines += [f"| {key} | {shapes} | {share:.3f} | {calls} |" for key, shapes, share, calls in rows]
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> None:
    """Profile, and write the tables."""
    parser = argparse.ArgumentParser(description="Where the time of an iteration goes.")
    parser.add_argument("--out", type=Path, required=True, help="Markdown")
    parser.add_argument("--guides", nargs="+", choices=GUIDES, default=[MINI, "ViT-B-32"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine and one thread")
    given = parser.parse_args(argv)
    clock = time.process_time if given.processor_time else time.perf_counter
    pages = []
    for guide in given.guides:
        task = load_task(guide, device=given.device, clock=clock, overrides=ONE_AFTER_ANOTHER)
        pages.append(told(task, batch=given.batch, iterations=given.iterations))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.out, "\n".join(pages))
    print("\n".join(pages))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
