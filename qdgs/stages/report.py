"""Draw the figures and write the one page of a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from qdgs.datasets.merging import MERGED
from qdgs.errors import MissingModelError, MissingPackageError
from qdgs.files import read_json
from qdgs.generators.base import Generator
from qdgs.parts import load_generator
from qdgs.report.page import report
from qdgs.run import Run, Step, Watch, unwatched


def perform(run: Run, *, device: str, watch: Watch) -> dict[str, Any]:
    """Write figures/ and report.html; with images of the dataset alone where the generator is missing."""
    write_report(run, device=device, watch=watch)
    return {}


def write_report(run: Run, *, device: str, watch: Watch = unwatched) -> Path:
    """Write figures/ and report.html of what a folder holds, and tell where the page is."""
    generator: Generator | None = None
    if not _of_several(run):
        with suppress(MissingModelError, MissingPackageError):
            generator = load_generator(run.config.generator, device=device)

    def tell(kind: str, done: int, total: int) -> None:
        watch(Step("report: figures" if kind == "figures" else "report", done, total, kind))

    return report(run.path, generator, device=device, config=run.config, progress=tell)


def _of_several(run: Run) -> bool:
    """Whether it is a dataset merged from several generators: random samples of one would mislead."""
    if not (run.path / MERGED).exists():
        return False
    return len({source["generator"] for source in read_json(run.path / MERGED)["sources"]}) > 1
