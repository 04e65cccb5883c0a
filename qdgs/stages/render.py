"""Render the dataset from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qdgs.cluster import device_of
from qdgs.config import Named
from qdgs.datasets.manifest import StoredManifest
from qdgs.datasets.render import render
from qdgs.errors import InputError
from qdgs.generators.base import Generator
from qdgs.parts import load_generator
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.identity import identity
from qdgs.stages.shards import in_shards

SHARD_IMAGES = 1024
"""Images of a shard that Ray renders: some seconds of work, and little to lose with a machine."""

MOST_SHARDS = 10_000


def perform(
    run: Run, *, device: str, watch: Watch, shard: tuple[int, int] | None = None
) -> dict[str, Any] | None:
    """Write the images of a run's manifest; None where a shard alone was asked for.

    Where the run's workers are Ray's, they render shards of it.
    """
    if shard is None and run.config.workers.kind == "ray":
        _render_apart(run, watch)
        return {}
    generator = load_generator(run.config.generator, device=device)
    render_manifest(run.path, device=device, watch=watch, shard=shard, generator=generator)
    return {} if shard is None else None


def render_manifest(
    folder: Path | str,
    *,
    device: str,
    watch: Watch = unwatched,
    shard: tuple[int, int] | None = None,
    generator: Generator | None = None,
    sha256: str | None = None,
) -> None:
    """Write the images of dataset/manifest.parquet; nothing else of the folder is read.

    Args:
        folder: The run's.
        device: Where the generator works.
        watch: Told after each batch.
        shard: (i, n): the i-th of n parts alone, i from 0.
        generator: The generator; without it the one that the manifest names, unless that is code.
        sha256: Its identity, where that is known: to hash large weights for every shard takes long.

    Raises:
        InputError: The generator is not the one that the manifest was made with, or it is code: a manifest
            may come from anyone.
    """
    folder = Path(folder)
    manifest = StoredManifest(folder / MANIFEST)
    reference = manifest.metadata["generator"]
    if reference.get("sha256") is None and manifest.metadata.get("sources"):
        raise InputError(
            f"{folder / MANIFEST}: expected the dataset of one generator, got one merged from several; its "
            "images can be made again in the runs that it comes from"
        )
    if generator is None:
        generator = _named_in(folder / MANIFEST, reference, device)
    if (sha256 or identity(generator)) != reference["sha256"]:
        raise InputError(
            f"{folder / MANIFEST}: expected the generator {reference['name']!r} that it was made with, got "
            "one with other weights; render with that one, or run qdgs flatten again"
        )
    render(
        manifest,
        generator,
        folder / "dataset",
        micro_batch=manifest.metadata["micro_batch"],
        shard=shard,
        metadata=manifest.metadata,
        progress=lambda done, total: watch(Step("render", done, total, "images")),
        device=device,
    )


@dataclass(frozen=True)
class RenderShard:
    """Renders shards of a run's manifest in a process of Ray.

    Attributes:
        folder: The run's; every machine sees it at this place.
        generator: The run's.
        device: Where the generator works.
    """

    folder: Path
    generator: Named
    device: str

    def __call__(self, index: int, count: int) -> None:
        """Render one of `count` shards."""
        generator, sha256 = _generator_here(self.generator.model_dump_json(), self.device)
        shard = (index, count)
        render_manifest(self.folder, device=self.device, shard=shard, generator=generator, sha256=sha256)


@lru_cache(maxsize=1)
def _generator_here(named: str, device: str) -> tuple[Generator, str]:
    """Generator and its identity: one process renders many shards, and loads it once."""
    generator = load_generator(Named.model_validate_json(named), device=device)
    return generator, identity(generator)


def _render_apart(run: Run, watch: Watch) -> None:
    workers, images = run.config.workers, len(StoredManifest(run.path / MANIFEST))
    shards = max(1, min(-(-images // SHARD_IMAGES), MOST_SHARDS))
    work = RenderShard(run.path.resolve(), run.config.generator, device_of(workers))
    in_shards(workers, work, shards, stage="render", images=images, watch=watch)


def _named_in(manifest: Path, reference: Mapping[str, Any], device: str) -> Generator:
    named = Named(name=reference["name"], **reference["options"])
    if named.name == "python":
        raise InputError(
            f"{manifest}: expected a generator of qdgs, got {named.who}, code that a file of data must not "
            "start; render it in the folder of its run, beside config.yaml"
        )
    return load_generator(named, device=device)
