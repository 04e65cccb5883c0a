"""Models that feed on their own samples, with and without the autophagy penalty.

A model is fitted to real data in which one class is rare; the next is fitted to as many samples of that one,
and so on. How rare is the minority in each generation, and how far has the model moved from the data?

    likelihood    the model fitted by plain likelihood
    up-weighted   the same, every class weighing as much as the other; the only arm that needs labels, which
                  a reader gives it from the second generation on
    hypernetwork  the weights read off the data by a network, without penalty
    penalty       the same with the autophagy penalty
    varied        the same with batches of 1 to the usual size (our choice): from batches that all hold the
                  same mixture a network learns little else than to ignore its data

    python experiments/comparison/autophagy.py --generations 6 --seeds 5 --out autophagy.csv
    python experiments/comparison/autophagy.py --data shapes --generations 6 --seeds 1 --out shapes.csv
    python experiments/comparison/autophagy.py --refits 100 --out refits.csv

Beside FILE.csv lie FILE_one_class.csv (a trained hypernetwork is given one class alone: does its model then
make that class?), FILE.png, with --refits FILE_bias.csv, and FILE_drift.csv: the last generation of each arm
against plain likelihood, and of penalised arms against the hypernetwork alone, over seeds, with Student's
95 % interval. Named before it was run: with the penalty a model is less far from the data. One chain after
the other goes into the CSV; a second call does what is missing, and goes on within a chain where --work is
kept; then FILE_samples_DATA.png has samples of the first seed's models.

    minority_share          of the samples that can be read, by the reader who also reads the data (row 0)
    majority_to_minority    R_Fair; fair says that it is not above that of the data, R_I
    distance                mixture: KL(truth‖model) in nats; images: Fréchet distance of pixels
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autophagy_bias import bias_of_refits, summary_of_refits
from autophagy_figure import draw_generations, draw_samples
from autophagy_tasks import MAJORITY, MINORITY, PUBLISHED, TASKS, UNREADABLE, Task, shortened
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.classification import paired_interval
from qdgs.report.style import save
from qdgs.training.generative import GenerativeModel
from qdgs.training.hypernetwork import SetHypernetwork, adopt, fit_directly, fit_hypernetwork
from qdgs.training.initial import seeded
from study_settings import check_settings

ARMS = ("likelihood", "up-weighted", "hypernetwork", "penalty", "varied")
PENALISED = ("penalty", "varied")
COLUMNS = [
    "data", "arm", "penalty", "seed", "generation", "trained_on", "minority_share", "majority_to_minority",
    "fair", "readable", "distance", "seconds",
]  # fmt: skip
ONE_CLASS = ["data", "arm", "penalty", "seed", "given", "minority_share", "readable"]
KEY = ["data", "arm", "penalty", "seed"]
QUICK_STEPS, SHOWN = 30, 12


@dataclass(frozen=True)
class Chain:
    """One arm of one seed: generations that follow from each other.

    Attributes:
        data: Name of the task.
        arm: How models are fitted.
        penalty: λ; 0 but for the arms with the penalty.
        seed: Of data, weights, batches and samples.
    """

    data: str
    arm: str
    penalty: float
    seed: int

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.data}_{self.arm}_{self.penalty:g}_{self.seed}"


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model, and the hypernetwork that made its weights where one did."""

    model: GenerativeModel
    hypernetwork: SetHypernetwork | None = None


def fitted(task: Task, chain: Chain, data: Tensor, codes: np.ndarray, generation: int) -> Fit:
    """Fit a model from scratch."""
    random = numbers(chain, generation, 0)
    model = seeded(task.new_model, random)
    smallest = 1 if chain.arm == "varied" else None
    fitting = replace(task.fitting, penalty=chain.penalty, smallest_batch=smallest)
    if chain.arm in ("likelihood", "up-weighted"):
        emphasis = equal_classes(codes) if chain.arm == "up-weighted" else None
        fitting = replace(fitting, learning_rate=task.direct_rate or fitting.learning_rate)
        fit_directly(model, data, fitting, random, emphasis=emphasis)
        return Fit(model)
    hypernetwork = seeded(lambda: task.new_hypernetwork(model), random)
    fit_hypernetwork(hypernetwork, model, data, fitting, random)
    return Fit(model, hypernetwork)


def equal_classes(codes: np.ndarray) -> Tensor:
    """Weights `(n,)` of mean 1 that give both classes as much; what cannot be read weighs 1."""
    weights = np.ones(len(codes))
    for code in (MAJORITY, MINORITY):
        rows = codes == code
        if rows.any():
            weights[rows] = (codes != UNREADABLE).sum() / (2 * rows.sum())
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def drawn(model: GenerativeModel, n: int, random: torch.Generator) -> Tensor:
    """So many samples."""
    with torch.no_grad():
        return model.sample(torch.randn(n, model.sample_dim, generator=random))


def numbers(chain: Chain, generation: int, use: int) -> torch.Generator:
    """Random numbers of their own for each seed, generation and use; arms share them."""
    sequence = np.random.SeedSequence(chain.seed, spawn_key=(generation, use))
    return torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))


def measured(task: Task, model: GenerativeModel, samples: Tensor) -> dict[str, Any]:
    """What a row of the CSV says of a model."""
    share, readable = task.minority_share(samples)
    ratio = (1 - share) / share if share > 0 else float("inf")
    real = task.minority_share(task.data)[0]
    return {
        "minority_share": share,
        "majority_to_minority": ratio,
        "fair": int(ratio <= (1 - real) / real),
        "readable": readable,
        "distance": task.distance(model, samples),
    }


def one_class_rows(task: Task, chain: Chain, fit: Fit) -> Iterator[dict[str, Any]]:
    """Given one class alone, or both: how much of the minority does the model make?"""
    if fit.hypernetwork is None:
        return
    model = seeded(task.new_model, numbers(chain, 1, 0))
    for given, rows in (
        ("both", task.codes != UNREADABLE),
        ("majority", task.codes == MAJORITY),
        ("minority", task.codes == MINORITY),
    ):
        adopt(model, fit.hypernetwork.weights_of(task.data[torch.from_numpy(rows)]))
        samples = drawn(model, task.samples, numbers(chain, 1, 2))
        share, readable = task.minority_share(samples)
        yield {**vars(chain), "given": given, "minority_share": share, "readable": readable}


def generations(
    task: Task, chain: Chain, count: int, work: Path | None
) -> Iterator[tuple[dict[str, Any], Fit]]:
    """Rows of a chain, generation 1 fitted to the task's data, each other to samples of the one before."""
    data, codes = task.data, task.codes
    for generation in range(1, count + 1):
        begun = time.monotonic()
        kept = work / kept_name(task, chain, generation) if work else None
        if kept is not None and kept.exists() and generation > 1:
            fit = Fit(task.new_model())
            fit.model.load_state_dict(torch.load(kept, weights_only=True))
        else:
            fit = fitted(task, chain, data, codes, generation)
            if kept is not None:
                torch.save(fit.model.state_dict(), kept)
        row = {
            **vars(chain),
            "generation": generation,
            "trained_on": len(data),
            **measured(task, fit.model, drawn(fit.model, task.samples, numbers(chain, generation, 1))),
            "seconds": time.monotonic() - begun,
        }
        yield {column: row[column] for column in COLUMNS}, fit
        data = drawn(fit.model, len(task.data), numbers(chain, generation, 3))
        codes = task.read(data)


def kept_name(task: Task, chain: Chain, generation: int) -> str:
    """File of a fitted model in the folder of --work."""
    return f"{chain.name}_{task.fitting.steps}_{generation}.pt"


def sample_rows(task: Task, chains: Sequence[Chain], args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Samples of the first, a middle and the last generation of chains that are kept, under their names."""
    told, shown = {}, sorted({1, -(-args.generations // 2), args.generations})
    for chain, generation in itertools.product(chains, shown):
        kept = args.work / kept_name(task, chain, generation)
        if kept.exists():
            model = task.new_model()
            model.load_state_dict(torch.load(kept, weights_only=True))
            told[f"{chain.arm}, {generation}"] = task.pictures(drawn(model, SHOWN, numbers(chain, 1, 4)))
    return told


def write_samples(args: argparse.Namespace) -> list[Path]:
    """Pictures of what the first seed's models make, of every kind of data that are images."""
    paths = []
    for data in args.data:
        task = TASKS[data](0)
        task = shortened(task, QUICK_STEPS) if args.quick else task
        real = task.pictures(task.data[:SHOWN])
        chains = [chain for chain in chains_of(args) if chain.data == data and chain.seed == 0]
        if real is not None and (told := sample_rows(task, chains, args)):
            path = args.out.with_name(f"{args.out.stem}_samples_{data}.png")
            paths.append(save(draw_samples({"data": real, **told}), path))
    return paths


def real_row(task: Task, chain: Chain) -> dict[str, Any]:
    """Generation 0: the data themselves."""
    share, readable = task.minority_share(task.data)
    numbers = [0, len(task.data), share, (1 - share) / share, 1, readable, 0.0, 0.0]
    return dict(zip(COLUMNS, [*vars(chain).values(), *numbers], strict=True))


def run_chain(chain: Chain, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of all generations, and of the check with one class."""
    task = TASKS[chain.data](chain.seed)
    if args.quick:
        task = shortened(task, QUICK_STEPS)
    rows, checks = [real_row(task, chain)], []
    for row, fit in generations(task, chain, args.generations, args.work):
        rows.append(row)
        print(
            f"{chain.name:<32} generation {row['generation']}  minority {row['minority_share']:.3f}  "
            f"distance {row['distance']:.4f}  {row['seconds']:.0f} s",
            flush=True,
        )
        if row["generation"] == 1:
            checks = list(one_class_rows(task, chain, fit))
    return rows, checks


def chains_of(args: argparse.Namespace) -> list[Chain]:
    """Every chain that was asked for."""
    chains = []
    for data in args.data:
        for seed in range(args.seeds):
            for arm in args.arms:
                penalties = args.penalties or [PUBLISHED[data]] if arm in PENALISED else [0.0]
                chains += [Chain(data, arm, penalty, seed) for penalty in penalties]
    return chains


def known(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: The file holds something else.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    rows = pd.read_csv(path)
    if list(rows.columns) != list(columns):
        raise InputError(f"{path}: expected rows of this study, got something else; choose another --out")
    return rows


def added(path: Path, rows: pd.DataFrame, more: list[dict[str, Any]], chain: Chain) -> pd.DataFrame:
    """Put the rows of a chain into a file, in the place of those that it had."""
    same = (rows[KEY] == list(vars(chain).values())).all(axis=1)
    together = [*rows[~same].to_dict("records"), *more]
    rows = pd.DataFrame(together, columns=rows.columns)
    unfinished = path.with_name(f".{path.name}.part")
    rows.to_csv(unfinished, index=False, float_format="%.6g")
    unfinished.replace(path)
    return rows


def carry_out(args: argparse.Namespace) -> pd.DataFrame:
    """Do what is missing in the files, chain by chain."""
    checks_path = args.out.with_name(f"{args.out.stem}_one_class.csv")
    rows, checks = known(args.out, COLUMNS), known(checks_path, ONE_CLASS)
    check_settings(args.out, {"quick": args.quick})
    for chain in chains_of(args):
        done = rows[(rows[KEY] == list(vars(chain).values())).all(axis=1)]
        if len(done) and done["generation"].max() >= args.generations:
            continue
        more, more_checks = run_chain(chain, args)
        checks = added(checks_path, checks, more_checks, chain)
        rows = added(args.out, rows, more, chain)
    return rows


def drift(rows: pd.DataFrame) -> pd.DataFrame:
    """The last generation of each arm less that of another, seed by seed; no ends where there is one seed."""
    last = rows[rows["generation"] == rows["generation"].max()]
    arms = {
        key: found.set_index("seed") for key, found in last.groupby(["data", "arm", "penalty"], sort=False)
    }
    told = []
    for (data, arm, penalty), metric in itertools.product(arms, ("minority_share", "distance")):
        for against in ("likelihood", "hypernetwork")[: 2 if arm in PENALISED else 1]:
            other = arms.get((data, against, 0.0))
            if arm == against or other is None:
                continue
            mine = arms[data, arm, penalty][metric]
            both = pd.DataFrame({"mine": mine, "other": other[metric]}).dropna()
            if len(both):
                gain = paired_interval(both["mine"], both["other"])
                found = (both["mine"].mean(), gain.value, gain.low, gain.high, len(both))
                told.append((data, arm, penalty, against, metric, *found))
    columns = "data arm penalty against metric value difference low high seeds"
    return pd.DataFrame(told, columns=columns.split())


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV; figure and further tables beside it")
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1")
    parser.add_argument("--data", nargs="+", choices=list(TASKS), default=["mixture", "digits"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--penalties", type=float, nargs="+", help="λ; without it the paper's for each model")
    parser.add_argument(
        "--refits", type=int, default=0, help="fit the mixture so often instead, for its bias"
    )
    parser.add_argument("--points", type=int, default=1000, help="data of each refit")
    parser.add_argument("--work", type=Path, help="folder to keep fitted models in, to resume within a chain")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
    args = parser.parse_args(argv)
    for name in ("generations", "seeds", "points", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(args, name)}")
    if args.penalties and min(args.penalties) < 0:
        parser.error(f"--penalties: expected at least 0, got {min(args.penalties):g}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the study, and write tables and figure."""
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
    if args.refits:
        refits = bias_of_refits(args.refits, args.points, args.penalties, QUICK_STEPS if args.quick else None)
        refits.to_csv(args.out, index=False, float_format="%.6g")
        table = summary_of_refits(refits)
        table.to_csv(args.out.with_name(f"{args.out.stem}_bias.csv"), index=False, float_format="%.6g")
        print(table.to_string(index=False, float_format="{:.4f}".format))
        return
    rows = carry_out(args)
    table = drift(rows)
    table.to_csv(args.out.with_name(f"{args.out.stem}_drift.csv"), index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    written = [args.out, save(draw_generations(rows), args.out.with_suffix(".png"))]
    written += write_samples(args) if args.work else []
    print(" · ".join(map(str, written)))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
