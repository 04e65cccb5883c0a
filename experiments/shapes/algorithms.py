"""Seven search algorithms on the shapes, at equal budgets.

The budget is counted in forward/backward equivalents: a forward pass is one, and a Jacobian of m measures is
one forward and 1 + m backward passes of one each (the models are frozen). Evaluations would give gradients
away: they count a point with its Jacobian as one. Everything of a seed is paired: measure ranges, objective
scale and starts are the same for all.

    corrected_qd_score     the elites where the auditor says they belong, its rejects left out
    group_diversity_ratio  the dataset's images beside random samples of the same groups; 1 is as diverse
    coverage               share of the archive's cells with an elite, as the guide sees them
    clipped_fraction       share of the solutions outside the measure ranges
    lineages               families among the elites
    elite_agreement        share of the elites whose label the auditor confirms; its rejects count against

One (algorithm, seed) after the other goes into the CSV; a second call does what is missing, and a search that
was interrupted goes on where it stopped. A table and a figure lie beside the CSV.

    python experiments/shapes/algorithms.py
    python experiments/shapes/algorithms.py --algorithms cma_mae cma_maega --seeds 2 --equivalents 10000
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from algorithms_summary import MEASURED, draw_table, markdown
from qdgs.config import ALGORITHMS, RunConfig, SearchConfig, load_config
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.errors import ConfigError, InputError, QdgsError
from qdgs.fairness.audit import JudgedImages, audit, label_agreement
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.generators.base import generate
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge
from qdgs.parts import load_judge
from qdgs.randomness import Stream, stream
from qdgs.report.style import save
from qdgs.run import Run
from qdgs.search.evaluation import BACKWARD_COST
from qdgs.search.settings import GRADIENT_ALGORITHMS, iteration_cost
from qdgs.stages.audit import read_cuts
from qdgs.stages.bank import Bank
from qdgs.stages.corrected import corrected_archive
from qdgs.stages.cuts import guide_values
from qdgs.stages.flatten import open_bank
from qdgs.stages.scoring import load_scorer
from rows import Pool, read_rows, write_row

HERE = Path(__file__).resolve().parent
EQUIVALENTS = 20_000
QUICK_EQUIVALENTS = 300
QUICK_OVERRIDES = (
    "search.emitters=2",
    "search.batch_size=16",
    "search.range_samples=64",
    "search.prior_starts=64",
    "search.micro_batch=32",
    "dataset.images=60",
    "audit.samples=128",
)

COLUMNS = ["algorithm", "seed", "budget", *MEASURED]
ORDER: dict[str, Callable[[Any], Any]] = {"algorithm": ALGORITHMS.index, "seed": int}


@dataclass(frozen=True)
class Study:
    """Everything that a process needs to do its part.

    Attributes:
        config: Configuration file of the runs.
        work: Folder of the runs.
        equivalents: Budget of a search.
        overrides: Of the configuration.
        device: Where models work.
    """

    config: Path
    work: Path
    equivalents: int
    overrides: tuple[str, ...] = ()
    device: str = "cpu"

    def run_config(self, algorithm: str, seed: int) -> RunConfig:
        """The configuration of one search: so many evaluations as its budget pays for.

        Raises:
            ConfigError: The configuration does not hold, or has no auditor.
        """
        base = load_config(self.config, self.overrides)
        if base.judges.auditor is None:
            raise ConfigError(
                f"{self.config}: judges.auditor: expected a judge to grade the searches, got none"
            )
        search = base.search.model_copy(update={"algorithm": algorithm})
        evaluations = affordable(search, len(base.guide.measures), self.equivalents)
        given = [f"search.{name}={getattr(search, name)}" for name in ("range_samples", "prior_starts")]
        own = [f"seed={seed}", f"search.algorithm={algorithm}", f"search.evaluations={evaluations}"]
        return load_config(self.config, [*given, "dataset.on_shortage=accept", *self.overrides, *own])

    def carry_out(self, algorithm: str, seed: int) -> dict[str, Any]:
        """Search, flatten and grade; the row of the CSV."""
        folder = self.work / f"{self.equivalents}" / f"{algorithm}_{seed}"
        run = Run.create(self.run_config(algorithm, seed), folder).complete(
            device=self.device, until="flatten"
        )
        return {
            "algorithm": algorithm,
            "seed": seed,
            "budget": self.equivalents,
            **_searched(run),
            **grade(run, device=self.device),
        }


def affordable(search: SearchConfig, measures: int, equivalents: int) -> int:
    """Evaluations that a search may take, so that starts and whole iterations cost at most `equivalents`.

    Raises:
        InputError: The budget does not hold the starts and one iteration.
    """
    starts = max(search.range_samples, search.prior_starts)
    points = search.emitters if search.algorithm in GRADIENT_ALGORITHMS else 0
    cost = search.emitters * search.batch_size + points * (1 + (1 + measures) * BACKWARD_COST)
    iterations = math.floor((equivalents - starts) / cost)
    if iterations < 1:
        raise InputError(
            f"--equivalents: expected at least {starts + math.ceil(cost)} for {search.algorithm} ({starts} "
            f"starts, and one iteration of {cost:g}), got {equivalents}"
        )
    return starts + iterations * iteration_cost(search)


def grade(run: Run, *, device: str) -> dict[str, Any]:
    """What the auditor says of a run's elites and of the dataset chosen from them.

    Args:
        run: Searched and flattened.
        device: Where models work.
    """
    assert run.config.judges.auditor is not None
    scorer = load_scorer(run, device=device)
    bank = open_bank(run, scorer, device=device)
    auditor = load_judge(run.config.judges.auditor, device=device)
    elites = pd.read_parquet(run.path / "search" / "archive.parquet")
    seen = _seen(elites, bank, auditor, device=device)
    dataset = run.config.dataset
    corrected = corrected_archive(run, scorer, auditor, bank, elites, seen.judged)
    labels = guide_values(elites, dataset, read_cuts(run), dataset.label)
    return {
        "corrected_qd_score": corrected.qd_score,
        "elites": len(elites),
        "elite_agreement": label_agreement(JudgedImages(seen.judged, seen.embeddings, labels), dataset).value,
        **_audited(run, bank, auditor, device=device),
    }


def _audited(run: Run, bank: Bank, auditor: Judge, *, device: str) -> dict[str, Any]:
    """The dataset beside the bank of random samples."""
    keys = ("group_diversity_ratio", "label_agreement", "near_duplicates", "smallest_group_share")
    rows = read_manifest(run.path / "dataset" / "manifest.parquet").rows
    if rows.empty:
        return dict.fromkeys(keys, math.nan)
    random = JudgedImages(bank.judged(auditor), bank.embeddings())
    found = audit(
        _seen(rows, bank, auditor, device=device, labels=rows["label"]),
        random,
        run.config.dataset,
        stream(run.config.seed, Stream.AUDIT),
        bank=random,
    ).summary()
    return {key: math.nan if found[key] is None else found[key] for key in keys}


def _seen(
    rows: pd.DataFrame, bank: Bank, auditor: Judge, *, device: str, labels: "pd.Series[str] | None" = None
) -> JudgedImages:
    """Solutions as the auditor sees them, rendered as they would be stored."""
    embedding: PixelEmbedding = bank.embedding()
    judged, embedded = [], []
    for images in generate(bank.generator, latents_of(rows, device), bank.micro_batch):
        judged.append(auditor.judge(as_stored(images)))
        embedded.append(embedding.transform(as_stored(images)))
    return JudgedImages(pd.concat(judged, ignore_index=True), np.concatenate(embedded), labels)


def _searched(run: Run) -> dict[str, Any]:
    metrics = pd.read_csv(run.path / "search" / "metrics.csv").iloc[-1]
    keys = ("qd_score", "coverage", "objective_mean", "clipped_fraction", "lineages", "evaluations")
    return {
        **{key: run.summary[key] for key in keys},
        "equivalents": metrics["equivalents"],
        "seconds": run.summary["search_seconds"],
        "gate_acceptance": run.summary["gate_acceptance"],
        "images": run.summary["images"],
    }


def missing(rows: pd.DataFrame, algorithms: Sequence[str], seeds: int) -> list[tuple[str, int]]:
    """What the CSV does not hold yet: seed by seed, so that an unfinished table compares all algorithms."""
    done = set(zip(rows["algorithm"], rows["seed"], strict=True))
    return [
        (algorithm, seed)
        for seed in range(seeds)
        for algorithm in algorithms
        if (algorithm, seed) not in done
    ]


def _timed(study: Study, algorithm: str, seed: int) -> tuple[dict[str, Any], float]:
    begun = time.monotonic()
    return study.carry_out(algorithm, seed), time.monotonic() - begun


def known_rows(out: Path, budget: int) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: They were made with another budget, or the file holds something else.
    """
    rows = read_rows(out, COLUMNS)
    if not (rows["budget"] == budget).all():
        raise InputError(
            f"{out}: expected rows of a budget of {budget} equivalents, got "
            f"{rows['budget'].iloc[0]}; choose another --out"
        )
    return rows


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare search algorithms on the shapes at equal budgets.")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--seeds", type=int, help="seeds 0 to N-1 (5; with --quick 1)")
    parser.add_argument("--equivalents", type=int, help=f"budget of a search ({EQUIVALENTS:,})")
    parser.add_argument("--out", type=Path, help="CSV; its table (.md) and figure (.png) lie beside it")
    parser.add_argument("--work", type=Path, default=Path("runs/algorithms"), help="folder of the runs")
    parser.add_argument("--config", type=Path, default=HERE.parents[1] / "configs" / "shapes.yaml")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, help="processes; without it one a core, on a GPU two")
    parser.add_argument("--quick", action="store_true", help="tiny budgets, to see that it works")
    given = parser.parse_args(argv)
    for name in ("seeds", "equivalents", "workers"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    return given


def write_results(out: Path, rows: pd.DataFrame) -> Iterable[Path]:
    """Table and figure beside the CSV."""
    table = out.with_suffix(".md")
    table.write_text(markdown(rows), encoding="utf-8")
    return table, save(draw_table(rows), out.with_suffix(".png"))


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out what is missing, and write CSV, table and figure."""
    given = arguments(argv)
    study = Study(
        config=given.config,
        work=given.work / ("quick" if given.quick else "full"),
        equivalents=given.equivalents or (QUICK_EQUIVALENTS if given.quick else EQUIVALENTS),
        overrides=QUICK_OVERRIDES if given.quick else (),
        device=given.device,
    )
    out = given.out or (given.work / "quick.csv" if given.quick else HERE / "algorithms.csv")
    seeds = given.seeds or (1 if given.quick else 5)
    workers = given.workers or (os.cpu_count() or 1 if given.device == "cpu" else 2)
    rows = known_rows(out, study.equivalents)
    tasks = missing(rows, given.algorithms, seeds)
    with Pool(1 if given.quick else min(workers, max(len(tasks), 1))) as pool:
        for row, seconds in pool.do((_timed, (study, *task)) for task in tasks):
            rows = write_row(out, rows, row, ORDER)
            print(
                f"{row['algorithm']:<16}seed {row['seed']}  corrected {row['corrected_qd_score']:,.0f}  "
                f"diversity {row['group_diversity_ratio']:.2f}  {seconds:.0f} s",
                flush=True,
            )
    table, figure = write_results(out, rows)
    print(f"{table.read_text()}\n{out} · {table} · {figure}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
