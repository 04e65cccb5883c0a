"""Draw the figures and write the one page of a run."""

from __future__ import annotations

from typing import Any

from qdgs.parts import load_generator
from qdgs.report.page import report
from qdgs.run import Run, Step, Watch


def perform(run: Run, *, device: str, watch: Watch) -> dict[str, Any]:
    """Write figures/ and report.html."""
    report(run.path, load_generator(run.config.generator, device=device), device=device)
    watch(Step("report", 1, 1, "pages"))
    return {}
