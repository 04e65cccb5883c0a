"""One self-contained page of a run: its pictures, its numbers in words, its warnings."""

import base64
import json
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from qdgs.config import RunConfig, load_config
from qdgs.errors import CorruptFileError, InputError
from qdgs.generators.base import Generator
from qdgs.parts import judges_shared
from qdgs.report.numbers import entries, warnings_of
from qdgs.report.pictures import RunFiles, pictures
from qdgs.report.style import percent, save

ROLES = {
    "teacher": "its labels taught the guide or placed the cut points",
    "gate": "it saw the quality of candidates, never a group, and kept the bad ones out",
    "auditor": "it graded the dataset and held no other role",
}


def report(run: Path, generator: Generator | None = None, *, device: torch.device | str = "cpu") -> Path:
    """Draw every picture that a run's files permit into figures/, and write report.html.

    The page holds its pictures and asks the network for nothing.

    Args:
        run: The run folder.
        generator: Renders random samples and elites; without it the pictures that need these are left
            out, or show images of the dataset.
        device: Where the generator works.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder holds no run.
    """
    if not (run / "config.yaml").exists():
        raise InputError(f"{run}: expected a run folder with a config.yaml, got none; start with qdgs run")
    config = load_config(run / "config.yaml")
    files = RunFiles.read(run, config)
    shown = []
    for picture in pictures(files, generator, device=device):
        path = save(picture.figure, run / "figures" / picture.file)
        shown.append({"picture": picture, "data": base64.b64encode(path.read_bytes()).decode()})
    page = run / "report.html"
    page.write_text(_html(run, config, files, shown), encoding="utf-8")
    return page


def _html(run: Path, config: RunConfig, files: RunFiles, shown: list[dict[str, Any]]) -> str:
    environment = Environment(
        loader=PackageLoader("qdgs.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = percent
    summary, audit = _read_json(run / "summary.json"), _read_json(run / "audit.json")
    left_out = audit.get("diversity", {}).get("left_out", {})
    shares = [] if files.shares is None else files.shares.to_dict("records")
    return environment.get_template("page.html").render(
        name=run.resolve().name,
        config=config,
        sections=entries(summary),
        warnings=warnings_of(summary, shared_judge=bool(judges_shared(config.judges)), left_out=left_out),
        notes=audit.get("notes", []),
        shares=shares,
        shown=shown,
        judges=_judges(config),
    )


def _judges(config: RunConfig) -> list[tuple[str, str, str]]:
    """Role, name and duty of each judge."""
    named = ((role, getattr(config.judges, role), duty) for role, duty in ROLES.items())
    shared = judges_shared(config.judges)
    return [
        (role, judge.who, duty.removesuffix(" and held no other role") if shared else duty)
        for role, judge, duty in named
        if judge is not None
    ]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError:
        raise CorruptFileError(f"{path}: is not JSON; run the stage that wrote it again") from None
