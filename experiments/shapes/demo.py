"""The whole engine in one go: a biased generator becomes a balanced set, which repairs a biased classifier.

Runs configs/shapes.yaml, then trains one seed of three classifiers at a colour bias of .98: on the biased
images alone, and tuned on as many random samples of the generator as the dataset has images, and on the
dataset.

    python experiments/shapes/demo.py --out runs/demo
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from debias import Study, carry_out, cells_of
from debias_protocol import FULL, GROUPS, QUICK
from qdgs.errors import QdgsError
from qdgs.run import Run

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "shapes.yaml"
BIAS = 0.98
ARMS = ("biased", "random", "qdgs")
TRAINED_ON = {
    "biased": "biased drawings alone",
    "random": "then random samples",
    "qdgs": "then the balanced dataset",
}
PICTURE = Path("figures") / "before_after.png"
NUMBERS = {
    "label_agreement": "labels that the auditor confirms",
    "smallest_group_share": "share of the smallest group (a quarter is fair)",
    "max_share_error": "largest error of a group's share",
    "normalized_entropy": "entropy of the groups, 1 is uniform",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Make the run, train the classifiers, and tell what came out."""
    given = arguments(argv)
    begun = time.monotonic()
    make_run(given.config, given.out, given.overrides)
    print("\nClassifiers of triangles and squares: one seed", flush=True)
    rows = train(Run.open(given.out), given.out / "classifiers", quick=given.quick)
    print(described(Run.open(given.out), rows))
    if given.picture is not None:
        given.picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given.out / PICTURE, given.picture)
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="From one YAML file to a repaired classifier.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--picture", type=Path, help="where the first picture is copied to as well")
    parser.add_argument("--set", dest="overrides", metavar="a.b=VALUE", action="append", default=[])
    parser.add_argument("--quick", action="store_true", help="train on a handful, to see that it works")
    return parser.parse_args(argv)


def make_run(config: Path, out: Path, overrides: Sequence[str]) -> None:
    """`qdgs run`, as one would type it; what is there already is not done again."""
    program = Path(sys.executable).with_name("qdgs")
    settings = [
        part
        for override in ("search.seconds=120", "dataset.on_shortage=accept", *overrides)
        for part in ("--set", override)
    ]
    command = [str(program), "run", str(config), "--out", str(out), *settings]
    print("$ " + " ".join(["qdgs", *command[1:]]), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def train(run: Run, folder: Path, *, quick: bool = False) -> pd.DataFrame:
    """Train the three classifiers, the two tuned ones side by side."""
    settings = replace(QUICK if quick else FULL, images=int(run.summary["images"]))
    study = Study(settings, CONFIG, folder, keep=folder, run=run.path)
    workers = min(2, os.cpu_count() or 1)
    return carry_out(study, cells_of([BIAS], 1, ARMS), folder / "debias.csv", workers)


def described(run: Run, rows: pd.DataFrame) -> str:
    """Two small tables, and where the files are."""
    lines = ["", f"{'':<50}{'random':>8}{'dataset':>9}"]
    for key, text in NUMBERS.items():
        lines.append(f"{text:<50}{_number(run.summary, f'random_{key}')}{_number(run.summary, key):>9}")
    lines += [
        "",
        f"{'classifier trained on':<27}{'mean':>7}{'worst':>7}" + _cells(g.replace("_", " ") for g in GROUPS),
    ]
    for row in rows.to_dict("records"):
        numbers = f"{row['accuracy']:>7.3f}{row['worst_group']:>7.3f}" + _cells(
            f"{row[g]:.3f}" for g in GROUPS
        )
        lines.append(f"{TRAINED_ON[row['training']]:<27}{numbers}")
    files = (PICTURE, Path("report.html"), Path("dataset"), Path("summary.json"), Path("classifiers"))
    return "\n".join([*lines, "", *(str(run.path / file) for file in files)])


def _cells(texts: Any) -> str:
    return "".join(f"{text:>15}" for text in texts)


def _number(summary: dict[str, Any], key: str) -> str:
    value = summary.get(key)
    return f"{'–' if value is None else format(value, '.3f'):>8}"


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
