"""Render the dataset from its manifest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qdgs.config import Named
from qdgs.datasets.manifest import read_manifest
from qdgs.datasets.render import render
from qdgs.errors import InputError
from qdgs.parts import load_generator
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.identity import identity


def perform(
    run: Run, *, device: str, watch: Watch, shard: tuple[int, int] | None = None
) -> dict[str, Any] | None:
    """Write the images of a run's manifest; None where a shard alone was asked for."""
    render_manifest(run.path, device=device, watch=watch, shard=shard)
    return {} if shard is None else None


def render_manifest(
    folder: Path, *, device: str, watch: Watch = unwatched, shard: tuple[int, int] | None = None
) -> None:
    """Write the images of dataset/manifest.parquet; nothing else of the folder is read.

    Args:
        folder: The run's.
        device: Where the generator works.
        watch: Told after each batch.
        shard: (i, n): the i-th of n parts alone, i from 0.

    Raises:
        InputError: The generator is not the one that the manifest was made with.
    """
    manifest = read_manifest(folder / MANIFEST)
    reference = manifest.metadata["generator"]
    generator = load_generator(Named(name=reference["name"], **reference["options"]), device=device)
    if identity(generator) != reference["sha256"]:
        raise InputError(
            f"{folder / MANIFEST}: expected the generator {reference['name']!r} that it was made with, got "
            "one with other weights; render with that one, or run qdgs flatten again"
        )
    render(
        manifest.rows,
        generator,
        folder / "dataset",
        micro_batch=manifest.metadata["micro_batch"],
        shard=shard,
        metadata=manifest.metadata,
        progress=lambda done, total: watch(Step("render", done, total, "images")),
        device=device,
    )
