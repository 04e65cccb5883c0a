"""`qdgs recognition verify`: a trained recogniser on a benchmark of pairs.

RUN/verification/NAME.json      what is told of it
RUN/verification/NAME.csv       one row a group, and one for all pairs
RUN/verification/NAME_roc.csv   the curve
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from qdgs.errors import InputError
from qdgs.files import fingerprint, write_json, write_text
from qdgs.randomness import Stream, stream
from qdgs.recognition.backbones import IResNet
from qdgs.recognition.bins import read_bin
from qdgs.recognition.checkpoint import load_backbone
from qdgs.recognition.embedding import embed
from qdgs.recognition.pairs import ALL, Pairs, decoded, read_folds, read_groups, read_pairs
from qdgs.recognition.verification import Verification, squared_distances, verify_distances
from qdgs.run import Step, Watch, unwatched

FOLDER = "verification"
LONGEST_NAME = 100


@dataclass(frozen=True)
class Benchmark:
    """Pairs and the name that results are kept under."""

    name: str
    pairs: Pairs


def read_benchmarks(
    files: Sequence[Path], *, images: Path | None = None, groups: Path | None = None
) -> list[Benchmark]:
    """Benchmarks of `.bin` files and pair lists.

    Args:
        files: Each a benchmark of its own.
        images: Folder that the paths of pair lists start from.
        groups: CSV with a column group, a row for each pair; for one file alone. A column fold, where there
            is one, tells which pairs belong together when thresholds are chosen.

    Raises:
        InputError: A file does not hold.
    """
    if groups is not None and len(files) != 1:
        raise InputError(f"--groups: expected one file to group the pairs of, got {len(files)}")
    found = []
    for path in files:
        pairs = read_bin(path) if path.suffix.lower() == ".bin" else read_pairs(path, images=images)
        if groups is not None:
            pairs = _grouped(pairs, groups)
        found.append(Benchmark(path.stem, pairs))
    names = [benchmark.name for benchmark in found]
    if len(set(names)) != len(names):
        raise InputError(f"FILE: expected files of different names, got {', '.join(names)}")
    return found


def joined_groups(benchmarks: Sequence[Benchmark]) -> Benchmark:
    """Several benchmarks as the groups of one, for lists that have a file a group; it has all their names.

    Raises:
        InputError: Some tell folds, and others do not.
    """
    told = [one.pairs.folds for one in benchmarks if one.pairs.folds is not None]
    if told and len(told) < len(benchmarks):
        without = next(one.name for one in benchmarks if one.pairs.folds is None)
        raise InputError(
            f"--by-file: expected a column fold in every file or in none, got none in {without}; take it out "
            "of the others"
        )
    images = [
        (one.pairs.images[first], one.pairs.images[second])
        for one in benchmarks
        for first, second in zip(one.pairs.first, one.pairs.second, strict=True)
    ]
    same = [bool(value) for one in benchmarks for value in one.pairs.same]
    groups = [one.name for one in benchmarks for _ in range(len(one.pairs))]
    joined = Pairs.of(images, same).grouped(groups)
    return Benchmark(
        _joined_name([one.name for one in benchmarks]),
        replace(joined, folds=np.concatenate(told)) if told else joined,
    )


def _joined_name(names: Sequence[str]) -> str:
    """Which files they are; of too many the first, how many more, and what tells them from others."""
    whole = "+".join(names)
    if len(whole) <= LONGEST_NAME:
        return whole
    return f"{names[0][: LONGEST_NAME // 2]}+{len(names) - 1}-more-{fingerprint(list(names))[:8]}"


def _grouped(pairs: Pairs, path: Path) -> Pairs:
    grouped = pairs.grouped(read_groups(path))
    folds = read_folds(path)
    return grouped if folds is None else replace(grouped, folds=folds)


def verify_pairs(
    backbone: IResNet,
    pairs: Pairs,
    *,
    seed: int = 0,
    device: str = "cpu",
    watch: Watch = unwatched,
    name: str = "pairs",
) -> Verification:
    """How well a backbone's embeddings tell the pairs apart.

    Args:
        backbone: What is verified.
        pairs: On what.
        seed: Of the bootstrap.
        device: Where the backbone works.
        watch: Told of embedded images.
        name: What errors call the pairs.

    Raises:
        InputError: An image cannot be read, or the pairs do not suffice.
    """
    total = len(pairs.images)
    pixels = (
        decoded(source, backbone.image_size, place=f"{name}: {place}")
        for source, place in zip(pairs.images, _places(pairs), strict=True)
    )
    embeddings = embed(
        backbone, pixels, device=device, progress=lambda done: watch(Step("verify", done, total, "images"))
    )
    distances = squared_distances(embeddings[pairs.first], embeddings[pairs.second])
    folds = None if pairs.folds is None else np.unique(pairs.folds, return_inverse=True)[1]
    return verify_distances(
        distances, pairs.same, pairs.groups, folds=folds, rng=stream(seed, Stream.BOOTSTRAP)
    )


def _places(pairs: Pairs) -> Iterator[str]:
    """Where each image occurs first: its pair counted from one, and its group."""
    first = np.full(len(pairs.images), len(pairs))
    for side in (pairs.first, pairs.second):
        np.minimum.at(first, side, np.arange(len(pairs)))
    for pair in first:
        yield f"pair {pair + 1:,}" + ("" if pairs.groups is None else f", of group {pairs.groups[pair]}")


def verify_run(
    run: Path, benchmark: Benchmark, *, device: str = "cpu", watch: Watch = unwatched
) -> Verification:
    """Verify a trained run, and keep the result in its folder."""
    backbone = load_backbone(run)
    result = verify_pairs(backbone, benchmark.pairs, device=device, watch=watch, name=benchmark.name)
    folder = run / FOLDER
    write_json(folder / f"{benchmark.name}.json", result.to_json())
    write_text(folder / f"{benchmark.name}.csv", group_table(result).to_csv(index=False, float_format="%.6g"))
    roc = pd.DataFrame(
        {
            "threshold": result.roc.thresholds[1:],
            "false_accepts": result.roc.false_accepts[1:],
            "true_accepts": result.roc.true_accepts[1:],
        }
    )
    write_text(folder / f"{benchmark.name}_roc.csv", roc.to_csv(index=False, float_format="%.6g"))
    return result


def group_table(result: Verification) -> pd.DataFrame:
    """One row a group, the last for all pairs."""
    rows = []
    for name, group in result.groups.items():
        rows.append(
            {
                "group": name,
                "n": group.n,
                "accuracy": group.accuracy.value,
                "accuracy_low": group.accuracy.low,
                "accuracy_high": group.accuracy.high,
                "own_accuracy": group.own_accuracy,
                **{f"tar_at_{far:g}": value for far, value in group.true_accepts.items()},
                "equal_error_rate": group.equal_error_rate,
                "equal_error_threshold": group.equal_error_threshold,
                "threshold_shift": group.threshold_shift.value,
                "threshold_shift_low": group.threshold_shift.low,
                "threshold_shift_high": group.threshold_shift.high,
            }
        )
    rows.append(
        {
            "group": ALL,
            "n": result.n,
            "accuracy": result.accuracy,
            "own_accuracy": result.accuracy,
            **{f"tar_at_{far:g}": value for far, value in result.true_accepts.items()},
            "equal_error_rate": result.equal_error_rate,
            "equal_error_threshold": result.equal_error_threshold,
        }
    )
    return pd.DataFrame(rows)


def told(name: str, result: Verification) -> list[str]:
    """A result in a few lines."""
    rates = ", ".join(
        f"{value:.3f} at FAR {far:g}{'' if far * result.different >= 1 else '*'}"
        for far, value in result.true_accepts.items()
    )
    lines = [
        f"{name}: accuracy {result.accuracy:.4f} ± {result.accuracy_std:.4f} over {result.folds} folds of "
        f"{result.n:,} pairs; equal error rate {result.equal_error_rate:.4f}; TAR {rates}"
    ]
    for group_name, group in result.groups.items():
        accuracy, shift = group.accuracy, group.threshold_shift
        lines.append(
            f"  {group_name}: accuracy {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}] of "
            f"{group.n:,} pairs; equal-error threshold {shift.value:+.3f} [{shift.low:+.3f}, "
            f"{shift.high:+.3f}] from that of all"
        )
    if result.worst_group is not None:
        worst = result.worst
        lines.append(
            f"  worst group: {result.worst_group}, {worst.value:.4f} [{worst.low:.4f}, {worst.high:.4f}]"
        )
    if result.left_out:
        lines.append(f"  too few pairs, or of one kind alone, to tell of: {', '.join(result.left_out)}")
    if any(far * result.different < 1 for far in result.true_accepts):
        lines.append(
            f"  * finer than the {result.different:,} pairs of two persons can tell: no false accept at all"
        )
    return lines
