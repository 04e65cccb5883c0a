"""Repairing a colour-biased classifier of shapes with generated images.

A classifier is trained on 1,000 drawn images, where a share `bias` of the triangles is red and of the squares
is blue; then it is tuned, once an arm, on 4,000 images:

    biased        not tuned
    random        random samples of the generator, labelled by the guide
    random-gated  random samples that the gate accepts, at as many generator calls as the search had
    qdgs          the balanced dataset of a qdgs run
    drawn         balanced drawings: the ceiling

Score: mean accuracy of the four groups (colour × shape) on 5,000 balanced drawings, averaged over the last
five epochs. Everything of a seed is paired: biased classifier, test images, order of training. One cell after
the other goes into the CSV; a second call does what is missing.

    python experiments/shapes/debias.py --bias 0.98 --seeds 5
    python experiments/shapes/debias.py --bias 0.95 0.90 0.85 0.80 --seeds 3
"""

import argparse
import itertools
import operator
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from debias_arms import Source, dataset_pictures, random_pictures, study_config
from debias_protocol import (
    ARMS,
    BIASES,
    FULL,
    GROUPS,
    QUICK,
    Cell,
    Pictures,
    Settings,
    balanced_pictures,
    biased_pictures,
    new_classifier,
    test_pictures,
    train_and_score,
)
from debias_summary import draw_study, intervals
from qdgs.errors import InputError, QdgsError
from qdgs.files import fingerprint, read_json, write_json
from qdgs.report.style import save
from qdgs.run import Run
from qdgs.training.classifier import ShapeClassifier, responding_share
from qdgs.training.deployed import load_classifier, save_classifier
from rows import Pool, read_rows, write_row

HERE = Path(__file__).resolve().parent
COLUMNS = [
    "bias",
    "seed",
    "training",
    "accuracy",
    "worst_group",
    *GROUPS,
    "images",
    "epochs",
    "image_size",
    "starts",
]
FULL_OVERRIDES = (  # twice the images of the configuration take twice its search and a lower floor
    "search.evaluations=60000",
    "dataset.quality_floor=15",
    "dataset.on_shortage=accept",
)
ORDER: dict[str, Callable[[Any], Any]] = {"bias": operator.neg, "seed": int, "training": ARMS.index}
QUICK_OVERRIDES = (
    "search.evaluations=1536",
    "search.range_samples=256",
    "search.prior_starts=256",
    "dataset.on_shortage=accept",
    "audit.samples=512",
)


@dataclass(frozen=True)
class Study:
    """Everything that a process needs to do its part.

    Attributes:
        settings: Sizes.
        config: Configuration file of the qdgs runs.
        work: Folder of what is made on the way: runs, training sets, biased classifiers.
        runs: Number of qdgs runs that the seeds share; 0 is one a seed.
        device: Where models work.
        keep: Folder of the trained classifiers, or None.
        overrides: Of the configuration.
        run: One run for all seeds, in place of runs of the study's own.
    """

    settings: Settings
    config: Path
    work: Path
    runs: int = 0
    device: str = "cpu"
    keep: Path | None = None
    overrides: tuple[str, ...] = ()
    run: Path | None = None

    def source(self, seed: int) -> Source:
        """The qdgs run of a seed."""
        if self.run is not None:
            return Source(Run.open(self.run).config, self.run, self.device)
        run_seed = seed % self.runs if self.runs else seed
        config = study_config(
            self.config, seed=run_seed, images=self.settings.images, overrides=self.overrides
        )
        return Source(config, self.work / f"run_{run_seed}", self.device)

    def check_work(self) -> None:
        """Refuse a work folder with sets of another configuration or other sizes.

        Raises:
            InputError: The folder holds those.
        """
        path = self.work / "study.json"
        made_with = fingerprint([asdict(self.settings), self.source(0).config.model_dump(mode="json")])
        if path.exists() and read_json(path).get("fingerprint") != made_with:
            raise InputError(
                f"{self.work}: expected a new folder or one of this configuration, got training sets of "
                "another; choose another --work, or delete it"
            )
        write_json(path, {"fingerprint": made_with})

    def pictures(self, name: str, seed: int) -> Pictures:
        """Test images or the training set of an arm, made once."""
        path = self.work / "sets" / f"{name}_{seed}.npz"
        if not path.exists():
            self._make(name, seed).save(path)
        return Pictures.load(path)

    def _make(self, name: str, seed: int) -> Pictures:
        settings = self.settings
        if name == "test":
            return test_pictures(seed, settings)
        if name == "drawn":
            return balanced_pictures(seed, settings)
        if name == "qdgs":
            return dataset_pictures(self.source(seed).run(), settings.image_size)
        gated = name == "random-gated"
        return random_pictures(self.source(seed), settings.images, seed, settings.image_size, gated=gated)

    def biased_path(self, cell: Cell) -> Path:
        """Where the biased classifier of a cell's bias and seed is kept."""
        return self.work / "biased" / f"{cell.bias:.2f}_{cell.seed}.pt"

    def train(self, cell: Cell) -> dict[str, Any]:
        """Train one cell; its row of the CSV."""
        tuning = cell.training != "biased"
        if tuning:
            classifier = load_classifier(self.biased_path(cell))
            pictures = self.pictures(cell.training, cell.seed)
            starts, numbers = 1, self._train(classifier, pictures, cell)
        else:
            pictures = biased_pictures(cell.bias, cell.seed, self.settings)
            classifier, starts, numbers = self._biased(pictures, cell)
        self._keep(classifier, cell)
        return {
            "bias": cell.bias,
            "seed": cell.seed,
            "training": cell.training,
            **numbers,
            "images": len(pictures.labels),
            "epochs": self.settings.epochs if tuning else self.settings.biased_epochs,
            "image_size": self.settings.image_size,
            "starts": starts,
        }

    def _biased(self, pictures: Pictures, cell: Cell) -> tuple[ShapeClassifier, int, dict[str, float]]:
        test = self.pictures("test", cell.seed).images.to(self.device)
        for start in range(self.settings.starts):
            classifier = new_classifier(cell.seed, self.settings, start)
            numbers = self._train(classifier, pictures, cell)
            if responding_share(classifier, test) >= self.settings.responding:
                break
        return classifier, start + 1, numbers

    def _train(self, classifier: Any, pictures: Pictures, cell: Cell) -> dict[str, float]:
        return train_and_score(
            classifier,
            pictures,
            self.pictures("test", cell.seed),
            seed=cell.seed,
            tuning=cell.training != "biased",
            settings=self.settings,
            device=self.device,
        )

    def _keep(self, classifier: Any, cell: Cell) -> None:
        on_cpu = classifier.cpu()
        if cell.training == "biased":
            save_classifier(on_cpu, self.biased_path(cell))
        if self.keep is not None:
            save_classifier(on_cpu, self.keep / f"{cell.name}.pt")


def carry_out(study: Study, cells: Sequence[Cell], out: Path, workers: int) -> pd.DataFrame:
    """Train what is missing in `out`, and return all of its rows."""
    study.check_work()
    rows = known_rows(out, study.settings)
    missing = [cell for cell in cells if not _done(study, rows, cell)]
    first = list(dict.fromkeys(Cell(cell.bias, cell.seed, "biased") for cell in missing))
    tuned = [cell for cell in missing if cell.training != "biased"]
    begin = [cell for cell in first if cell in missing or not study.biased_path(cell).exists()]
    with Pool(workers) as pool:
        _prepare(pool, study, missing)
        for batch in (begin, tuned):
            for cell, row, seconds in pool.do((_train, (study, cell)) for cell in batch):
                if cell in missing:
                    rows = write_row(out, rows, row, ORDER)
                print(_line(row, seconds), flush=True)
    return rows


def _prepare(pool: Pool, study: Study, cells: Sequence[Cell]) -> None:
    """Make the runs and then the sets that the cells need; what is there already is kept."""
    needed = {(cell.training, cell.seed) for cell in cells} - {("biased", cell.seed) for cell in cells}
    sets = sorted(needed | {("test", cell.seed) for cell in cells})
    sets = [(name, seed) for name, seed in sets if not (study.work / "sets" / f"{name}_{seed}.npz").exists()]
    sources = {study.source(seed).folder: seed for name, seed in sets if name not in ("test", "drawn")}
    for text in pool.do((_run, (study, seed)) for seed in sources.values()):
        print(text, flush=True)
    for text in pool.do((_pictures, (study, name, seed)) for name, seed in sets):
        print(text, flush=True)


def _run(study: Study, seed: int) -> str:
    begun = time.monotonic()
    source = study.source(seed)
    source.run()
    return f"run      {source.folder}  {time.monotonic() - begun:.0f} s"


def _pictures(study: Study, name: str, seed: int) -> str:
    begun = time.monotonic()
    pictures = study.pictures(name, seed)
    return f"images   {name} of seed {seed}: {len(pictures.labels):,}  {time.monotonic() - begun:.0f} s"


def _train(study: Study, cell: Cell) -> tuple[Cell, dict[str, Any], float]:
    begun = time.monotonic()
    return cell, study.train(cell), time.monotonic() - begun


def _line(row: dict[str, Any], seconds: float) -> str:
    return (
        f"{row['training']:<13}bias {row['bias']:.2f}  seed {row['seed']}  accuracy {row['accuracy']:.3f}  "
        f"worst group {row['worst_group']:.3f}  {seconds:.0f} s"
    )


def known_rows(out: Path, settings: Settings) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: They were made with other settings, or the file holds something else.
    """
    rows = read_rows(out, COLUMNS)
    epochs = rows["training"].map(lambda arm: settings.biased_epochs if arm == "biased" else settings.epochs)
    if not ((rows["epochs"] == epochs) & (rows["image_size"] == settings.image_size)).all():
        raise InputError(
            f"{out}: expected rows of the same sizes, got others (--quick?); choose another --out"
        )
    return rows


def _done(study: Study, rows: pd.DataFrame, cell: Cell) -> bool:
    found = (rows["bias"] == cell.bias) & (rows["seed"] == cell.seed) & (rows["training"] == cell.training)
    return bool(found.any()) and (study.keep is None or (study.keep / f"{cell.name}.pt").exists())


def cells_of(biases: Sequence[float], seeds: int | None, arms: Sequence[str]) -> list[Cell]:
    """Every cell: `seeds` of each bias, or five at .98 and three elsewhere."""
    count = {bias: seeds or (5 if bias == max(BIASES) else 3) for bias in biases}
    return [
        Cell(bias, seed, arm)
        for bias in biases
        for seed, arm in itertools.product(range(count[bias]), [arm for arm in ARMS if arm in arms])
    ]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Repair colour-biased classifiers of shapes.")
    parser.add_argument("--bias", type=float, nargs="+", default=list(BIASES), help="share of usual colours")
    parser.add_argument("--seeds", type=int, help="seeds 0 to N-1; without it five at .98, three elsewhere")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, help="CSV; its figure and intervals lie beside it")
    parser.add_argument("--save", type=Path, help="folder for each classifier as BIAS_SEED_TRAINING.pt")
    parser.add_argument("--work", type=Path, default=Path("runs/debias"), help="runs and training sets")
    parser.add_argument("--config", type=Path, default=HERE.parents[1] / "configs" / "shapes.yaml")
    parser.add_argument("--runs", type=int, default=0, help="qdgs runs that the seeds share (one a seed)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, help="processes; without it one a core, on a GPU four")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    given = parser.parse_args(argv)
    for bias in given.bias:
        if not 0.5 <= bias <= 1:
            parser.error(f"--bias: expected shares from 0.5 to 1, got {bias:g}")
    for name in ("seeds", "workers"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the study, and write CSV, intervals and figure."""
    given = arguments(argv)
    name = "quick" if given.quick else "full"
    study = Study(
        settings=QUICK if given.quick else FULL,
        config=given.config,
        work=given.work / name,
        runs=given.runs,
        device=given.device,
        keep=given.save,
        overrides=QUICK_OVERRIDES if given.quick else FULL_OVERRIDES,
    )
    out = given.out or (given.work / "quick.csv" if given.quick else HERE / "debias.csv")
    workers = given.workers or (os.cpu_count() or 1 if given.device == "cpu" else 4)
    rows = carry_out(study, cells_of(given.bias, given.seeds, given.arms), out, workers)
    table = intervals(rows)
    table.to_csv(out.with_name(f"{out.stem}_intervals.csv"), index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(f"{out} · {save(draw_study(rows), out.with_suffix('.png'))}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
