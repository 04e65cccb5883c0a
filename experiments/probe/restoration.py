"""What does a restorer that learned from biased images make of what it has hardly seen?

A small network learns to turn images of 16 pixels into images of 64, from biased images: drawings of which
98 % of the triangles are red and of the squares are blue, or faces of which there are seven of every other
lightness, presentation and age for each of the rarest. Beside it stand one that learned as long from balanced
images, and bilinear interpolation, which learned nothing. All are probed with the same images of a generator,
as many of every group. What all of them change is lost at 16 pixels; what the biased one changes and the
balanced one does not is due to what it learned from.

    ARM/restorer.pt     each restorer (bilinear, balanced, biased), as TorchScript
    ARM/probe/          what `qdgs probe` writes of it: probe.csv, changes.csv, report.html
    changes.csv         attribute, from, to, images, a share of the images for each restorer; `excess` is that
                        of the biased one less that of the balanced one, on the same images, with an interval
                        that allows for as many comparisons as there are rows
    groups.csv          group, and which share of it is no longer read as that group, for each restorer
    restored.png        an image of every group: as it was, at 16 pixels, and what each restorer makes of it

A second call does what is missing. Faces need the extra `faces`.

    python experiments/probe/restoration.py --images faces --out DIR
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from qdgs.config import check_out
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.intervals import LEVEL, bootstrap
from qdgs.files import fingerprint, read_json, write_json, write_text
from qdgs.probe.carry_out import CONFIG, probe_model
from qdgs.probe.kept import Kept
from qdgs.probe.models import load_probed
from qdgs.probe.restoration import Restorer
from qdgs.probe.samples import Parts, ProbeSet, open_parts
from qdgs.probe_config import ProbeConfig, dump_probe, load_probe
from qdgs.randomness import Stream, stream
from qdgs.report.sheets import as_pixels
from qdgs.report.style import SMALL as SMALL_TYPE
from qdgs.report.style import blank
from qdgs.report.style import save as save_figure
from qdgs.stages.frames import read_frame
from restorers import LARGE, SMALL, Upscaling, drawings, samples, save, train

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ARMS = BILINEAR, BALANCED, BIASED = "bilinear", "balanced", "biased"
PAGE = "report.html"
EXCESS = 313


@dataclass(frozen=True)
class Sizes:
    """How large the study is.

    Attributes:
        train: Images that a restorer learns from.
        steps: Batches of its training.
        images: Images that it is probed with.
        pool: Random samples that the judges read, where the shipped bank does not hold them.
        draws: At most so many samples are drawn for a balanced set.
        smallest: Images of a group from which on there is an interval.
    """

    train: int = 3000
    steps: int = 1200
    images: int = 600
    pool: int = 6000
    draws: int = 20_000
    smallest: int = 20


FULL = Sizes()
QUICK = Sizes(train=64, steps=10, images=48, pool=1000, draws=1024, smallest=4)


@dataclass(frozen=True)
class Task:
    """Images of one kind.

    Attributes:
        config: The run, or the probe, whose generator, guide and judges are used.
        attributes: What groups are made of.
        biases: `--bias` of the balanced restorer and, by default, of the biased one.
    """

    config: Path
    attributes: tuple[str, ...]
    biases: tuple[float, float]


TASKS = {
    "shapes": Task(CONFIGS / "shapes.yaml", ("color", "shape"), (0.5, 0.98)),
    "faces": Task(CONFIGS / "probe-faces.yaml", ("lightness", "presentation", "age"), (1, 7)),
}


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        images: Of which kind.
        bias: Of the biased restorer's images.
        seed: Of everything.
        sizes: How large it is.
        out: Where everything goes.
        config: In place of the task's.
    """

    images: str
    bias: float
    seed: int
    sizes: Sizes
    out: Path
    config: Path

    def check(self) -> None:
        """Refuse a folder with another study.

        Raises:
            InputError: It holds one.
        """
        path = self.out / "study.json"
        told = {"images": self.images, "bias": self.bias, "seed": self.seed, "sizes": asdict(self.sizes)}
        told["config"] = self.config.read_text() if self.config.is_file() else ""
        if path.exists() and fingerprint(read_json(path)) != fingerprint(told):
            raise InputError(
                f"{self.out}: expected a new folder or one of this study, got one with other images, sizes, "
                "bias, seed or configuration; choose another --out"
            )
        if not path.exists():
            check_out(self.out, "restoration", "study of restorers")
        write_json(path, told)

    def probe(self, arm: str) -> ProbeConfig:
        """The probe of a restorer; its images are those of every other."""
        sizes, attributes = self.sizes, ", ".join(TASKS[self.images].attributes)
        return load_probe(
            str(self.out / arm / "restorer.pt"),
            guide=self.config,
            overrides=[
                f"seed={self.seed}",
                f"model={{path: {self.out / arm / 'restorer.pt'}, task: restorer, image_size: {SMALL}}}",
                f"samples={{images: {sizes.images}, pool: {sizes.pool}, draws: {sizes.draws}}}",
                f"samples.attributes=[{attributes}]",
                f"findings.smallest={sizes.smallest}",
                "pairs=null",
                "failures=null",
            ],
        )

    def restorer(self, arm: str, parts: Parts, kept: Kept) -> nn.Module:
        """A restorer, trained now where it learns at all."""
        if arm == BILINEAR:
            return Upscaling()
        bias = self.bias if arm == BIASED else TASKS[self.images].biases[0]
        return train(self.learned_from(bias, parts, kept), steps=self.sizes.steps, seed=self.seed)

    def learned_from(self, bias: float, parts: Parts, kept: Kept) -> Tensor:
        """Images `(n, 3, 64, 64)`, uint8, that a restorer learns from."""
        if self.images == "shapes":
            return drawings(self.sizes.train, bias, self.seed)
        pool = kept.pool(parts)
        return samples(self.sizes.train, int(bias), self.seed, parts, pool, kept.probe_set(parts, pool))


def carry_out(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Do what is missing; the content of changes.csv and groups.csv."""
    study.check()
    config = study.probe(BILINEAR)
    parts, kept = open_parts(config), Kept(study.out / "kept", config)
    probe_set = kept.probe_set(parts, kept.pool(parts))
    for arm in ARMS:
        path, folder = study.out / arm / "restorer.pt", study.out / arm / "probe"
        if not path.exists():
            save(study.restorer(arm, parts, kept), path)
        if not (folder / PAGE).exists():  # what a probe writes last
            shutil.rmtree(folder, ignore_errors=True)
            write_text(folder / CONFIG, dump_probe(study.probe(arm)))
            shutil.copytree(study.out / "kept", folder / "kept")
            probe_model(study.probe(arm), folder)
    after = {arm: answered(study.out / arm / "probe", probe_set) for arm in ARMS}
    rng = stream(study.seed, Stream.BOOTSTRAP, EXCESS)
    changes, groups = changes_of(after, probe_set, rng), groups_of(study.out)
    for name, table in (("changes.csv", changes), ("groups.csv", groups)):
        write_text(study.out / name, table.to_csv(index=False, float_format="%.6g"))
    save_figure(pictures(study, parts, probe_set), study.out / "restored.png")
    return changes, groups


def answered(folder: Path, probe_set: ProbeSet) -> pd.DataFrame:
    """What the judges read of every restored image: a column an attribute."""
    rows = read_frame(folder / "answers.parquet", "probe")
    told = rows.filter(regex="^p_").rename(columns=lambda name: name.removeprefix("p_"))
    return told.idxmax(axis=1).str.split("/", expand=True).set_axis(list(probe_set.attributes), axis=1)


def changes_of(after: dict[str, pd.DataFrame], probe_set: ProbeSet, rng: np.random.Generator) -> pd.DataFrame:
    """The content of changes.csv."""
    found = [
        (name, value, to)
        for name, values in probe_set.attributes.items()
        for value in values
        if (probe_set.rows[f"group_{name}"] == value).any()
        for to in sorted({*values, *(told for read in after.values() for told in read[name])} - {value})
    ]
    rows = []
    for name, value, to in found:
        of = (probe_set.rows[f"group_{name}"] == value).to_numpy()
        became = {arm: (read[name].to_numpy()[of] == to).astype(float) for arm, read in after.items()}
        more = became[BIASED] - became[BALANCED]
        told = bootstrap(lambda at, more=more: more[at].mean(), len(more), rng, level=_level(len(found)))
        shares = {arm: hits.mean() for arm, hits in became.items()}
        rows.append(
            {"attribute": name, "from": value, "to": to, "images": int(of.sum()), **shares}
            | {"excess": told.value, "low": told.low, "high": told.high}
        )
    return pd.DataFrame(rows)


def groups_of(out: Path) -> pd.DataFrame:
    """The content of groups.csv."""
    tables = [
        pd.read_csv(out / arm / "probe" / "probe.csv").set_index("group")["error"].rename(arm) for arm in ARMS
    ]
    return pd.concat(tables, axis=1).reset_index()


def pictures(study: Study, parts: Parts, probe_set: ProbeSet) -> Figure:
    """The first image of every group: as it was, at 16 pixels, and what each restorer makes of it."""
    rows = probe_set.rows.drop_duplicates("group").index.to_numpy(copy=True)
    images = torch.cat(list(parts.images(probe_set.latents[torch.from_numpy(rows)])))
    columns = {"image": images, f"{SMALL} pixels": functional.interpolate(images, size=SMALL, mode="area")}
    for arm in ARMS:
        model = study.probe(arm).model
        columns[arm] = Restorer(load_probed(model), model, parts).restored(images)
    figure = blank(1.1 * len(columns), 1.0 * len(rows) + 0.3)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for across, (name, shown) in enumerate(columns.items()):
        axes[0, across].set_title(name, fontsize=SMALL_TYPE)
        for down, pixels in enumerate(as_pixels(shown)):
            axes[down, across].imshow(pixels, interpolation="nearest")
            axes[down, across].set(xticks=[], yticks=[])
            axes[down, across].spines[:].set_visible(False)
    for one, group in zip(axes[:, 0], probe_set.rows["group"].iloc[rows], strict=True):
        one.set_ylabel(group.replace("/", "\n"), rotation=0, ha="right", va="center", fontsize=SMALL_TYPE)
    return figure


def told(changes: pd.DataFrame, study: Study) -> list[str]:
    """The study in a few sentences."""
    lines = [
        f"{row.attribute}: {row[2]} becomes {row.to} in {row.biased:.0%} of {row.images} images, in "
        f"{row.balanced:.0%} where the restorer learned from balanced images ({row.excess:+.0%}, "
        f"{row.low:+.0%} to {row.high:+.0%})"
        for row in changes.itertuples()
        if row.low > 0 or row.high < 0
    ]
    return lines or [
        f"no change that {LARGE} pixels restored from {SMALL} show is told to be due to the bias of "
        f"{study.bias:g}: every interval of `excess` holds 0"
    ]


def _level(comparisons: int) -> float:
    """Coverage of one of several intervals, so that all hold at once (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(comparisons, 1)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Probe restorers that learned from biased images.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", choices=TASKS, default="shapes")
    parser.add_argument(
        "--bias",
        type=float,
        help="shapes: share of usual colours (0.98); faces: images of every other value for each rarest (7)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, help="of kind run or probe, in place of configs/")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    given = parser.parse_args(argv)
    given.bias = TASKS[given.images].biases[1] if given.bias is None else given.bias
    if given.images == "shapes" and not 0.5 <= given.bias <= 1:
        parser.error(f"--bias: expected a share from 0.5 to 1, got {given.bias:g}")
    if given.images == "faces" and (given.bias < 1 or given.bias % 1):
        parser.error(f"--bias: expected a whole number from 1 on, got {given.bias:g}")
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not there yet, probe it, and say what the bias changes."""
    given = arguments(argv)
    sizes, config = QUICK if given.quick else FULL, given.config or TASKS[given.images].config
    study = Study(given.images, given.bias, given.seed, sizes, given.out, config)
    changes, groups = carry_out(study)
    for table in (changes, groups):
        print(table.to_string(index=False, float_format="{:.3f}".format))
    print("\n".join(told(changes, study)))
    print(f"{given.out / 'changes.csv'} · {given.out / 'restored.png'}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
