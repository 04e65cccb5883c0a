"""What a shard of a manifest costs, by the length of the manifest.

    python experiments/speed/manifests.py --out experiments/speed/results/manifests.csv

For each length a manifest of random latents of the shapes' generator is written, and two shards of it are
rendered: the first one, which also writes the metadata of the whole and looks for what is left of earlier
manifests, and the second one, which renders alone. The auditor reads the second one too, and the whole
manifest is read at once, for comparison. `more_mib` is how much memory of the process peaked above what it
had before (Linux resets the peak on request).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from qdgs.datasets.manifest import (
    KEY,
    ROW_GROUP,
    StoredManifest,
    manifest_metadata,
    read_manifest,
    write_parts,
)
from qdgs.datasets.render import render
from qdgs.generators.base import Generator
from qdgs.judges.base import Judge
from qdgs.parts import load_generator, load_judge
from qdgs.stages.readings import read_images

LENGTHS = (10_000, 100_000, 1_000_000)
SHARD = 1000
WAYS = ("another shard", "first shard", "the auditor", "read at once")


def parts(length: int, latent_dim: int) -> Iterator[pd.DataFrame]:
    """Rows as flattening writes them."""
    rng, width = np.random.default_rng(0), len(str(length - 1))
    for start in range(0, length, ROW_GROUP):
        numbers = np.arange(start, min(start + ROW_GROUP, length))
        labels = np.where(numbers % 2, "square", "triangle")
        ids = [f"{number:0{width}d}" for number in numbers]
        latents = rng.standard_normal((len(numbers), latent_dim), dtype=np.float32)
        yield pd.DataFrame(
            {
                "id": ids,
                "file": [f"train/{label}/{name}.png" for label, name in zip(labels, ids, strict=True)],
                "label": labels,
                "group": np.char.add("red/", labels),
                "cell": numbers % 12_800,
                "rank": numbers // 12_800,
                "objective": rng.standard_normal(len(numbers), dtype=np.float32),
                "lineage": numbers % 1000,
                **{f"latent_{column:04d}": latents[:, column] for column in range(latent_dim)},
            }
        )


def write(path: Path, length: int) -> None:
    """A manifest of random latents."""
    metadata = manifest_metadata(
        generator={"name": "shapes-vae", "options": {}, "sha256": ""},
        guide={},
        label="edges",
        values={"edges": ["triangle", "square"]},
        micro_batch=64,
        image_size=128,
        device="cpu",
        version="0",
    )
    tables = (pa.Table.from_pandas(part, preserve_index=False) for part in parts(length, 6))
    first = next(tables)
    schema = first.schema.with_metadata({KEY: json.dumps(metadata).encode()})
    write_parts(path, schema, (table.cast(schema) for table in [first, *tables]))


def measure(path: Path, way: str, generator: Generator, auditor: Judge) -> dict[str, Any]:
    """Seconds of CPU, and how much memory peaked above what there was."""
    manifest, done = StoredManifest(path), {"images": 0, "png_bytes": 0}
    with tempfile.TemporaryDirectory() as folder:
        if way == "the auditor":
            done = rendered(manifest, generator, Path(folder), first=False)
        Path("/proc/self/clear_refs").write_text("5")
        before, begun = memory("VmRSS"), time.process_time()
        if way == "read at once":
            read_manifest(path)
        elif way == "the auditor":
            read(Path(folder), auditor, generator.image_size)
        else:
            done = rendered(manifest, generator, Path(folder), first=way == "first shard")
        seconds = time.process_time() - begun
    return {"cpu_seconds": seconds, "more_mib": memory("VmHWM") - before, **done}


def memory(key: str) -> float:
    """MiB of this process's memory, as the system counts it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def rendered(manifest: StoredManifest, generator: Generator, folder: Path, *, first: bool) -> dict[str, int]:
    """Render a shard, and count images and their bytes."""
    shard = (0 if first else 1, max(2, len(manifest) // SHARD))
    told = manifest.metadata
    done = render(manifest, generator, folder, micro_batch=64, shard=shard, metadata=told)
    return {
        "images": done.written,
        "png_bytes": sum(file.stat().st_size for file in folder.rglob("*.png")),
    }


def read(folder: Path, auditor: Judge, image_size: int) -> None:
    """Let the auditor read what was rendered."""
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))
    for images in read_images(folder, files, image_size):
        auditor.judge(images)


def main() -> None:
    """Measure one way after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, auditor = load_generator("shapes-vae"), load_judge("shape-cnn")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for length in given.lengths:
            path = Path(folder) / f"{length}.parquet"
            write(path, length)
            size = path.stat().st_size / 2**20
            for way in WAYS:
                rows.append({"rows": length, "file_mib": size, "way": way})
                rows[-1] |= measure(path, way, generator, auditor)
                print(rows[-1], flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(3).to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
