"""Paired latents on the shapes: does training on pairs make a classifier fairer, and what does it cost?

A classifier learns a target of drawn figures (their shape, their size, which way they are turned) of which a
share `bias` has the colour that goes with it. The arms:

    base           the drawn images alone
    random         and random samples of the generator, labelled by the judge
    pairs          and samples with partners of the opposite colour: the method as published
    projected      and samples with partners on the colour's boundary (ablation)
    color-alone    and partners along the colour's normal alone (ablation)
    per-color      and partners by a boundary of the target for each colour (extension)
    mixtures       and samples of mixtures fitted to each group (ours, no pairs)

Named before it was run: pairs lower DEO and |BA| against base, at a loss of at most 0.02 of AP, as published.

Every arm trains for as many steps. AP, DEO, BA and KL are told on drawn images of the same bias. Everything
of a seed is paired. One row a cell goes into the CSV; a second call does what is missing.
FILE_differences.csv has each arm less base, and less random: what more images do is not what pairs do.

    python experiments/comparison/paired.py --seeds 3 --out experiments/comparison/results/paired.csv
"""

import argparse
import atexit
import functools
import itertools
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from paired_task import ATTRIBUTES, TARGETS, PairedTask, Pictures, Remembering, TurningJudge
from qdgs.comparison.endpoints import verdict
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.classification import classification_metrics, paired_interval
from qdgs.files import write_text
from qdgs.generators.base import generate
from qdgs.parts import load_generator, made_of
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.samplers.base import SAMPLERS, Problem
from qdgs.training.classifier import ShapeClassifier
from qdgs.training.loop import predict, train_classifier
from qdgs.training.pixels import to_pixels
from study_settings import check_settings

ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "base": ("", {}),
    "random": ("random", {}),
    "pairs": ("paired-latents", {}),
    "projected": ("paired-latents", {"factor": 1.0}),
    "color-alone": ("paired-latents", {"keep_label": False}),
    "per-color": ("paired-latents", {"label_per_protected": True}),
    "mixtures": ("latent-mixtures", {}),
}
METRICS = (
    "average_precision", "equal_opportunity_difference", "bias_amplification", "score_divergence",
)  # fmt: skip
KEY = ["target", "seed", "arm"]
COLUMNS = [*KEY, *METRICS, "images", "notes"]
TRAINING, TEST, SAMPLES, WEIGHTS = range(200, 204)
MOST = {"average_precision": 0.02, "equal_opportunity_difference": 0.0, "bias_amplification": 0.0}
"""What a difference to base may be for the worse, where more of AP and less of the others is better."""


@dataclass(frozen=True)
class Sizes:
    """How large the study is.

    Attributes:
        drawn: Training images that are drawn.
        generated: Images added to them.
        labelled: Samples that hyperplanes and mixtures are learned from.
        epochs: Of a training on all of them; one on fewer images takes as many steps.
        batch_size: Images a step.
        test: Test images.
        image_size: Pixels that the classifier sees.
    """

    drawn: int = 1000
    generated: int = 2000
    labelled: int = 15_000
    epochs: int = 15
    batch_size: int = 32
    test: int = 5000
    image_size: int = 32

    def epochs_for(self, images: int) -> int:
        """Epochs of a training on so many images."""
        return round(self.epochs * (self.drawn + self.generated) / images)


QUICK = Sizes(drawn=60, generated=40, labelled=240, epochs=2, test=80, image_size=16)


@functools.cache
def turning_judge() -> Remembering:
    """One for all cells."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Remembering(TurningJudge(), Path(folder))


def problem_of(target: str, generator: str, images: int) -> Problem:
    """The generator with colour as the protected attribute of a target."""
    attributes = {"color": ATTRIBUTES["color"], target: ATTRIBUTES[target]}
    groups = [f"{color}/{value}" for color in attributes["color"] for value in attributes[target]]
    shares = dict.fromkeys(groups, 1 / len(groups))
    return Problem(load_generator(generator), turning_judge(), attributes, target, shares, images)


def generated(arm: str, problem: Problem, seed: int, sizes: Sizes) -> tuple[Pictures, str]:
    """The images that an arm adds, and the method's notes; those without a label are left out."""
    name, options = ARMS[arm]
    if name == "paired-latents":
        options = {"labelled": sizes.labelled, "held_out": sizes.labelled // 3, **options}
    if name == "latent-mixtures":
        options = {"samples": sizes.labelled}
    sampler = made_of(SAMPLERS, name, options, "arm")
    sampler.fit(problem, stream(seed, Stream.SAMPLING, 0))
    rows = sampler.sample(sizes.generated, stream(seed, Stream.SAMPLING, 1))
    rows = rows[rows["label"].notna()]
    images = torch.cat(
        [to_pixels(part, sizes.image_size) for part in generate(problem.generator, latents_of(rows))]
    )
    second = problem.attributes[problem.label][1]
    targets = torch.from_numpy((rows["label"] == second).to_numpy(np.int64))
    return Pictures(images, targets, torch.full_like(targets, -1)), "; ".join(sampler.notes)


def scored(pictures: Pictures, test: Pictures, seed: int, sizes: Sizes) -> dict[str, float]:
    """AP, DEO, BA and KL on the test images of a classifier that was trained on some."""
    numbers = torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, WEIGHTS))
    classifier = ShapeClassifier(sizes.image_size, generator=numbers)
    train_classifier(
        classifier,
        pictures.images,
        pictures.targets,
        epochs=sizes.epochs_for(len(pictures.targets)),
        batch_size=sizes.batch_size,
        generator=numbers,
        schedule="cosine",
    )
    logits = predict(classifier, test.images).numpy()
    rng = np.random.default_rng(0)  # one resample: the intervals of this study are over seeds
    told = classification_metrics(test.targets.numpy(), logits, test.colors.numpy(), rng, resamples=1)
    return {name: told[name].value for name in METRICS}


def cell(target: str, seed: int, arm: str, *, bias: float, generator: str, sizes: Sizes) -> dict[str, Any]:
    """One row of the study."""
    task = PairedTask(target, bias, sizes.image_size)
    pictures = task.pictures(sizes.drawn, stream(seed, Stream.DRAWING, TRAINING))
    test, notes = task.pictures(sizes.test, stream(seed, Stream.DRAWING, TEST)), ""
    if arm != "base":
        added, notes = generated(arm, problem_of(target, generator, sizes.generated), seed, sizes)
        pictures = pictures.followed_by(added)
    numbers = scored(pictures, test, seed, sizes)
    return {
        "target": target,
        "seed": seed,
        "arm": arm,
        **numbers,
        "images": len(pictures.targets),
        "notes": notes,
    }


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Each arm less base and less random, seed by seed: means, Student's 95 % intervals; of BA, |BA|."""
    rows = rows.assign(bias_amplification=rows["bias_amplification"].abs())
    told = []
    arms = [arm for arm in rows["arm"].unique() if arm != "base"]
    for target, arm, metric, against in itertools.product(
        rows["target"].unique(), arms, METRICS, ("base", "random")
    ):
        of = rows[rows["target"] == target].pivot(index="seed", columns="arm", values=metric)
        if arm == against or not {arm, against} <= set(of):
            continue
        both = of[[arm, against]].dropna()
        if len(both):
            gain = paired_interval(both[arm], both[against])
            means = both[against].mean(), both[arm].mean()
            told.append((target, arm, metric, against, *means, gain.value, gain.low, gain.high, len(both)))
    columns = "target arm metric against without with difference low high seeds"
    return pd.DataFrame(told, columns=columns.split())


def verdicts(table: pd.DataFrame, arm: str = "pairs") -> list[str]:
    """What the study says of each of its endpoints."""
    told = []
    of_arm = (table["arm"] == arm) & (table["against"] == "base") & table["metric"].isin(MOST)
    for row in table[of_arm].itertuples():
        sign = 1 if row.metric == "average_precision" else -1
        room = sign * row.difference + MOST[row.metric]
        least = min(sign * row.low, sign * row.high) + MOST[row.metric]
        told.append(
            f"{row.target}, {row.metric}: {arm} {row.difference:+.3f} against base: {verdict(room, least)}"
        )
    return told


def known_rows(out: Path) -> pd.DataFrame:
    """Rows of an earlier call.

    Raises:
        InputError: The file holds something else.
    """
    if not out.exists():
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.read_csv(out, keep_default_na=False)
    if list(rows.columns) != COLUMNS:
        raise InputError(f"{out}: expected rows of this study, got something else; choose another --out")
    return rows


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Paired latents on the shapes, colour protected.")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bias", type=float, default=0.9, help="share of figures of the usual colour")
    parser.add_argument("--generator", default="shapes-vae")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "paired.csv")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Do every cell that is missing, and write rows and differences."""
    given = arguments(argv)
    sizes = QUICK if given.quick else Sizes()
    rows = known_rows(given.out)
    check_settings(given.out, {**asdict(sizes), "bias": given.bias, "generator": given.generator})
    done = set(rows[KEY].itertuples(index=False, name=None))
    for target, seed, arm in itertools.product(given.targets, range(given.seeds), given.arms):
        if (target, seed, arm) in done:
            continue
        row = cell(target, seed, arm, bias=given.bias, generator=given.generator, sizes=sizes)
        rows = pd.DataFrame([*rows.to_dict("records"), row], columns=COLUMNS)
        write_text(given.out, rows.to_csv(index=False, float_format="%.6g"))
        numbers = "  ".join(f"{name} {row[name]:.3f}" for name in METRICS)
        print(f"{target:<6}{seed}  {arm:<12}{numbers}", flush=True)
    table = differences(rows)
    write_text(
        given.out.with_name(f"{given.out.stem}_differences.csv"),
        table.to_csv(index=False, float_format="%.4f"),
    )
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print("\n".join(verdicts(table)))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
