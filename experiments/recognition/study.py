"""Does pre-training a face recogniser on a qdgs set help the group that random samples show least?

Narrow IR-18s of equal size are pre-trained on as many images of as many identities:

    random         random samples of dcgan-digiface
    random-gated   random samples that the gate of configs/faces.yaml accepts (on request)
    random-even    the same, as many of each apparent lightness: balance without a search
    qdgs           solutions of a qdgs run, as many of each apparent lightness, each another person
    qdgs-elites    every elite of its dataset an identity (on request)
    qdgs-clusters  clusters of these for identities, as the paper has it (on request)
    none           not pre-trained: the real set alone, for as many steps
    pixels         nothing is trained: pixels at 16×16 are compared

Each goes on with the same biased "real" set: held-out latents of the same generator, seven identities of
every other group for one of the rarest. They are verified on held-out pairs, balanced over the groups.

    qdgs run configs/faces.yaml --out RUN
    python experiments/recognition/study.py --run RUN --out OUT
    python experiments/recognition/study.py --quick --out OUT

The last takes minutes: a search guided by pixels stands in for RUN. With several runs seed i takes run i, and
begins again with the first when they are used up. OUT/results.csv has a row for each pretraining, seed and
group, and one for all pairs; pretrained.csv has the same before the real set, when a recogniser has seen
nothing else than what it was pre-trained on. A second call does what is missing; more seeds, and runs for
them, can be added. Beside these lie intervals.csv, accuracy.png, sets.csv (groups of what was pre-trained
on), purity.csv (whether its identities hold), and all that was made on the way, each recogniser with its
verification.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch

from qdgs.errors import InputError, QdgsError
from qdgs.files import read_json, write_json, write_text
from qdgs.randomness import Stream, stream
from qdgs.recognition.benchmark import ALL, Benchmark, group_table, verify_run
from qdgs.recognition.bins import read_bin
from qdgs.recognition.pairs import Pairs, decoded, read_groups
from qdgs.recognition.purity import thumbnails
from qdgs.recognition.train_run import train_recogniser
from qdgs.recognition.verification import Verification, squared_distances, verify_distances
from qdgs.recognition_config import RecognitionConfig, parse_recognition
from qdgs.report.style import save
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.search import RESERVOIR
from recognition_arms import GROUPS, solutions
from recognition_purity import purities
from recognition_sets import FULL, QUICK, Faces, Sizes
from recognition_summary import PRETRAINING, REAL, draw_study, intervals, verdict

SETS = ("random", "random-gated", "random-even", "qdgs", "qdgs-elites", "qdgs-clusters")
"""What can be pre-trained on."""

OF_RUNS = {"qdgs", "qdgs-elites", "qdgs-clusters"}
ARMS = (*SETS, "none", "pixels")
FULL_ARMS = ("random", "random-even", "qdgs", "none", "pixels")
QUICK_ARMS = ("random", "qdgs", "pixels")
PIXELS_SIDE = 64
VERSION = 6
"""Of how sets are made: an older folder's do not go with those of today."""
RESULTS, PRETRAINED = "results.csv", "pretrained.csv"
COLUMNS = ["pretraining", "seed", "group", "accuracy", "n"]
STAND_IN = (
    "qdgs: no run was given, so its set comes from a short search whose guide is the luminance of pixels, "
    "not a CLIP with prompts; give --run for the study itself"
)


@dataclass(frozen=True)
class Cell:
    """One recogniser."""

    pretraining: str
    seed: int


@dataclass(frozen=True)
class Study:
    """What a process needs to do its part.

    Attributes:
        sizes: How large everything is.
        out: Folder of results and of everything on the way.
        runs: Folders of qdgs runs, none for the stand-in.
        device: Where recognisers train.
        takes_no_run: Whether no arm that is asked for is of a run.
    """

    sizes: Sizes
    out: Path
    runs: tuple[Path, ...]
    device: str
    takes_no_run: bool = False

    def faces(self, seed: int) -> Faces:
        """Where a seed's sets come from."""
        return Faces(self.sizes, self.out, seed, self.runs[seed % len(self.runs)] if self.runs else None)

    def seed_folder(self, seed: int) -> Path:
        """Everything that is made for a seed."""
        return self.out / f"seed-{seed}"

    def check(self, seeds: int) -> None:
        """Refuse a folder with results of other sizes, or of other runs.

        Raises:
            InputError: It holds those.
        """
        told = {
            "version": VERSION,
            "sizes": asdict(self.sizes),
            "training": self.config(Path("folder"), 0, 1, 1.0).model_dump(mode="json"),
        }
        self._same(self.out / "study.json", told, "with other sizes")
        if not self.takes_no_run:
            contents = [_contents(run) for run in self.runs] or [None]
            for seed in range(seeds):
                run = {"contents": contents[seed % len(contents)]}
                self._same(self.seed_folder(seed) / "run.json", run, "that took another run")

    def _same(self, path: Path, told: Any, otherwise: str) -> None:
        told = json.loads(json.dumps(told))
        if path.exists() and read_json(path) != told:
            raise InputError(
                f"{path.parent}: expected a new folder or one of this study, got one {otherwise}; choose "
                "another --out"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, told)

    def prepare(self, seed: int, arms: Sequence[str]) -> None:
        """Make a seed's sets, but those that are there."""
        folder, faces = self.seed_folder(seed), self.faces(seed)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "pairs.bin").is_file():
            faces.write_pairs(folder / "pairs.bin")
        if not (folder / "real").is_dir():
            faces.write_real(folder / "real")
        for arm in arms:
            if arm in SETS and not (folder / f"set-{arm}.json").is_file():
                shutil.rmtree(folder / f"set-{arm}", ignore_errors=True)
                told = faces.write_pretraining(folder / f"set-{arm}", arm)
                write_json(folder / f"set-{arm}.json", told)

    def sets(self) -> pd.DataFrame:
        """Groups of everything that can be pre-trained on, of every seed that is there."""
        rows = [
            {"pretraining": arm, "seed": int(path.parent.name.removeprefix("seed-")), **counts}
            for arm in SETS
            for path in sorted(self.out.glob(f"seed-*/set-{arm}.json"))
            for counts in read_json(path)["groups"]
        ]
        return pd.DataFrame(rows, columns=["pretraining", "seed", "group", "identities", "images"])

    def train(self, cell: Cell) -> dict[str, list[dict[str, Any]]]:
        """Train one recogniser, verify it, and give its rows: of results, and of what was pre-trained."""
        folder = self.seed_folder(cell.seed)
        pairs = read_bin(folder / "pairs.bin").grouped(read_groups(folder / "pairs.csv"))
        if cell.pretraining == "pixels":
            return {RESULTS: _rows(cell, by_pixels(pairs, cell.seed))}
        self._train(cell, folder)
        runs = {PRETRAINED: f"pretrained-{cell.pretraining}", RESULTS: f"trained-{cell.pretraining}"}
        return {
            name: _rows(cell, verify_run(folder / run, Benchmark("pairs", pairs), device=self.device))
            for name, run in runs.items()
            if (folder / run).is_dir()
        }

    def _train(self, cell: Cell, folder: Path) -> None:
        start, sizes = folder / f"pretrained-{cell.pretraining}", self.sizes
        trained = folder / f"trained-{cell.pretraining}"
        if cell.pretraining == "none":
            real = self.config(folder / "real", cell.seed, sizes.alone_epochs, sizes.alone_rate)
        else:
            real = self.config(folder / "real", cell.seed, sizes.real_epochs, sizes.real_rate, start=start)
            own = folder / f"set-{cell.pretraining}"
            config = self.config(own, cell.seed, sizes.pretrain_epochs, sizes.pretrain_rate)
            train_recogniser(config, start, device=self.device)
        train_recogniser(real, trained, device=self.device)

    def config(
        self, folder: Path, seed: int, epochs: int, rate: float, *, start: Path | None = None
    ) -> RecognitionConfig:
        """Of a training on a folder of identities, which goes on from another where `start` is its run."""
        sizes = self.sizes
        # in the proportions of the published 12, 20 and 24 of 26
        milestones = sorted({max(round(epochs * share), 1) for share in (12 / 26, 20 / 26, 24 / 26)})
        return parse_recognition(
            {
                "kind": "recognition",
                "seed": seed,
                "data": {"folder": str(folder)},
                "image_size": sizes.image_size,
                "backbone": {
                    "name": "ir18", "width": sizes.width, "embedding": sizes.embedding, "dropout": 0.1
                },
                "head": {"name": "adaface", "scale": sizes.scale},
                "training": {
                    "epochs": epochs,
                    "batch_size": sizes.batch_size,
                    "learning_rate": rate,
                    "milestones": milestones,
                    "precision": "float32",  # figures do not hinge on what a processor can
                },
                "pretrained": str(start) if start else None,
            }
        )  # fmt: skip


def carry_out(study: Study, seeds: int, arms: Sequence[str], workers: int) -> None:
    """Do what is missing."""
    study.check(seeds)
    rows = known_rows(study.out / RESULTS)
    known_rows(study.out / PRETRAINED)
    if not study.runs and OF_RUNS & set(arms):
        print(STAND_IN, flush=True)
    for seed in range(seeds):
        begun = time.monotonic()
        study.prepare(seed, arms)
        print(f"sets of seed {seed}: {time.monotonic() - begun:.0f} s", flush=True)
    print(f"random samples of seed 0 by group: {study.faces(0).pool_counts()}", flush=True)
    write_text(study.out / "sets.csv", study.sets().to_csv(index=False))
    done = set(zip(rows["pretraining"], rows["seed"], strict=True))
    missing = [
        Cell(arm, seed) for seed, arm in itertools.product(range(seeds), arms) if (arm, seed) not in done
    ]
    for cell, found, seconds in _trained(study, missing, workers):
        for name, own in found.items():  # results last: they tell what is done
            add_rows(study.out / name, cell, own)
        print(_line(cell, found[RESULTS], seconds), flush=True)


def _trained(study: Study, cells: Sequence[Cell], workers: int) -> Any:
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(_train)(study, cell) for cell in cells)


def _train(study: Study, cell: Cell) -> tuple[Cell, dict[str, list[dict[str, Any]]], float]:
    begun = time.monotonic()
    torch.set_num_threads(1)
    return cell, study.train(cell), time.monotonic() - begun


def _rows(cell: Cell, result: Verification) -> list[dict[str, Any]]:
    table = group_table(result)[["group", "accuracy", "n"]]
    return [{**asdict(cell), **row} for row in table.to_dict("records")]


def by_pixels(pairs: Pairs, seed: int) -> Verification:
    """What pixels alone tell of the pairs: what is above it a recogniser has learned."""
    pixels = np.stack([decoded(image, PIXELS_SIDE) for image in pairs.images])
    embeddings = thumbnails(pixels)
    distances = squared_distances(embeddings[pairs.first], embeddings[pairs.second])
    return verify_distances(distances, pairs.same, pairs.groups, rng=stream(seed, Stream.BOOTSTRAP))


def _contents(run: Path) -> str:
    """What a run's dataset and reservoir are, which can be taken."""
    solutions(run)
    files = [run / name for name in (MANIFEST, RESERVOIR)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def known_rows(path: Path) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: The file holds something else.
    """
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        rows = pd.read_csv(path)
    except ValueError:
        rows = pd.DataFrame()
    if list(rows.columns) != COLUMNS:
        raise InputError(f"{path}: expected rows of this study, got something else; choose another --out")
    return rows


def add_rows(path: Path, cell: Cell, found: list[dict[str, Any]]) -> None:
    """Put a recogniser's rows into a file, which is replaced as a whole."""
    known = known_rows(path)
    others = known[(known["pretraining"] != cell.pretraining) | (known["seed"] != cell.seed)]
    rows = pd.DataFrame([*others.to_dict("records"), *found], columns=COLUMNS)
    order = {"pretraining": ARMS.index, "group": [*GROUPS, ALL].index, "seed": int}
    keys = pd.DataFrame({column: rows[column].map(key) for column, key in order.items()})
    rows = rows.loc[keys.sort_values(["pretraining", "seed", "group"]).index]
    write_text(path, rows.to_csv(index=False, float_format="%.6g"))


def _line(cell: Cell, found: list[dict[str, Any]], seconds: float) -> str:
    numbers = "  ".join(f"{row['group']} {row['accuracy']:.3f}" for row in found)
    return f"{cell.pretraining:<13}seed {cell.seed}  {numbers}  {seconds:.0f} s"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Pre-train face recognisers on random samples and on a qdgs set."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of results and what leads to them")
    parser.add_argument(
        "--run", type=Path, nargs="+", help="folder of a qdgs run of dcgan-digiface, or one a seed"
    )
    parser.add_argument("--seeds", type=int, help="seeds 0 to N-1: three, with --quick one")
    parser.add_argument("--arms", nargs="+", choices=ARMS, help=f"without it {' '.join(FULL_ARMS)}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="recognisers at a time"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    given = parser.parse_args(argv)
    given.arms = given.arms or list(QUICK_ARMS if given.quick else FULL_ARMS)
    if not given.run and not given.quick and OF_RUNS & set(given.arms):
        parser.error("--run: expected the folder of a qdgs run; only --quick lets something stand in for it")
    for name in ("seeds", "workers"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the study; write intervals, figure and verdict."""
    given = arguments(argv)
    runs = tuple(run.resolve() for run in given.run or ())
    takes_no_run = not OF_RUNS & set(given.arms)
    study = Study(QUICK if given.quick else FULL, given.out.resolve(), runs, given.device, takes_no_run)
    seeds = given.seeds or (1 if given.quick else 3)
    carry_out(study, seeds, given.arms, given.workers)
    rows = {
        PRETRAINING: known_rows(study.out / PRETRAINED).astype({"seed": int}),
        REAL: known_rows(study.out / RESULTS),
    }
    table = pd.concat([intervals(own, after) for after, own in rows.items()], ignore_index=True)
    write_text(study.out / "intervals.csv", table.to_csv(index=False, float_format="%.6g"))
    print(table.to_string(index=False, float_format="{:.4f}".format))
    pure = purities(study.out, SETS)
    write_text(study.out / "purity.csv", pure.to_csv(index=False, float_format="%.6g"))
    rarest = study.faces(0).rarest
    for sentence in verdict(table, rarest):
        print(sentence)
    note = "" if study.runs else "a search by pixels stands in for the qdgs run"
    save(draw_study(rows, rarest, note), study.out / "accuracy.png")
    print(f"{study.out / 'results.csv'} · {study.out / 'accuracy.png'}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
