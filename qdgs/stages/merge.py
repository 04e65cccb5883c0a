"""Put the datasets of several runs together, every group with its share."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from qdgs.config import RunConfig, load_config, target_shares
from qdgs.datasets.manifest import read_manifest, write_failure, write_manifest
from qdgs.datasets.merging import (
    MERGED,
    SOURCE,
    SOURCE_ID,
    check_same_groups,
    choose,
    distinct_names,
    in_turns,
    renumbered,
)
from qdgs.datasets.metadata import label_names, write_metadata
from qdgs.errors import CorruptFileError, InputError, QdgsError
from qdgs.fairness.audit import (
    JudgedImages,
    audited_groups,
    audited_targets,
    label_agreement,
    read_groups,
)
from qdgs.fairness.shares import group_shares
from qdgs.files import write_json, write_text
from qdgs.merge_config import MergeConfig, dump_merge, load_merge, with_target
from qdgs.randomness import Stream, stream
from qdgs.report.run_files import read_image
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.audit import AUDIT_TABLE, READINGS
from qdgs.stages.export import write_dataset_card
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.frames import read_frame, write_frame
from qdgs.stages.merge_sources import Source, look_like_none_before
from qdgs.stages.report import write_report

SUMMARY = ("normalized_entropy", "smallest_group_share", "max_share_error", "fairness_discrepancy")


@dataclass(frozen=True)
class Merged:
    """What came of a merge.

    Attributes:
        run: The folder with its configuration, for report, export and certify.
        images: How many images it has.
        dropped: Images that were left out since another looks the same.
        from_each: Source → its images.
    """

    run: Run
    images: int
    dropped: int
    from_each: dict[str, int]


def merge(
    runs: Sequence[Path],
    out: Path,
    *,
    target: str | None = None,
    images: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
    watch: Watch = unwatched,
) -> Merged:
    """Put the rendered datasets of runs together, as many images as the target permits.

    Sources take turns within each group. An image with the pixels of another is left out, and so is a
    near-duplicate where both are of one generator, by the larger of the distances that the runs dropped
    theirs by. What the auditor read off the images goes along where all runs have the same auditor.

    Args:
        runs: Run folders, of one generator or of several.
        out: A new or empty folder.
        target: "uniform", a table, or `GROUP=SHARE,…`; by default that of the runs, where they agree.
        images: How many; by default as many as the target permits.
        image_size: Pixels a side, where those of the runs differ.
        device: Where generators work, whose random samples tell what a near-duplicate is.
        watch: Told after each image.

    Raises:
        InputError: A run has no dataset, groups differ, or there are too few images of a group.
    """
    sources = _read(runs)
    config = _config(sources, target)
    size = _size(sources, image_size)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: expected a new or empty folder, got one that holds files; choose another")
    candidates = in_turns({source.name: source.manifest.rows for source in sources})
    kept = look_like_none_before(candidates, sources, device=device, watch=watch)
    rows = choose(candidates, kept, target_shares(config.dataset), images)
    written = renumbered(rows)
    _write_images(out, sources, rows, written, size, watch=watch)
    run = _write(out, sources, config, written, size, images)
    write_json(run.path / MERGED, _told(sources, written, kept))
    _grade(run, sources, written)
    write_dataset_card(run)
    write_report(run, device=device)
    counts = written[SOURCE].value_counts()
    from_each = {source.name: int(counts.get(source.name, 0)) for source in sources}
    return Merged(run, len(written), int((~kept).sum()), from_each)


def open_merged(folder: Path) -> Run:
    """A merged dataset as a run that report, export and certify read.

    Raises:
        ConfigError: Its config.yaml does not hold.
    """
    return Run(folder, load_merge(folder / "config.yaml").run)


def _read(runs: Sequence[Path]) -> list[Source]:
    if len(runs) < 2:
        raise InputError(f"RUN: expected at least two runs to merge, got {len(runs)}")
    if len({path.resolve() for path in runs}) < len(runs):
        raise InputError("RUN: expected different runs, got one twice")
    sources = []
    for name, path in zip(distinct_names([path.resolve().name for path in runs]), runs, strict=True):
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path}: expected the folder of a run, got no config.yaml in it")
        sources.append(Source(name, path, load_config(path / "config.yaml"), read_manifest(path / MANIFEST)))
    check_same_groups({str(source.path): source.manifest.metadata for source in sources})
    return sources


def _config(sources: Sequence[Source], target: str | None) -> RunConfig:
    config = sources[0].config
    if target is not None:
        config = with_target(config, target)
    else:
        shares = target_shares(config.dataset)
        for source in sources[1:]:
            if target_shares(source.config.dataset) != shares:
                raise InputError(
                    f"--target: expected one, as {source.path} was made for other shares than "
                    f"{sources[0].path}"
                )
    same = all(source.config.judges.auditor == config.judges.auditor for source in sources)
    if same and all((source.path / READINGS).exists() for source in sources):
        return config
    return config.model_copy(update={"judges": config.judges.model_copy(update={"auditor": None})})


def _size(sources: Sequence[Source], wanted: int | None) -> int:
    sizes = {source.manifest.metadata["image_size"] for source in sources}
    if wanted is not None and wanted > min(sizes):
        raise InputError(
            f"--image-size: expected at most {min(sizes)}, the smallest of the runs, got {wanted}; "
            "no image is enlarged"
        )
    if wanted is None and len(sizes) > 1:
        told = ", ".join(f"{source.path} {source.manifest.metadata['image_size']}" for source in sources)
        raise InputError(f"--image-size: expected one, as the runs have different ones: {told}")
    return wanted or int(sizes.pop())


def _write_images(
    out: Path,
    sources: Sequence[Source],
    rows: pd.DataFrame,
    written: pd.DataFrame,
    size: int,
    *,
    watch: Watch,
) -> None:
    folder = {source.name: source.path / "dataset" for source in sources}
    own = {source.name: source.manifest.metadata["image_size"] for source in sources}
    try:
        for place, (name, old, new) in enumerate(
            zip(rows[SOURCE], rows["file"], written["file"], strict=True), start=1
        ):
            path = out / "dataset" / new
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(folder[name] / old, path, None if own[name] == size else size)
            if place % 256 == 0 or place == len(rows):
                watch(Step("merge", place, len(rows), "images"))
    except OSError as error:
        shutil.rmtree(out / "dataset", ignore_errors=True)
        raise QdgsError(f"{out}: cannot be written: {write_failure(error)}; free some space") from None


def _copy(old: Path, new: Path, size: int | None) -> None:
    if size is None:
        shutil.copyfile(old, new)
        return
    Image.fromarray(read_image(old)).resize((size, size), Image.Resampling.BOX).save(new)


def _write(
    out: Path,
    sources: Sequence[Source],
    config: RunConfig,
    rows: pd.DataFrame,
    size: int,
    images: int | None,
) -> Run:
    metadata = _metadata(sources, rows, size)
    write_manifest(out / MANIFEST, rows, metadata)
    write_metadata([rows], out / "dataset", label_names(rows, metadata))
    dataset = config.dataset.model_copy(update={"images": len(rows), "identities": None, "layout": "label"})
    run = config.model_copy(update={"dataset": dataset})
    paths = [str(source.path) for source in sources]
    write_text(out / "config.yaml", dump_merge(MergeConfig(kind="merge", runs=paths, images=images, run=run)))
    return Run(out, run)


def _metadata(sources: Sequence[Source], rows: pd.DataFrame, size: int) -> dict[str, Any]:
    """What the manifest says of the whole; what differs from run to run stands in `sources` alone."""
    first = sources[0].manifest.metadata
    each = [source.manifest.metadata for source in sources]
    shared = {key: value for key, value in first.items() if all(one.get(key) == value for one in each)}
    counts = rows[SOURCE].value_counts()
    told = [
        {**source.manifest.metadata, "run": source.name, "images": int(counts.get(source.name, 0))}
        for source in sources
    ]
    names = list(dict.fromkeys(one["generator"]["name"] for one in each))
    generator = shared.get("generator", {"name": " and ".join(names), "options": {}, "sha256": None})
    return {
        **shared,
        "generator": generator,
        "guide": shared.get("guide", first["guide"]),
        "micro_batch": shared.get("micro_batch", first["micro_batch"]),
        "device": shared.get("device", first["device"]),
        "version": first["version"],
        "license": shared.get("license", "unknown"),
        "layout": "label",
        "image_size": size,
        "report": None,
        "sources": told,
    }


def _told(sources: Sequence[Source], rows: pd.DataFrame, kept: NDArray[np.bool_]) -> dict[str, Any]:
    table = pd.crosstab(rows["group"], rows[SOURCE])
    return {
        "images": len(rows),
        "dropped": int((~kept).sum()),
        "sources": [
            {
                "name": source.name,
                "path": str(source.path),
                "generator": source.config.generator.who,
                "guide": source.config.guide.who,
                "seed": source.config.seed,
                "of": len(source.manifest.rows),
                "images": int((rows[SOURCE] == source.name).sum()),
                "groups": {str(group): int(count) for group, count in table.get(source.name, {}).items()},
            }
            for source in sources
        ],
    }


def _grade(run: Run, sources: Sequence[Source], rows: pd.DataFrame) -> None:
    """Shares as the auditor of the runs read them, and their summary."""
    summary: dict[str, Any] = {"images": len(rows)}
    if run.config.judges.auditor is not None:
        read = _readings(sources, rows)
        write_frame(run.path / READINGS, read)
        groups = read_groups(read, audited_groups(run.config.dataset))
        shares = group_shares(
            groups, audited_targets(run.config.dataset), stream(run.config.seed, Stream.AUDIT)
        )
        columns = {"group": "groups", "target": "targets", "count": "counts", "share": "shares"}
        frame = pd.DataFrame({name: list(getattr(shares, key)) for name, key in columns.items()})
        frame = frame.assign(share_low=list(shares.low), share_high=list(shares.high))
        write_text(run.path / AUDIT_TABLE, frame.to_csv(index=False))
        summary |= {key: getattr(shares, key).value for key in (*SUMMARY, "unreadable_share")}
        judged = JudgedImages(read, np.zeros((len(rows), 0)), rows["label"])
        summary["label_agreement"] = label_agreement(judged, run.config.dataset).value
    write_json(run.path / "summary.json", summary)


def _readings(sources: Sequence[Source], rows: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for source in sources:
        read = read_frame(source.path / READINGS, "audit").rename(columns={"id": SOURCE_ID})
        parts.append(read.assign(**{SOURCE: source.name}))
    keys = rows[["id", SOURCE, SOURCE_ID]]
    joined = keys.merge(pd.concat(parts, ignore_index=True), on=[SOURCE, SOURCE_ID], how="left")
    if joined["accepted"].isna().any():
        missing = joined.loc[joined["accepted"].isna(), SOURCE].iloc[0]
        raise CorruptFileError(f"{missing}: {READINGS} does not hold every image; run qdgs audit again")
    return joined.drop(columns=[SOURCE, SOURCE_ID]).astype({"accepted": bool})
