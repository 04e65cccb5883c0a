"""Hand the dataset over: its card, and copies in other formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from qdgs.datasets.card import write_card
from qdgs.datasets.export import export
from qdgs.datasets.gaps import TOP_UP, together
from qdgs.datasets.manifest import read_manifest
from qdgs.datasets.splits import WHOLE
from qdgs.files import read_json
from qdgs.randomness import Stream, integer_seed
from qdgs.report.labelling import read_certificate
from qdgs.run import Run, Step, Watch
from qdgs.stages.audit import AUDIT
from qdgs.stages.flatten import MANIFEST

CARD = "dataset/README.md"
CERTIFICATE = "certificate.json"


def perform(
    run: Run,
    *,
    device: str,
    watch: Watch,
    format: str | None = None,
    out: Path | None = None,
    splits: Mapping[str, float] = WHOLE,
) -> dict[str, Any]:
    """Write the dataset card; dataset/ itself is what Hugging Face's and torchvision's image folders read.

    Args:
        run: The run.
        device: Not used: nothing is computed.
        watch: Told how many images of the copy are written.
        format: A further format to copy the dataset into.
        out: The copy's folder; RUN/export/FORMAT where it is not given.
        splits: Split → share of the copy, stratified by group.
    """
    write_dataset_card(run)
    if format is not None:
        seed = integer_seed(run.config.seed, Stream.SPLITS)
        folder = out or run.path / "export" / format
        export(
            run.path / "dataset",
            folder,
            format=format,
            splits=splits,
            seed=seed,
            progress=lambda done, total: watch(Step("export", done, total, "images")),
        )
    return {}


def write_dataset_card(run: Run) -> None:
    """Write dataset/README.md, with the auditor's numbers where there is an audit."""
    manifest = read_manifest(run.path / MANIFEST)
    audited = read_json(run.path / AUDIT) if (run.path / AUDIT).exists() else {}
    graded = audited if "dataset" in audited else None
    certificate = read_certificate(run.path / CERTIFICATE, manifest.rows)
    write_card(
        run.path / CARD,
        manifest.rows,
        manifest.metadata,
        audit=graded,
        certificate=certificate,
        top_up=_top_up(run, manifest.rows),
    )


def _top_up(run: Run, manifest: pd.DataFrame) -> dict[str, Any] | None:
    """What the images of a user hold and lack, where the run fills their gaps."""
    if not (run.path / TOP_UP).exists():
        return None
    found = read_json(run.path / TOP_UP)
    return {**found, "rows": together(found, manifest, run.config.dataset)}
