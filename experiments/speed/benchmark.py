"""How fast is qdgs: beside the published loop, plain pyribs, and generator and guide alone.

Everything runs side by side in one process, slice by slice in turn, so that whatever else the machine does
meets all of them; rates are medians over slices, and ratios come first. Warm-up and compilation are left out.
Ranges and objective scale, which qdgs finds on its own time, are given to the others for nothing.

    python experiments/speed/benchmark.py --renders --out experiments/speed/results/two-cores.json
    python experiments/speed/benchmark.py --quick --out quick.json
    python experiments/speed/benchmark.py --quick --generator stylegan2-256 --guides ViT-B-32 ViT-L-14 \
        --device cuda --out experiments/speed/results/cuda.json
    python experiments/speed/benchmark.py --quick --generator diffusion --guides ViT-B-32 \
        --device cuda --out experiments/speed/results/cuda-diffusion.json

The last two have a StyleGAN2 and a diffusion model as large as Stable Diffusion's, of random weights, which
cost what trained ones do; no score is raced for there, and nothing rendered.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from contestants import Contestant, Engine, Jacobians, Plain, Published, Raw, RawGradient
from grading import Grader
from machine import machine
from overheads import generated_per_second, outside, rendered_per_second
from qdgs.clip.sources import EMBEDDED
from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from random_pipeline import STEPS, random_pipeline
from speed_table import table
from speed_task import CONFIG, ENGINES, GUIDES, LAYOUTS, MINI, Task, load_task
from stylegan2_jacobian import architecture_of, random_generator

SHAPES, STYLEGAN2, DIFFUSION = "shapes-vae", "stylegan2-256", "diffusion"
BATCHES = (16, 32, 64, 128, 256, 512)
LARGE_BATCHES = (16, 32, 64, 128)
GRADIENT_BATCHES = (16, 64)
"""Larger ones take gigabytes of memory on a large guide."""

ROOMY_BATCHES = (256, 512)
"""Tried on a GPU too, where a micro-batch of qdgs has as many."""

RENDERS = {"faces": 1024, "shapes-ddim": 64}
"""Configurations whose generators render, too, and images in each slice: they are slower."""

RENDER_BATCHES = (32, 64)

LARGE_ROUNDS = 3
"""Slices for a large guide: a single step of it takes half a minute on two cores."""

TRIAL_SECONDS = 0.3
BUSY = 0.5
"""Load average from which on others are at work."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Slices of each contestant.
        slice_seconds: Their length; a contestant steps at least once.
        published_seconds: What the published loop is given to reach its score.
        share: Of these seconds what qdgs and plain pyribs may take.
        images: Rendered in each slice.
        iterations: Of the bookkeeping.
        batches: Sizes among which raw passes find their best.
    """

    rounds: int
    slice_seconds: float
    published_seconds: float
    share: float
    images: int
    iterations: int
    batches: tuple[int, ...] = BATCHES


QUICK = Effort(3, 1.5, 60.0, 0.25, 768, 5, (16, 64, 128))
FULL = Effort(7, 5.0, 600.0, 0.1, 4096, 20)


def race(contestants: Sequence[Contestant], rounds: int, seconds: float) -> None:
    """Let each advance in turn."""
    for _ in range(rounds):
        for contestant in contestants:
            contestant.advance(seconds)


def quickest(task: Task, kind: type[Raw], batches: Sequence[int]) -> Raw:
    """Batch size and layout with the most evaluations a second in two short slices; not raced yet."""
    layouts = (*LAYOUTS, ENGINES)
    raws = [kind(task, batch=batch, layout=layout) for batch in batches for layout in layouts]
    race(raws, 1, 0.0)  # warms up
    race(raws, 2, TRIAL_SECONDS)
    best = max(raws, key=lambda raw: max(raw.rates[1:]))
    return kind(task, batch=best.batch, layout=best.layout)


def ratio(one: Contestant | Sequence[float], other: Contestant | Sequence[float], skip: int = 1) -> float:
    """Median over slices of how much faster one is; each slice against the other's next to it."""
    left, right = (thing.rates if isinstance(thing, Contestant) else thing for thing in (one, other))
    return median(a / b for a, b in zip(left[skip:], right[skip:], strict=True))


def rates(task: Task, effort: Effort) -> dict[str, Any]:
    """Evaluations a second of everybody, without and with gradients."""
    small = task.guide in EMBEDDED
    roomy = torch.device(task.device).type == "cuda"
    raw = quickest(
        task, Raw, effort.batches if small else (*LARGE_BATCHES, *(ROOMY_BATCHES if roomy else ()))
    )
    gradients = quickest(task, RawGradient, (*GRADIENT_BATCHES, *(ROOMY_BATCHES if roomy else ())))
    engine = Engine(task)
    engine.step()
    assert engine.search is not None
    known = {"calibration": engine.search.calibration}
    published, plain = Published(task, **known), Plain(task, **known)
    climber, jacobians = Engine(task, algorithm="cma_maega"), Jacobians(task)
    contestants = [published, raw, engine, plain, gradients, jacobians, climber]
    race(contestants, 2, 0.0)  # starts, and what compiles
    for contestant in contestants:
        contestant.rates.clear()
    race(
        contestants, 1 + (effort.rounds if small else min(effort.rounds, LARGE_ROUNDS)), effort.slice_seconds
    )
    ideal = [_ideal(task, one, other) for one, other in zip(raw.rates, gradients.rates, strict=True)]
    return {
        "evaluations_per_second_ratio": ratio(engine, published),
        "reachable_ratio": ratio(raw, published),
        "raw_share": ratio(engine, raw),
        "gradient_share": ratio(climber, ideal),
        "jacobian_share": ratio(jacobians, gradients),
        "plain_ratio": ratio(engine, plain),
        "gradient_ratio": ratio(climber, published),
        "published_per_second": median(published.rates[1:]),
        "raw_per_second": median(raw.rates[1:]),
        "engine_per_second": median(engine.rates[1:]),
        "gradient_engine_per_second": median(climber.rates[1:]),
        "raw_batch": raw.batch,
        "raw_layout": raw.layout,
        "raw_gradient_batch": gradients.batch,
        "raw_gradient_layout": gradients.layout,
    }


def _ideal(task: Task, raw: float, gradient: float) -> float:
    """Evaluations a second of an iteration of gradient points and branches at raw rates alone."""
    search = task.config.search
    branches, points = search.emitters * search.batch_size, search.emitters
    return (branches + points) / (branches / raw + points / gradient)


def time_to_score(task: Task, effort: Effort, seed: int) -> dict[str, Any]:
    """Seconds to what the published loop, and plain pyribs, have at the end of their time."""
    engine = Engine(task, seed=seed)
    engine.advance(0.0)
    assert engine.search is not None
    calibration = engine.search.calibration
    published, plain = (kind(task, calibration=calibration, seed=seed) for kind in (Published, Plain))
    allowed = effort.share * effort.published_seconds
    while published.seconds < effort.published_seconds:
        published.advance(effort.slice_seconds)
        for contestant in (engine, plain):
            if contestant.seconds < allowed:
                contestant.advance(effort.slice_seconds * effort.share)
    grader = Grader(task, calibration)
    ends = {"published": published, "engine": engine, "plain": plain}
    front = {
        name: {
            "seconds": one.seconds,
            "evaluations": one.evaluations,
            "corrected_qd_score": grader.score(one.snapshots[-1]),
            "group_diversity_ratio": grader.diversity(one.snapshots[-1]),
        }
        for name, one in ends.items()
    }
    to_published = grader.seconds_to(front["published"]["corrected_qd_score"], engine.snapshots)
    to_plain = grader.seconds_to(front["plain"]["corrected_qd_score"], engine.snapshots)
    return {
        "time_to_score_ratio": to_published / published.seconds,
        "time_to_plain_score_ratio": to_plain / plain.seconds,
        "front": front,
    }


def overheads(task: Task, effort: Effort) -> dict[str, Any]:
    """What rendering costs beyond the generator, and bookkeeping beyond generator and guide."""
    batch, layout = _quickest_generating(task, effort)
    generated, rendered = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(1 + effort.rounds):
            generated.append(generated_per_second(task, effort.images, index, batch, layout))
            rendered.append(rendered_per_second(task, effort.images, index, Path(folder) / str(index)))
    return {
        "render_raw_share": ratio(rendered, generated),
        "rendered_per_second": median(rendered[1:]),
        "generated_per_second": median(generated[1:]),
        "generated_batch": batch,
        "generated_layout": layout,
    }


def renders(effort: Effort, device: str, clock: Callable[[], float]) -> dict[str, Any]:
    """What rendering costs beyond the generators of `RENDERS`."""
    told = {}
    for name, images in RENDERS.items():
        _say(f"rendering: {name}")
        task = load_task(MINI, path=CONFIG.parent / f"{name}.yaml", device=device, clock=clock)
        told[name] = overheads(task, replace(effort, images=images, batches=RENDER_BATCHES))
    return told


def _quickest_generating(task: Task, effort: Effort) -> tuple[int, str]:
    """Batch size and layout with the most images a second; the first of two passes warms up."""
    tried = [(batch, layout) for batch in effort.batches for layout in (*LAYOUTS, ENGINES)]
    rates = {pair: generated_per_second(task, max(effort.batches), 0, *pair) for pair in tried * 2}
    return max(rates, key=lambda pair: rates[pair])


def time_outside(effort: Effort, raw_per_second: float, clock: Callable[[], float]) -> dict[str, Any]:
    """Share of a search's time outside of a guide of that speed: 156,250 cells, all full, 512 latents."""
    told: dict[str, Any] = {}
    for algorithm, points in (("cma_mae", 0), ("cma_maega", 8)):
        found = outside(algorithm, effort.iterations, clock)
        told[f"{algorithm}_seconds"] = mean(found.seconds)
        told[f"{algorithm}_share"] = found.share((256 + points) / raw_per_second)
        told |= {"checkpoint_seconds": found.saving, "checkpoint_gib": found.checkpoint_gib}
    return told


def measure(task: Task, effort: Effort, *, seeds: int, raced: bool) -> dict[str, Any]:
    """Everything about a guide; with the embedded one scores are raced for, unless not wanted."""
    _say(f"{task.guide}: evaluations a second")
    own = rates(task, effort)
    if task.guide != MINI or not raced:
        _say(f"bookkeeping beside {task.guide}")
        return own | {"outside": time_outside(effort, own["raw_per_second"], task.clock)}
    _say(f"{task.guide}: time to a score")
    races = [time_to_score(task, effort, seed) for seed in range(seeds)]
    for key in (key for key in races[0] if key.endswith("_ratio")):
        found = [one[key] for one in races]
        own |= {key: median(found), f"worst_{key}": max(found)}
    _say("rendering")
    return own | {"races": [one["front"] for one in races]} | overheads(task, effort)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def collected(
    told: Mapping[str, Any], effort: Effort, ran_on: Mapping[str, Any], **further: Any
) -> dict[str, Any]:
    """What is written: the embedded guide's keys at the top, other guides below."""
    first = next(iter(told))
    return {
        **told[first],
        "guide": first,
        "guides": {name: own for name, own in told.items() if name != first},
        "machine": dict(ran_on),
        "effort": vars(effort),
        **further,
        "left_out": "warm-up and compilation; ranges and objective scale are given to the published loop",
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast is qdgs beside the published loop.")
    parser.add_argument("--out", type=Path, required=True, help="JSON; its table (.md) lies beside it")
    parser.add_argument("--quick", action="store_true", help="within five minutes on two free cores")
    parser.add_argument(
        "--guides", nargs="+", choices=GUIDES, help=f"{MINI} and ViT-B-32; with --quick {MINI} alone"
    )
    parser.add_argument("--generator", choices=(SHAPES, STYLEGAN2, DIFFUSION), default=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="for a busy machine and one thread: waiting is not counted",
    )
    parser.add_argument(
        "--renders", action="store_true", help=f"render {' and '.join(RENDERS)}, too: wants the extra faces"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="over configs/shapes.yaml"
    )
    parser.add_argument("--seeds", type=int, help="races to a score (3; with --quick 1)")
    given = parser.parse_args(argv)
    given.guides = given.guides or ([MINI] if given.quick else [MINI, "ViT-B-32"])
    if given.processor_time and torch.get_num_threads() > 1:
        parser.error("--processor-time: expected one thread (OMP_NUM_THREADS=1): those that wait count too")
    if given.seeds is not None and given.seeds < 1:
        parser.error(f"--seeds: expected at least 1, got {given.seeds}")
    return given


def _generator(name: str, folder: Path) -> list[str]:
    """What is set over configs/shapes.yaml; a generator of random weights is written to the folder."""
    if name == SHAPES:
        return []
    if name == DIFFUSION:
        random_pipeline(folder / name)
        return [f"generator={{name: diffusers, model: {folder / name}, steps: {STEPS}, subspace: 64}}"]
    random_generator(folder / name, architecture_of(256, 16384), seed=0)
    return [f"generator={{name: stylegan2, path: {folder / name}, space: w}}"]


def _without_infinity(value: Any) -> Any:
    """JSON has no infinity: null says that a score was never reached."""
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the JSON and its table, and show the table."""
    given = arguments(argv)
    effort = QUICK if given.quick else FULL
    seeds = given.seeds or (1 if given.quick else 3)
    begun, before = time.perf_counter(), machine(given.device)
    if before["load"] > BUSY:
        _say(
            f"the machine is busy (load {before['load']:.1f}): small batches suffer most, which flatters qdgs"
        )
    clock = time.process_time if given.processor_time else time.perf_counter
    rendered = {"renders": renders(effort, given.device, clock)} if given.renders else {}
    told: dict[str, Any] = {}

    def save() -> None:
        further = {
            "kind": torch.device(given.device).type,
            "seconds": time.perf_counter() - begun,
            "clock": "processor time" if given.processor_time else "wall-clock",
            "set": given.set,
            "generator": given.generator,
        }
        result = _without_infinity(collected(told, effort, before, **further))
        write_text(given.out, json.dumps(result, indent=2) + "\n")
        write_text(given.out.with_suffix(".md"), table(result))

    given.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        overrides = (*_generator(given.generator, Path(folder)), *given.set)
        for guide in given.guides:
            task = load_task(guide, device=given.device, overrides=overrides, clock=clock)
            own = measure(task, effort, seeds=seeds, raced=given.generator == SHAPES)
            told[guide] = own if told else own | rendered
            save()  # what was measured stays, whatever comes
    print(given.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
