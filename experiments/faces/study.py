"""Four ways to a balanced set of rendered faces: what they give, and the whole of what they cost.

    random            random samples as they come
    rejection         random samples kept until every group is full, over the shipped bank of judged samples
    prior-restarts    CMA-MAE, half of whose budget are fresh samples, with short restarts
    qdgs              the search of configs/faces.yaml

Each gives as many images, for three seeds. `qdgs compare` (comparison.yaml) makes and grades the sets; here
they are also read for what it does not tell, beside random samples that are in none of them:

    max_share_error_by_teacher, normalized_entropy_by_teacher
                                of the groups as the guide's teachers read them; the comparison's are the
                                auditor's
    faces_found                 share of images in which dlib finds a face
    kernel_distance             to random samples of the same group: mean over groups, 0 where there is none
    told_from_random            accuracy of a classifier that tells them from these; 0.5 is chance
    leakage                     how well background luminance alone tells the group; 0.5 is not at all
    another_class_at_one_stop   share of faces whose lightness class changes with one stop of light

    python experiments/faces/study.py --out runs/faces-study
    python experiments/faces/study.py --out OUT --quick

OUT/numbers.csv holds these, OUT/comparison/ everything that the comparison tells, OUT/costs.png costs against
the number of images, the guide's training counted and not. A second call does what is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import qdgs.weights
from bank_rejection import BankRejection, bank_rows
from qdgs.compare_config import CompareConfig, load_compare
from qdgs.comparison.cells import Bench
from qdgs.comparison.compare import compare
from qdgs.display import Bar
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.intervals import Estimate
from qdgs.files import read_json, write_text
from qdgs.randomness import Stream, stream
from qdgs.report.comparison import draw_costs
from qdgs.samplers.base import SAMPLERS, Problem, sample_rows
from qdgs.stages.bank import Bank
from qdgs.stages.frames import read_frame
from qdgs.stages.judged_bank import JudgedBank
from realism import FaceSet, face_set, numbers

HERE = Path(__file__).resolve().parent
WEIGHTS = Path(qdgs.weights.__file__).parent
COLUMNS = ["method", "seed", "metric", "value", "low", "high"]
REFERENCE = 3000
GUIDED = ("prior-restarts", "qdgs")
HUNTED = 2 * 20_000 + 3 * 40_000
"""Evaluations of the searches for the guide's mistakes, experiments/weights/faces_hunt_*.yaml."""
ORDER, READ = range(2)


class Study:
    """The comparison's cells, read for what the comparison does not tell.

    Args:
        config: The comparison.
        out: Folder of the study.
        device: Where models work.
    """

    def __init__(self, config: CompareConfig, out: Path, device: str) -> None:
        self.config, self.out = config, out
        self.comparison = out / "comparison"
        bench = Bench(config, self.comparison, device)
        self.cells = bench.cells()
        self.problem: Problem = bench.problem(self.cells[0])
        bank = Bank(
            self.problem.generator,
            samples=config.run.audit.samples,
            micro_batch=config.run.search.micro_batch,
        )
        self.embedding = bank.embedding()

    def carry_out(self) -> pd.DataFrame:
        """Read every set that was not read yet; all rows."""
        path = self.out / "numbers.csv"
        rows = known_rows(path)
        for seed in self.config.every_seed:
            todo = [cell for cell in self.cells if cell.seed == seed and not _has(rows, cell.title, seed)]
            reference = self._reference(seed) if todo else None
            for cell in todo:
                assert reference is not None, "made for those that are to do"
                mine = face_set(self.problem, self._rows(cell.title, seed), self.embedding)
                told = numbers(mine, reference, self.problem.groups, stream(seed, Stream.COMPARISON, READ))
                found = [
                    [cell.title, seed, name, estimate.value, estimate.low, estimate.high]
                    for name, estimate in told.items()
                ]
                rows = pd.DataFrame([*rows.to_numpy().tolist(), *found], columns=COLUMNS)
                write_text(path, rows.to_csv(index=False, float_format="%.6g"))
                print(_line(cell.title, seed, told), flush=True)
        return rows

    def _rows(self, title: str, seed: int) -> pd.DataFrame:
        return read_frame(self.comparison / "cells" / str(seed) / f"{title}.parquet", "compare")

    def _reference(self, seed: int) -> FaceSet:
        """Judged samples of the bank that no set of the seed holds, as many of each group as there are."""
        problem, bank = self.problem, JudgedBank.open()
        read = bank_rows(problem, len(bank))
        groups = problem.group_of(read).where(read["accepted"].to_numpy(bool), None)
        latents = bank.latents(problem.generator)
        used = {tuple(row) for row in self._latents("rejection", seed)}
        order = stream(seed, Stream.COMPARISON, ORDER).permutation(len(bank))
        free = [row for row in order if groups[row] and tuple(latents[row, :4].tolist()) not in used]
        chosen = pd.Series(free).groupby(groups[free].to_numpy()).head(REFERENCE // len(problem.groups))
        kept = chosen.to_numpy(copy=True)
        return face_set(problem, sample_rows(problem, latents[kept], read.iloc[kept]), self.embedding)

    def _latents(self, title: str, seed: int) -> list[list[float]]:
        rows = self._rows(title, seed)
        return rows[[f"latent_{place:04d}" for place in range(4)]].to_numpy("float32").astype(float).tolist()


def known_rows(path: Path) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: The file holds something else.
    """
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.read_csv(path)
    if list(rows.columns) != COLUMNS:
        raise InputError(f"{path}: expected rows of this study, got something else; choose another --out")
    return rows


def with_training(frame: pd.DataFrame, labelled: int) -> pd.DataFrame:
    """The comparison's rows and those of searches with the training of their guide counted.

    Args:
        frame: Rows of the comparison.
        labelled: Images that the guide's teachers, two of them, labelled for its training.
    """
    more = {"generator_calls": labelled + (HUNTED if labelled else 0), "judge_labels": 2 * labelled}
    rows = frame[frame["method"].isin(GUIDED)].copy()
    rows["method"] = rows["method"] + ", guide's training counted"
    for name, amount in more.items():
        rows.loc[rows["metric"].isin([name, f"{name}_once"]), "value"] += amount
    return pd.concat([frame, rows], ignore_index=True)


def training_labels(config: CompareConfig) -> int:
    """Images that were labelled to train the guide, as its card tells; 0 where it tells nothing."""
    clip = config.run.guide.clip
    card = WEIGHTS / clip.model / "card.json" if clip else WEIGHTS
    if not card.is_file():
        return 0
    return int(read_json(card).get("images_labelled_by_the_teachers", 0))


def _has(rows: pd.DataFrame, method: str, seed: int) -> bool:
    return bool(((rows["method"] == method) & (rows["seed"] == seed)).any())


def _line(title: str, seed: int, told: dict[str, Estimate]) -> str:
    return f"{title:<15}seed {seed}  " + "  ".join(f"{name} {one.value:.3f}" for name, one in told.items())


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Balanced sets of rendered faces, and what they cost.")
    parser.add_argument("--out", type=Path, required=True, help="folder of results and what leads to them")
    parser.add_argument("--config", type=Path, default=HERE / "comparison.yaml")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="A.B=C", help="over any key of the comparison"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Make and grade the sets, read them further, and write table and figure."""
    given = arguments(argv)
    SAMPLERS["bank-rejection"] = BankRejection
    config = load_compare(given.config, given.set, quick=given.quick)
    with Bar(sys.stderr) as bar:
        compared = compare(config, given.out / "comparison", device=given.device, watch=bar.watch)
    for cell, sentence in compared.failed.items():
        raise QdgsError(f"{cell}: {sentence}")
    rows = Study(config, given.out, given.device).carry_out()
    frame = pd.read_csv(given.out / "comparison" / "comparison.csv")
    draw_costs(with_training(frame, training_labels(config)), given.out / "costs.png")
    means = rows.groupby(["method", "metric"], sort=False)["value"].mean().unstack()
    print(means.to_string(float_format="{:.3f}".format))
    print(f"{given.out / 'numbers.csv'} · {given.out / 'costs.png'} · {given.out / 'comparison'}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
