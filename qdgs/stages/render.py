"""Render the dataset from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdgs.config import Named
from qdgs.datasets.manifest import read_manifest
from qdgs.datasets.render import render
from qdgs.errors import InputError
from qdgs.generators.base import Generator
from qdgs.parts import load_generator
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.identity import identity


def perform(
    run: Run, *, device: str, watch: Watch, shard: tuple[int, int] | None = None
) -> dict[str, Any] | None:
    """Write the images of a run's manifest; None where a shard alone was asked for."""
    generator = load_generator(run.config.generator, device=device)
    render_manifest(run.path, device=device, watch=watch, shard=shard, generator=generator)
    return {} if shard is None else None


def render_manifest(
    folder: Path,
    *,
    device: str,
    watch: Watch = unwatched,
    shard: tuple[int, int] | None = None,
    generator: Generator | None = None,
) -> None:
    """Write the images of dataset/manifest.parquet; nothing else of the folder is read.

    Args:
        folder: The run's.
        device: Where the generator works.
        watch: Told after each batch.
        shard: (i, n): the i-th of n parts alone, i from 0.
        generator: The generator; without it the one that the manifest names, unless that is code.

    Raises:
        InputError: The generator is not the one that the manifest was made with, or it is code: a manifest
            may come from anyone.
    """
    manifest = read_manifest(folder / MANIFEST)
    reference = manifest.metadata["generator"]
    if reference.get("sha256") is None and manifest.metadata.get("sources"):
        raise InputError(
            f"{folder / MANIFEST}: expected the dataset of one generator, got one merged from several; its "
            "images can be made again in the runs that it comes from"
        )
    if generator is None:
        generator = _named_in(folder / MANIFEST, reference, device)
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


def _named_in(manifest: Path, reference: Mapping[str, Any], device: str) -> Generator:
    named = Named(name=reference["name"], **reference["options"])
    if named.name == "python":
        raise InputError(
            f"{manifest}: expected a generator of qdgs, got {named.who}, code that a file of data must not "
            "start; render it in the folder of its run, beside config.yaml"
        )
    return load_generator(named, device=device)
