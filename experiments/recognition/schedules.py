"""How the study's trainings were set: by the arm `random`, on identities that are in none of its tables.

    python experiments/recognition/schedules.py --out OUT --seed 1

OUT is a folder of study.py; what it lacks of the seed's sets is made. Each schedule's recogniser tells the
images of `random-gated` apart, which none of the study's own arms is trained on and no pair is of; its
accuracy is one minus the equal error rate. OUT/schedules-SEED.csv has a row a schedule; a second call does
what is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from qdgs.randomness import Stream, stream
from qdgs.recognition.checkpoint import load_backbone
from qdgs.recognition.embedding import embed
from qdgs.recognition.images import read_identities
from qdgs.recognition.purity import identity_purity
from qdgs.recognition.train_run import train_recogniser
from recognition_purity import pixels_of
from recognition_sets import FULL, Sizes
from study import Study

ARM, DEVELOPMENT = "random", "random-gated"
TOLD_APART = 4000
"""Images of the development set, the first ones."""


@dataclass(frozen=True)
class Schedule:
    """Trainings in turn, each of so many epochs from such a rate on; a rate of none leaves it out."""

    scale: float
    pretraining: tuple[int, float] | None
    real: tuple[int, float] | None = None

    @property
    def name(self) -> str:
        """Names its folder."""
        parts = [
            "none" if part is None else f"{part[0]}x{part[1]:g}" for part in (self.pretraining, self.real)
        ]
        return f"{self.scale:g}-{'-'.join(parts)}"


SCHEDULES = (
    Schedule(64, (6, 0.05)),
    Schedule(64, (26, 0.1)),
    Schedule(16, (6, 0.05)),
    Schedule(16, (12, 0.05)),
    Schedule(16, (12, 0.05), (26, 0.05)),
    Schedule(16, (12, 0.05), (12, 0.02)),
    Schedule(16, None, (26, 0.05)),
)


def carry_out(schedules: Sequence[Schedule], sizes: Sizes, out: Path, seed: int) -> pd.DataFrame:
    """Train what is missing, and tell how well each schedule's recogniser tells identities apart.

    Returns:
        A row a schedule with scale, epochs and rate of both trainings, and accuracy.
    """
    Study(sizes, out, (), "cpu").prepare(seed, [ARM, DEVELOPMENT])
    rows = []
    for schedule in schedules:
        study = Study(replace(sizes, scale=schedule.scale), out, (), "cpu")
        run = _trained(study, schedule, seed)
        row = {"scale": schedule.scale}
        for name, part in (("pretrain", schedule.pretraining), ("real", schedule.real)):
            row |= dict(zip((f"{name}_epochs", f"{name}_rate"), part or (0, 0), strict=True))
        rows.append({**row, "accuracy": accuracy(run, study.seed_folder(seed) / f"set-{DEVELOPMENT}")})
        print(f"{schedule.name:<20}{rows[-1]['accuracy']:.3f}", flush=True)
    return pd.DataFrame(rows)


def _trained(study: Study, schedule: Schedule, seed: int) -> Path:
    folder, run = study.seed_folder(seed), None
    for part, data in ((schedule.pretraining, f"set-{ARM}"), (schedule.real, "real")):
        if part is not None:
            done = replace(schedule, real=None) if data != "real" else schedule
            config = study.config(folder / data, seed, *part, start=run)
            run = folder / "schedules" / done.name
            train_recogniser(config, run, device="cpu")
    if run is None:
        raise ValueError(f"{schedule}: expected a training, got none")
    return run


def accuracy(run: Path, folder: Path) -> float:
    """One minus the equal error rate of a trained recogniser on a folder of identities."""
    images, backbone = read_identities(folder), load_backbone(run)
    files, labels = images.files[:TOLD_APART], np.asarray(images.labels[:TOLD_APART])
    embeddings = embed(backbone, pixels_of(files, backbone.image_size))
    return 1 - identity_purity(embeddings, labels, stream(0, Stream.BOOTSTRAP)).equal_error_rate


def main(argv: Sequence[str] | None = None) -> None:
    """Carry it out."""
    parser = argparse.ArgumentParser(description="Compare schedules on identities that are in no table.")
    parser.add_argument("--out", type=Path, required=True, help="folder of study.py")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    table = carry_out(SCHEDULES, FULL, given.out.resolve(), given.seed)
    write_text(given.out / f"schedules-{given.seed}.csv", table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
