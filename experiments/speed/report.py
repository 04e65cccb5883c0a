"""Time and size of the page of a run: `python experiments/speed/report.py RUN --out DIR`."""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

import qdgs

ELITES = (500, 1000, 2500, 5000)
SECONDS, MEGABYTES = 20.0, 15.0
"""What a page of 2,500 cells may take, and how large it may be."""


def main() -> None:
    """Write report.csv and report.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run that is through with its audit")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--elites", type=int, nargs="+", default=list(ELITES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [measured(options.run, elites) for elites in options.elites]
    with (options.out / "report.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(rows).savefig(options.out / "report.png", dpi=160)


def measured(run: Path, elites: int) -> dict[str, float]:
    """Seconds and size of the page of a run with so many elites, drawn from its own at random."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("*.bin", "figures", "report.html"))
        thin(folder, elites)
        there = qdgs.Run.open(folder)
        wall, cpu = time.perf_counter(), used()
        there.do("report")
        row = {"seconds": time.perf_counter() - wall, "cpu_seconds": used() - cpu}
        size = (folder / "report.html").stat().st_size / 1e6
        images = len(qdgs.read_manifest(folder / "dataset/manifest.parquet").rows)
    return {"elites": elites, "images": images, **{key: round(value, 2) for key, value in row.items()}} | {
        "megabytes": round(size, 2)
    }


def thin(folder: Path, elites: int) -> None:
    """Leave so many elites in the archive."""
    path = folder / "search" / "archive.parquet"
    archive = pd.read_parquet(path)
    archive.sample(min(elites, len(archive)), random_state=0).sort_values("cell").to_parquet(
        path, index=False
    )


def used() -> float:
    """Seconds of processor time that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def draw(rows: list[dict[str, float]]) -> Figure:
    """Time and size against the number of elites, with what is allowed."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    elites = [row["elites"] for row in rows]
    panels = (("cpu_seconds", "processor seconds", SECONDS), ("megabytes", "size of the page, MB", MEGABYTES))
    for place, (key, heading, limit) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, 2, place)
        axes.plot(elites, [row[key] for row in rows], "o-", color="#0072B2")
        axes.axhline(limit, color="#5f6368", linestyle="--", linewidth=1)
        axes.annotate(
            "allowed for 2,500", (elites[0], limit), (0, -11), textcoords="offset points", fontsize=8
        )
        axes.set_ylim(0, 1.12 * limit)
        axes.set_xlabel("elites in the archive")
        axes.set_title(heading, loc="left", fontsize=10, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
