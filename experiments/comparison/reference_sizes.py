"""How large a reference set does adapting a biased GAN take? fairTL and fairTL++ on 25 to 2.5 %.

The embedded `shapes-gan` was trained on 10,000 drawings; reference sets are balanced drawings of this share
of that number. Beside the adapted generators stands the GAN as it is. Steps are the same for all sizes.

    python experiments/comparison/reference_sizes.py --seeds 3 --out reference_sizes.csv
    python experiments/comparison/reference_sizes.py --seeds 3 --shares 0.05 --out reference_sizes.csv \
        --methods "probing alone" "feedback alone" "feedback 0.9"

The second asks what each of fairTL++'s two changes does by itself. One cell after the other goes into the
CSV; a second call does what is missing. Beside it lie a figure and FILE_differences.csv: fairtl++ less fairtl
by size, over seeds, with Student's 95 % interval. Named before it was run: fairtl++ has the lower discrepancy
at 5 and 2.5 %.

    fairness_discrepancy   ‖p̂ − p‖₂ over colour × shape as the auditor `shape-cnn` reads random samples
    smallest_group_share   of the samples that it can read
    accepted               share that the gate `shape-geometry` finds whole
    distance               Fréchet distance at 8×8 pixels from fresh balanced drawings
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import qdgs
from autophagy_tasks import frechet
from qdgs.datasets.drawing import COLORS, SHAPES, biased_shapes
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.classification import paired_interval
from qdgs.fairness.diversity import thumbnails
from qdgs.fairness.shares import group_shares
from qdgs.generators.base import Generator
from qdgs.generators.shapes_gan import IMAGE_SIZE, ShapesGAN
from qdgs.report.style import save
from qdgs.samplers.base import LabelledImages, Problem
from qdgs.samplers.fairtl import FairTL, FairTLPlusPlus
from qdgs.training.pixels import to_pixels
from study_settings import check_settings

SOURCE_IMAGES = 10_000
SHARES = (0.25, 0.1, 0.05, 0.025)
METHODS: dict[str, Callable[[int], FairTL]] = {
    "fairtl": lambda steps: FairTL(steps=steps),
    "fairtl++": lambda steps: FairTLPlusPlus(steps=steps),
    "probing alone": lambda steps: FairTLPlusPlus(steps=steps, feedback=1.0),
    "feedback alone": lambda steps: FairTLPlusPlus(steps=steps, probing_steps=0),
    "feedback 0.9": lambda steps: FairTLPlusPlus(steps=steps, feedback=0.9, probing_steps=0),
}
"""Beside the two methods what each of fairTL++'s two changes does by itself."""
NUMBERS = ("fairness_discrepancy", "smallest_group_share")
COLUMNS = [
    "method", "share", "references", "seed", *NUMBERS, "low", "high", "accepted", "distance", "forwards",
    "backwards", "seconds",
]  # fmt: skip
KEY = ["method", "share", "seed"]
ATTRIBUTES = {"color": COLORS, "shape": SHAPES}


def drawings(n: int, seed: int, index: int) -> LabelledImages:
    """Balanced drawings with what they show."""
    rng = qdgs.stream(seed, qdgs.Stream.DRAWING, index)
    images, shape, color = biased_shapes(n, 0.5, rng, image_size=IMAGE_SIZE)
    values = pd.DataFrame({"color": np.array(COLORS)[color], "shape": np.array(SHAPES)[shape]}, dtype=object)
    return LabelledImages(to_pixels(images), values)


def problem_of(share: float, seed: int, gan: ShapesGAN) -> Problem:
    """The GAN with a reference set of this share of its source's size."""
    groups = ["/".join(values) for values in itertools.product(*ATTRIBUTES.values())]
    return Problem(
        generator=gan,
        judge=qdgs.load_judge("shape-geometry"),
        attributes=ATTRIBUTES,
        label="shape",
        target=dict.fromkeys(groups, 1 / len(groups)),
        images=1000,
        reference=drawings(round(share * SOURCE_IMAGES), seed, 1) if share else None,
    )


def graded(problem: Problem, generator: Generator, samples: int, seed: int) -> dict[str, float]:
    """Random samples as auditor and gate read them."""
    latents = generator.sample_latents(samples, qdgs.stream(seed, qdgs.Stream.RANDOM_SAMPLES))
    images = torch.cat(list(qdgs.generate(generator, latents)))
    read = qdgs.judge_batches(qdgs.load_judge("shape-cnn"), torch.split(images, 250))
    shares = group_shares(problem.group_of(read), problem.shares, qdgs.stream(seed, qdgs.Stream.BOOTSTRAP))
    gate = qdgs.judge_batches(problem.judge, torch.split(images[:1000], 250))
    drawn = drawings(2000, seed, 2).images
    discrepancy = shares.fairness_discrepancy
    return {
        **{name: getattr(shares, name).value for name in NUMBERS},
        "low": discrepancy.low,
        "high": discrepancy.high,
        "accepted": float(gate["accepted"].mean()),
        "distance": frechet(thumbnails(images, 8), thumbnails(drawn.float() / 255, 8)),
    }


def cell(method: str, share: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One row: adapt, and grade what came of it."""
    problem = problem_of(share, seed, ShapesGAN(args.gan))
    generator: Generator = problem.generator
    spent = {"forwards": 0, "backwards": 0, "seconds": 0.0}
    if method != "none":
        sampler = METHODS[method](args.steps)
        sampler.fit(problem, qdgs.stream(seed, qdgs.Stream.TRAINING))
        assert sampler.own is not None
        generator = sampler.own.generator
        spent = {name: value for name, value in asdict(sampler.cost).items() if name in spent}
    row = {"method": method, "share": share, "seed": seed, "references": round(share * SOURCE_IMAGES)}
    row |= graded(problem, generator, args.samples, seed) | spent
    return {column: row[column] for column in COLUMNS}


def cells_of(args: argparse.Namespace) -> list[tuple[str, float, int]]:
    """Method, share and seed of every cell."""
    adapted = list(itertools.product(args.methods, args.shares))
    return [
        (method, share, seed)
        for seed in range(args.seeds)
        for method, share in [("none", 0.0), *sorted(adapted, key=lambda pair: -pair[1])]
    ]


def carry_out(args: argparse.Namespace) -> pd.DataFrame:
    """Do what is missing in the file."""
    rows = pd.read_csv(args.out) if args.out.exists() else pd.DataFrame(columns=COLUMNS)
    if list(rows.columns) != COLUMNS:
        raise InputError(f"{args.out}: expected rows of this study, got something else; choose another --out")
    check_settings(args.out, {"steps": args.steps, "samples": args.samples, "gan": args.gan})
    for key in cells_of(args):
        if (rows[KEY] == list(key)).all(axis=1).any():
            continue
        begun = time.monotonic()
        row = cell(*key, args)
        rows = pd.DataFrame([*rows.to_dict("records"), row], columns=COLUMNS)
        unfinished = args.out.with_name(f".{args.out.name}.part")
        rows.to_csv(unfinished, index=False, float_format="%.6g")
        unfinished.replace(args.out)
        print(
            f"{key[0]:<14} {key[1]:>6.1%}  seed {key[2]}  FD {row['fairness_discrepancy']:.3f}  "
            f"accepted {row['accepted']:.3f}  {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    return rows


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """fairtl++ less fairtl, seed by seed, for each size; without ends where there is one seed."""
    told = []
    for share, metric in itertools.product(sorted(set(rows["share"]) - {0.0}), (NUMBERS[0], "accepted")):
        of = rows[rows["share"] == share].pivot(index="seed", columns="method", values=metric)
        if {"fairtl", "fairtl++"} <= set(of) and len(both := of[["fairtl++", "fairtl"]].dropna()):
            gain = paired_interval(both["fairtl++"], both["fairtl"])
            means = both["fairtl"].mean(), both["fairtl++"].mean()
            told.append((share, metric, *means, gain.value, gain.low, gain.high, len(both)))
    columns = ["share", "metric", "fairtl", "fairtl++", "difference", "low", "high", "seeds"]
    return pd.DataFrame(told, columns=columns)


def draw_sizes(rows: pd.DataFrame) -> Figure:
    """Discrepancy and quality against the size of the reference set; dots are seeds, lines their means."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    panels = figure.subplots(1, 2)
    titles = {"fairness_discrepancy": "fairness discrepancy", "accepted": "share that the gate accepts"}
    for panel, (column, title) in zip(panels, titles.items(), strict=True):
        panel.axhline(rows.loc[rows["method"] == "none", column].mean(), color="#888888", ls="--", lw=1)
        for method, color in (("fairtl", "#2166ac"), ("fairtl++", "#b2182b")):
            found = rows[rows["method"] == method]
            means = found.groupby("references")[column].mean()
            panel.plot(found["references"], found[column], "o", color=color, ms=3, alpha=0.5)
            panel.plot(means.index, means, color=color, label=method)
        panel.set_xscale("log")
        sizes = sorted(set(rows["references"]) - {0})
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_ylim(bottom=0)
        panel.set_xlabel("reference images (dashed: the GAN as it is)")
        panel.set_title(title, fontsize=10)
    panels[0].legend(frameon=False)
    return figure


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV; a figure lies beside it")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["fairtl", "fairtl++"])
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--gan", help="folder of another GAN of this kind")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    if not all(0 < share <= 1 for share in args.shares):
        parser.error(f"--shares: expected shares above 0 and up to 1, got {args.shares}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the sweep, and write table and figure."""
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = carry_out(args)
    table = differences(rows)
    table.to_csv(args.out.with_name(f"{args.out.stem}_differences.csv"), index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(f"{args.out} · {save(draw_sizes(rows), args.out.with_suffix('.png'))}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
