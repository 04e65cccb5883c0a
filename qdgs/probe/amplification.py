"""A generator against its data: are the groups' shares kept or exaggerated, and are images repeated?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from qdgs.errors import InputError
from qdgs.fairness.copying import Copying, copying_test
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.fairness.intervals import LEVEL, RESAMPLES, Array, Estimate, finite, percentile_interval
from qdgs.fairness.shares import normalize, share_numbers
from qdgs.files import write_json, write_text
from qdgs.probe.samples import Parts, group_names, open_parts
from qdgs.probe_config import ProbeConfig
from qdgs.randomness import Stream, stream
from qdgs.run import Step, Watch, unwatched
from qdgs.training.pixels import to_pixels, to_unit

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
BATCH = 256
SAMPLES, DRAWS, REGIONS = range(2000, 2003)
TABLE = "amplification.csv"
UNREADABLE = 0.2
"""Share of images of no group from which on readers are warned."""


@dataclass(frozen=True, eq=False)
class Amplification:
    """Groups among random samples against those among the training images.

    Attributes:
        groups: Names.
        data: Share of each group among training images, as the judges read them.
        generated: The same among random samples.
        ratio: Generated over data.
        excess: Fairness discrepancy of the samples less that of the data: above 0 the generator is more
            biased than what it learned from.
        unreadable: Share of images that the judges reject or differ on: of the data, and of the samples.
        copying: Whether training images are repeated; None without held-out images.
    """

    groups: tuple[str, ...]
    data: tuple[Estimate, ...]
    generated: tuple[Estimate, ...]
    ratio: tuple[Estimate, ...]
    excess: Estimate
    unreadable: tuple[float, float]
    copying: Copying | None

    @property
    def verdict(self) -> str:
        """What became of the bias: amplified, reduced, or kept, where the interval holds no difference."""
        if self.excess.excludes(0.0):
            return "amplified" if self.excess.value > 0 else "reduced"
        return "kept"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the shares say less than they seem to, a sentence each."""
        data, generated = self.unreadable
        if max(data, generated) <= UNREADABLE:
            return ()
        return (
            f"the judges tell no group of {100 * data:.0f} % of the training images and "
            f"{100 * generated:.0f} % of the samples; shares are over the others",
        )

    @property
    def table(self) -> pd.DataFrame:
        """The content of amplification.csv, one row a group."""
        rows = []
        for at, group in enumerate(self.groups):
            row: dict[str, Any] = {"group": group}
            told = {"data": self.data[at], "generated": self.generated[at], "ratio": self.ratio[at]}
            for name, estimate in told.items():
                row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """The content of amplification.json."""
        told: dict[str, Any] = {
            "verdict": self.verdict,
            "excess": self.excess.value,
            "excess_low": self.excess.low,
            "excess_high": self.excess.high,
            "unreadable_data": self.unreadable[0],
            "unreadable_generated": self.unreadable[1],
        }
        if self.copying is not None:
            told |= {
                "copies": self.copying.copies,
                "copying_score": self.copying.score,
                "close": self.copying.close.value,
                "close_low": self.copying.close.low,
                "close_high": self.copying.close.high,
                "generated_distance": self.copying.generated_distance,
                "held_out_distance": self.copying.held_out_distance,
            }
        result: dict[str, Any] = finite(told)
        return result


def compare_counts(
    data: Array,
    generated: Array,
    groups: Sequence[str],
    rng: np.random.Generator,
    *,
    unreadable: tuple[float, float] = (0.0, 0.0),
    copying: Copying | None = None,
    level: float = LEVEL,
) -> Amplification:
    """Shares, ratios and the excess of bias from the counts of groups.

    Intervals are of the Dirichlet posterior of either side's shares under Jeffreys' prior. Shares of few
    images are farther from even ones by chance alone: for the excess of bias both sides are drawn as of as
    many images as the smaller one has, and its value is that of discrepancies d without what chance adds,

        d² = max(0, ‖p̂ − u‖² − (1 − ‖p̂‖²)/(n − 1)).

    Args:
        data: Training images of each group `(K,)`.
        generated: Random samples of each group `(K,)`.
        groups: Names.
        rng: Source of the draws.
        unreadable: Share of images of no group on either side.
        copying: What the test for copies says.
        level: Coverage.

    Raises:
        InputError: One side has no image of any group.
    """
    for name, counts in (("training", data), ("generated", generated)):
        if not counts.sum():
            raise InputError(f"amplification: expected {name} images that the judges read, got none")
    uniform = np.full(len(groups), 1 / len(groups))
    shares = [normalize(counts) for counts in (data, generated)]
    drawn = [
        normalize(rng.standard_gamma(counts + 0.5, size=(RESAMPLES, len(groups))))
        for counts in (data, generated)
    ]
    fewer = min(data.sum(), generated.sum())
    alike = [
        normalize(rng.standard_gamma(counts * (fewer / counts.sum()) + 0.5, size=(RESAMPLES, len(groups))))
        for counts in (data, generated)
    ]
    noisy = [share_numbers(of, uniform)["fairness_discrepancy"] for of in alike]
    excess = _discrepancy(generated) - _discrepancy(data)
    ratios = np.divide(shares[1], shares[0], out=np.full(len(groups), np.nan), where=shares[0] > 0)

    def told(values: Array, draws: Array) -> tuple[Estimate, ...]:
        return tuple(
            percentile_interval(float(value), draws[:, at], level) for at, value in enumerate(values)
        )

    return Amplification(
        groups=tuple(groups),
        data=told(shares[0], drawn[0]),
        generated=told(shares[1], drawn[1]),
        ratio=told(ratios, drawn[1] / drawn[0]),
        excess=percentile_interval(excess, noisy[1] - noisy[0], level),
        unreadable=unreadable,
        copying=copying,
    )


def _discrepancy(counts: Array) -> float:
    """Distance of shares from even ones, without what chance adds to it."""
    shares, n = normalize(counts), float(counts.sum())
    square = float(np.sum((shares - 1 / len(counts)) ** 2))
    noise = (1 - float(np.sum(shares**2))) / (n - 1) if n > 1 else square
    return math.sqrt(max(0.0, square - noise))


def amplification(
    config: ProbeConfig,
    data: Path,
    out: Path,
    *,
    held_out: Path | None = None,
    samples: int | None = None,
    device: str = "cpu",
    watch: Watch = unwatched,
) -> Amplification:
    """Compare a generator's random samples with the images that it was trained on.

    Args:
        config: Generator, judges and groups; its model is not used.
        data: Folder of training images, at any depth.
        out: Where amplification.csv and .json go.
        held_out: Folder of images of the same kind that the generator was not trained on.
        samples: Random samples; as many as training images without it.
        device: Where models work.
        watch: Told after each part.

    Raises:
        InputError: A folder holds no images, or the judges read none, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder, got a file; choose another --out")
    for folder in (data, held_out):
        if folder is not None:
            _images_in(folder)
    parts = open_parts(config, device=device)
    embedding = PixelEmbedding.fit(read_folder(data, parts.generator.image_size))
    watch(Step("amplification", 0, 3, "sets"))
    training = _seen(parts, read_folder(data, parts.generator.image_size), embedding)
    watch(Step("amplification", 1, 3, "sets"))
    n = samples or len(training[0])
    latents = parts.generator.sample_latents(n, stream(config.seed, Stream.PROBING, SAMPLES))
    generated = _seen(parts, parts.images(latents), embedding)
    watch(Step("amplification", 2, 3, "sets"))
    copying = None
    if held_out is not None:
        unseen = embedding.transform(read_folder(held_out, parts.generator.image_size))
        rng = stream(config.seed, Stream.PROBING, REGIONS)
        copying = copying_test(generated[1], training[1], unseen, rng)
    counts = [_counts(read, parts.attributes) for read, _ in (training, generated)]
    lost = [
        1 - float(count.sum()) / len(read)
        for count, (read, _) in zip(counts, (training, generated), strict=True)
    ]
    result = compare_counts(
        counts[0],
        counts[1],
        group_names(parts.attributes),
        stream(config.seed, Stream.PROBING, DRAWS),
        unreadable=(lost[0], lost[1]),
        copying=copying,
    )
    write_text(out / TABLE, result.table.to_csv(index=False, float_format="%.6g"))
    write_json(out / "amplification.json", result.to_dict())
    watch(Step("amplification", 3, 3, "sets"))
    return result


def read_folder(folder: Path, size: int) -> Iterator[Tensor]:
    """The images of a folder at any depth, their middle squares, `(at most BATCH, 3, size, size)` in [0, 1].

    Raises:
        InputError: There is no such folder, it holds no image, or one cannot be read.
    """
    paths = _images_in(folder)
    for start in range(0, len(paths), BATCH):
        yield torch.cat([_square(path, size) for path in paths[start : start + BATCH]])


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, got none")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}), got none")
    return paths


def _square(path: Path, size: int) -> Tensor:
    try:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError):
        raise InputError(f"{path}: cannot be read as an image; take it away, or repair it") from None
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    middle = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None]
    return to_unit(to_pixels(middle, size))


def _seen(parts: Parts, batches: Iterator[Tensor], embedding: PixelEmbedding) -> tuple[pd.DataFrame, Array]:
    read, embedded = [], []
    for images in batches:
        read.append(parts.judge.judge(images.to(parts.device)))
        embedded.append(embedding.transform(images))
    return pd.concat(read, ignore_index=True), np.concatenate(embedded)


def _counts(read: pd.DataFrame, attributes: Mapping[str, tuple[str, ...]]) -> Array:
    names = group_names(attributes)
    told = read.loc[read["accepted"].to_numpy(bool), list(attributes)].dropna().astype(str)
    joined = told.agg("/".join, axis=1) if len(told) else pd.Series(dtype=object)
    counts = joined.value_counts().reindex(list(names), fill_value=0)
    return np.asarray(counts, dtype=np.float64)
