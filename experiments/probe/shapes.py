"""Does a probe find what is known to be wrong? Shape classifiers that rely on colour, and some that do not.

Classifiers are trained on drawn images of which a share `bias` of the triangles is red and of the squares is
blue; .5 is none. Each is probed with images of a generator that has hardly seen the other combinations, and
ranked by how far colour moves its answer: the mean over shapes (and sizes) of the probability of "square" on
blue figures less that on red ones. The truth is the same number on balanced drawings. It is taken of
probabilities, as at the level of answers most of these classifiers are tied: they err on every red square and
blue triangle, whether they were trained at .98 or at .90.

    ranking.csv       classifier, bias, true_gap, probed_gap, cause, p: one row a classifier. `cause` is the
                      attribute that the probe names at the 5 % level (none where it names none), p is Holm's
    correlation.csv   seed, classifiers, spearman: probed against true gaps of the classifiers of a seed
    failures.csv      classifier, model_calls, failures, distinct_failures, random_failures,
                      random_distinct_failures, failure_ratio: what a search for failures finds of the most
                      biased classifier of a seed, and chance at as many calls of the model

One row after the other goes into the CSV; a second call does what is missing.

    python experiments/probe/shapes.py --out experiments/probe/results
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from qdgs.config import load_config, plain
from qdgs.datasets.drawing import COLORS, SHAPES, biased_shapes
from qdgs.errors import InputError, QdgsError
from qdgs.files import write_text
from qdgs.probe.answers import Reader
from qdgs.probe.carry_out import confusion_of, prior_of
from qdgs.probe.effects import effect_of, effects
from qdgs.probe.examine import examine
from qdgs.probe.failures import search_failures
from qdgs.probe.kept import Kept
from qdgs.probe.models import load_probed
from qdgs.probe.samples import RESAMPLING, open_parts
from qdgs.probe_config import ProbeConfig, ProbedConfig, parse_probe
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.training.augmentation import rotate_randomly
from qdgs.training.classifier import ShapeClassifier
from qdgs.training.deployed import save_classifier
from qdgs.training.loop import train_classifier
from qdgs.training.pixels import to_pixels, to_unit
from shape_rows import COLUMNS, FAILURES, UNBIASED, Rows, classifier_name, correlations, csv_of, line_of, told

HERE = Path(__file__).resolve().parent
BIASES = (0.98, 0.95, 0.90, 0.85, 0.80)
TRAINING, WEIGHTS, TRUTH = range(300, 303)


@dataclass(frozen=True)
class Sizes:
    """How large the study is.

    Attributes:
        biased: Training images of a biased classifier.
        unbiased: Those of an unbiased one: it has to learn what the others need not.
        epochs: Of every training.
        image_size: Pixels that a classifier sees.
        probe: Images that it is probed with.
        pool: Random samples that the judges read.
        draws: At most so many samples are drawn for a set.
        truth: Balanced drawings that tell the true gap.
        evaluations: Calls of the model in a search for failures.
        attributes: What groups are made of.
    """

    biased: int = 1000
    unbiased: int = 2000
    epochs: int = 20
    image_size: int = 64
    probe: int = 320
    pool: int = 3000
    draws: int = 20_000
    truth: int = 1000
    evaluations: int = 4000
    attributes: tuple[str, ...] = ("color", "shape", "size")


FULL = Sizes()
QUICK = Sizes(
    biased=96,
    unbiased=96,
    epochs=2,
    image_size=32,
    probe=48,
    pool=1500,
    draws=1024,
    truth=80,
    evaluations=512,
    attributes=("color", "shape"),
)


@dataclass(frozen=True)
class Study:
    """What a process needs to do its part.

    Attributes:
        sizes: How large.
        out: Where classifiers, images and tables go.
        config: Configuration of a run of the shapes.
        classifiers: Folder of classifiers that exist already, or None.
    """

    sizes: Sizes
    out: Path
    config: Path
    classifiers: Path | None = None

    def classifier(self, bias: float, seed: int) -> Path:
        """The file of a classifier: that of an earlier study, or one trained here."""
        names = [f"{bias:.2f}_{seed}_biased.pt", f"{bias:.2f}_{seed}.pt"]
        folders = [folder for folder in (self.classifiers, self.out / "classifiers") if folder is not None]
        for path in (folder / name for folder in folders for name in names):
            if path.is_file():
                return path
        path = self.out / "classifiers" / names[-1]
        save_classifier(train(bias, seed, self.sizes), path)
        return path

    def probe(self, bias: float, seed: int) -> ProbeConfig:
        """The probe of a classifier; the images are those of its seed."""
        sizes = self.sizes
        return parse_probe(
            {
                "kind": "probe",
                "seed": seed,
                "run": plain(load_config(self.config)),
                "model": {"path": str(self.classifier(bias, seed))},
                "samples": {
                    "images": sizes.probe,
                    "pool": sizes.pool,
                    "draws": sizes.draws,
                    "attributes": list(sizes.attributes),
                },
                "findings": {"smallest": 8},
                "pairs": None,
                "failures": {"evaluations": sizes.evaluations},
            }
        )

    def kept(self, config: ProbeConfig) -> Kept:
        """Where the images of a seed are."""
        return Kept(self.out / "images" / str(config.seed), config)


def train(bias: float, seed: int, sizes: Sizes) -> ShapeClassifier:
    """A classifier of drawn images whose colours are biased."""
    n = sizes.unbiased if bias == UNBIASED else sizes.biased
    numbers = [
        torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, at)) for at in (WEIGHTS, TRAINING)
    ]
    classifier = ShapeClassifier(sizes.image_size, generator=numbers[0])
    images, shapes, _ = drawn(n, bias, seed, TRAINING, sizes.image_size)
    train_classifier(
        classifier,
        images,
        torch.from_numpy(shapes),
        epochs=sizes.epochs,
        generator=numbers[1],
        schedule="cosine",
        augment=rotate_randomly,
        precision="auto",
    )
    return classifier


def drawn(
    n: int, bias: float, seed: int, index: int, image_size: int
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Drawings as pixels `(n, 3, s, s)`, scaled down from 128, their shapes and colours."""
    rng = stream(seed, Stream.DRAWING, index)
    parts = [biased_shapes(min(500, n - start), bias, rng) for start in range(0, n, 500)]
    images = torch.cat([to_pixels(images, image_size) for images, _, _ in parts])
    return images, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def true_gap(path: Path, seed: int, sizes: Sizes) -> float:
    """How far colour moves a classifier's answer on balanced drawings."""
    config = ProbedConfig(path=str(path))
    images, shapes, colors = drawn(sizes.truth, UNBIASED, seed, TRUTH, sizes.image_size)
    answers = Reader(load_probed(config), config, SHAPES).read(to_unit(images).split(256))
    effect = effect_of("color", colors, COLORS, (0, 1), shapes, answers.probabilities[:, 1], answer=SHAPES[1])
    return effect.change.value


def row_of(study: Study, bias: float, seed: int) -> dict[str, Any]:
    """Probe one classifier; its row of ranking.csv."""
    config = study.probe(bias, seed)
    parts, kept = open_parts(config), study.kept(config)
    pool = kept.pool(parts)
    images = kept.probe_set(parts, pool)
    reader = Reader(load_probed(config.model), config.model, parts.attributes["shape"])
    answers = reader.read(parts.images(images.latents))
    examined = examine(
        answers,
        images,
        stream(seed, Stream.PROBING, RESAMPLING),
        attribute="shape",
        settings=config.findings,
        confusion=confusion_of(parts),
        prior=prior_of(parts, pool),
    )
    places = {name: images.places(name) for name in images.attributes}
    told = effects(answers.probabilities, answers.values, None, places, images.attributes, ["color"])
    cause = examined.cause
    path = Path(str(config.model.path))
    return {
        "classifier": classifier_name(bias, seed),
        "bias": bias,
        "true_gap": true_gap(path, seed, study.sizes),
        "probed_gap": told[0].change.value,
        "cause": "none" if cause is None else cause.effect.attribute,
        "p": min(finding.p for finding in examined.findings),
    }


def failures_of(study: Study, seed: int) -> dict[str, Any]:
    """A search for the failures of a seed's most biased classifier."""
    config = study.probe(max(BIASES), seed)
    parts = open_parts(config)
    reader = Reader(load_probed(config.model), config.model, parts.attributes["shape"])
    found = search_failures(parts, reader, study.kept(config).pool(parts))
    return {"classifier": classifier_name(max(BIASES), seed), **found.summary}


def images_of(study: Study, seed: int) -> int:
    """Draw the images of a seed, where they are not there yet."""
    config = study.probe(UNBIASED, seed)
    parts, kept = open_parts(config), study.kept(config)
    return len(kept.probe_set(parts, kept.pool(parts)))


def carry_out(
    study: Study, cells: Sequence[tuple[float, int]], workers: int, *, failures: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Do what is missing, rows of ranking.csv and of failures.csv; every row is written when it is there."""
    ranking, found = Rows(study.out / "ranking.csv", COLUMNS), Rows(study.out / "failures.csv", FAILURES)
    missing = [cell for cell in cells if classifier_name(*cell) not in ranking.classifiers]
    worst = [seed for bias, seed in cells if bias == max(BIASES) and failures]
    unsearched = [seed for seed in worst if classifier_name(max(BIASES), seed) not in found.classifiers]
    with _pool(workers) as pool:
        seeds = sorted({*unsearched, *(seed for _, seed in missing)})
        for done in as_completed([pool.submit(images_of, study, seed) for seed in seeds]):
            print(f"images: {done.result()}", flush=True)
        waiting = {pool.submit(row_of, study, *cell): ranking for cell in missing}
        waiting |= {pool.submit(failures_of, study, seed): found for seed in unsearched}
        for future in as_completed(waiting):
            waiting[future].add(future.result())
            print(line_of(future.result()), flush=True)
    write_text(study.out / "correlation.csv", csv_of(correlations(ranking.frame)))
    return ranking.frame, found.frame


def _pool(workers: int) -> ProcessPoolExecutor:
    os.environ["OMP_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Probe shape classifiers whose bias is known.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables, and of what they take")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1 of the biased classifiers")
    parser.add_argument("--unbiased", type=int, default=10, help="seeds of the unbiased ones")
    parser.add_argument("--classifiers", type=Path, help="folder that debias.py --save or --work kept")
    parser.add_argument("--config", type=Path, default=HERE.parents[1] / "configs" / "shapes.yaml")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    given = parser.parse_args(argv)
    for name in ("seeds", "unbiased", "workers"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out the study, and say what it found."""
    given = arguments(argv)
    seeds, fair = (1, 1) if given.quick else (given.seeds, given.unbiased)
    study = Study(QUICK if given.quick else FULL, given.out, given.config, given.classifiers)
    cells = [(bias, seed) for seed in range(seeds) for bias in BIASES]
    cells += [(UNBIASED, seed) for seed in range(fair)]
    print("\n".join(told(*carry_out(study, cells, given.workers, failures=True))))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
