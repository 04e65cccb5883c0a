"""Is a classifier that is trained on a balanced set of faces fairer? Its labels are none of the set's.

A small network learns whether a face looks young or old to `faces-xception`, which neither taught the guide
nor chose an image: that judge's words label the images of every set alike, and those that it cannot read are
left out. It is trained on each set of study.py and tested on judged samples of the bank that are in none,
as many of each of the 12 groups (lightness by `face-light`, presentation and age by `faces-xception`). Of
every set as many images are taken, at random, so that none wins by size.

    python experiments/faces/study.py --out runs/faces-study
    python experiments/faces/downstream.py --study runs/faces-study --out runs/faces-study/downstream.csv

A row a method and seed: balanced accuracy (the mean of both ages' recalls, which the share of old faces in
training does not move by itself) over all test images and its mean over the 6 groups of lightness and
presentation; the group that is worst on one half of the test images with its accuracy on the other half, so
that choosing it costs nothing; and the difference and ratio between groups (fairlearn's MetricFrame). A
second call does what is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fairlearn.metrics import MetricFrame
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from qdgs.compare_config import load_compare
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.classification import paired_interval
from qdgs.files import write_text
from qdgs.generators.base import Generator, generate
from qdgs.generators.stored import as_stored
from qdgs.judges.base import judge_batches
from qdgs.judges.strata import AGES
from qdgs.parts import load_generator, load_judge
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.stages.frames import read_frame
from qdgs.stages.judged_bank import JudgedBank
from qdgs.training.augmentation import flip_randomly
from qdgs.training.classifier import ShapeClassifier
from qdgs.training.loop import predict, train_classifier
from qdgs.training.pixels import to_pixels, unit_batches

JUDGE = "faces-xception"
COLUMNS = [
    "method", "seed", "images", "accuracy", "mean_of_groups", "worst_group", "worst_chosen",
    "worst_estimated", "difference", "ratio",
]  # fmt: skip
TEST, WEIGHTS, ORDER, CHOSEN = range(4)


@dataclass(frozen=True)
class Sizes:
    """How much is trained and tested.

    Attributes:
        epochs: Of a training.
        train: Training images of each set, fewer where it has fewer that the judge can read.
        test: Test images of each group, fewer where the bank has fewer.
    """

    epochs: int = 30
    train: int = 1800
    test: int = 120


@dataclass(frozen=True, eq=False)
class Faces:
    """Labelled faces in memory.

    Attributes:
        images: `(n, 3, 64, 64)`, uint8.
        labels: `(n,)`, 0 young, 1 old.
        groups: Lightness and presentation `(n,)`.
    """

    images: Tensor
    labels: Tensor
    groups: np.ndarray


class Task:
    """The sets of a study, and the test images.

    Args:
        study: Folder of the study.
        sizes: How much.
    """

    def __init__(self, study: Path, sizes: Sizes) -> None:
        self.cells = study / "comparison" / "cells"
        config = study / "comparison" / "config.yaml"
        if not config.is_file():
            raise InputError(f"{study}: expected the folder of a study, got none; run study.py first")
        self.config, self.sizes = load_compare(config), sizes
        self.generator: Generator = load_generator(self.config.run.generator)
        self.judge = load_judge(JUDGE)

    @property
    def cells_held(self) -> list[tuple[str, int]]:
        """Methods and seeds that the study holds."""
        found = sorted(self.cells.glob("*/*.parquet"))
        return [(path.stem, int(path.parent.name)) for path in found]

    def training(self, method: str, seed: int) -> Faces:
        """The images of a set that the judge can read, with its labels."""
        rows = read_frame(self.cells / str(seed) / f"{method}.parquet", "study")
        images = self._rendered(latents_of(rows))
        read = judge_batches(self.judge, unit_batches(images))
        told = np.flatnonzero((read["age"].notna() & read["accepted"]).to_numpy(bool))
        kept = stream(seed, Stream.SPLITS, CHOSEN).permutation(told)[: self.sizes.train]
        return Faces(
            images[torch.from_numpy(kept)], _codes(read["age"].iloc[kept]), np.array([""] * len(kept))
        )

    @cached_property
    def test(self) -> Faces:
        """As many samples of each group, of those that no set holds."""
        bank = JudgedBank.open()
        light, read = bank.judged("face-light"), bank.judged(JUDGE)
        told = light["accepted"] & read["accepted"]
        for values in (light["lightness"], read["presentation"], read["age"]):
            told &= values.notna()
        latents = bank.latents(self.generator)
        used = self._used()
        free = np.array([key not in used for key in map(tuple, latents[:, :4].tolist())])
        rows = np.flatnonzero(told.to_numpy(bool) & free)
        groups = (light["lightness"] + "/" + read["presentation"] + "/" + read["age"]).iloc[rows]
        order = stream(0, Stream.SPLITS, TEST).permutation(len(rows))
        smallest = int(groups.value_counts().min())
        chosen = groups.iloc[order].groupby(groups.iloc[order]).head(min(self.sizes.test, smallest)).index
        picked = chosen.to_numpy(copy=True)
        return Faces(
            self._rendered(latents[picked]),
            _codes(read["age"].iloc[picked]),
            groups[chosen].str.rpartition("/")[0].to_numpy(str),
        )

    def score(self, method: str, seed: int) -> dict[str, object]:
        """Train on a set, and test."""
        faces, test = self.training(method, seed), self.test
        model = ShapeClassifier(test.images.shape[-1], generator=_torch_generator(seed, WEIGHTS))
        train_classifier(
            model,
            faces.images,
            faces.labels,
            epochs=self.sizes.epochs,
            generator=_torch_generator(seed, ORDER),
            schedule="cosine",
            augment=flip_randomly,
            precision="auto",
        )
        guessed = (predict(model, test.images) > 0).long().numpy()
        return {
            "method": method, "seed": seed, "images": len(faces.images), **told(test, guessed, seed)
        }  # fmt: skip

    def _used(self) -> set[tuple[float, ...]]:
        columns = [f"latent_{place:04d}" for place in range(4)]
        frames = [pd.read_parquet(path, columns=columns) for path in self.cells.glob("*/*.parquet")]
        return {tuple(row) for frame in frames for row in frame.to_numpy("float32").astype(float).tolist()}

    def _rendered(self, latents: Tensor) -> Tensor:
        return torch.cat([to_pixels(as_stored(images)) for images in generate(self.generator, latents)])


def told(test: Faces, guessed: np.ndarray, seed: int) -> dict[str, object]:
    """Numbers of a classifier by what it says of the test images `(n,)`."""
    labels = test.labels.numpy()
    frame = MetricFrame(
        metrics=balanced_accuracy_score, y_true=labels, y_pred=guessed, sensitive_features=test.groups
    )
    half = _halves(test.groups, stream(seed, Stream.SPLITS, TEST + 1))
    chosen, estimated = (
        MetricFrame(
            metrics=balanced_accuracy_score,
            y_true=labels[part],
            y_pred=guessed[part],
            sensitive_features=test.groups[part],
        ).by_group
        for part in (half, ~half)
    )
    worst = str(chosen.idxmin())
    return {
        "accuracy": frame.overall,
        "mean_of_groups": float(frame.by_group.mean()),
        "worst_group": worst,
        "worst_chosen": float(chosen[worst]),
        "worst_estimated": float(estimated[worst]),
        "difference": frame.difference(),
        "ratio": frame.ratio(),
    }


def _halves(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of each group's rows, at random `(n,)`."""
    first = np.zeros(len(groups), dtype=bool)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        first[rows[: len(rows) // 2]] = True
    return first


def _codes(values: pd.Series) -> Tensor:
    return torch.from_numpy((values == AGES[1]).to_numpy(np.int64))


def _torch_generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, index))


def differences(rows: pd.DataFrame, method: str = "qdgs") -> list[str]:
    """A method's paired differences from the others, a sentence each."""
    sentences = []
    for column in ("mean_of_groups", "worst_estimated"):
        wide = rows.pivot(index="seed", columns="method", values=column).dropna()
        for other in (name for name in wide if name != method and method in wide):
            found = paired_interval(wide[method], wide[other])
            sentences.append(
                f"{column}: {method} minus {other} {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
            )
    return sentences


def main(argv: Sequence[str] | None = None) -> None:
    """Train on every set that was not trained on yet."""
    parser = argparse.ArgumentParser(description="Train a classifier on each set of faces.")
    parser.add_argument("--study", type=Path, required=True, help="folder of study.py")
    parser.add_argument("--out", type=Path, required=True, help="CSV")
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it works")
    given = parser.parse_args(argv)
    task = Task(given.study, Sizes(epochs=2, test=5) if given.quick else Sizes())
    rows = pd.read_csv(given.out) if given.out.is_file() else pd.DataFrame(columns=COLUMNS)
    if list(rows.columns) != COLUMNS:
        raise InputError(
            f"{given.out}: expected rows of this study, got something else; choose another --out"
        )
    done = set(zip(rows["method"], rows["seed"], strict=True))
    for method, seed in task.cells_held:
        if (method, seed) in done:
            continue
        row = task.score(method, seed)
        rows = pd.DataFrame([*rows.to_dict("records"), row], columns=COLUMNS)
        write_text(given.out, rows.to_csv(index=False, float_format="%.6g"))
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    print("\n".join(differences(rows)))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
