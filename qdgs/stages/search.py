"""Search the generator's latents; interrupted, it goes on where it stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qdgs.config import RunConfig, SearchConfig, plain
from qdgs.files import read_json, write_json, write_text
from qdgs.run import READS, Run, Step, Watch
from qdgs.search import checkpoint
from qdgs.search.loop import illuminate
from qdgs.search.ranges import Calibration
from qdgs.search.state import Progress, Search
from qdgs.search.workers import Workers
from qdgs.stages.frames import write_frame
from qdgs.stages.judges import check_judges
from qdgs.stages.live import write_live
from qdgs.stages.scoring import Scorer, load_scorer
from qdgs.stages.workers import scoring_device, search_workers

CHECKPOINT = "search/checkpoint.bin"
ARCHIVE = "search/archive.parquet"
RESERVOIR = "search/reservoir.parquet"
METRICS = "search/metrics.csv"
SETTLED = "search/settled.json"
SAVING_SHARE = 0.05
"""Of a search's time that its checkpoints take at most: a large archive is saved less often."""

LIVE_SECONDS = 5.0
"""How often a search shows itself to whoever watches its folder."""


@dataclass(frozen=True)
class Settled:
    """What a search settled before it began.

    Attributes:
        config: Every key that the algorithm uses, explicit.
        calibration: What random samples said.
    """

    config: SearchConfig
    calibration: Calibration

    @classmethod
    def of(cls, run: Run) -> Settled:
        """Read search/settled.json of a run."""
        data = read_json(run.path / SETTLED)
        return cls(SearchConfig.model_validate(data["search"]), Calibration.from_dict(data["calibration"]))


def perform(run: Run, *, device: str, watch: Watch, anew: bool = False) -> dict[str, Any]:
    """Search until the budget is spent, from the last checkpoint where there is one.

    Args:
        run: The run.
        device: Where generator and guide work.
        watch: Told after each iteration.
        anew: Leave a checkpoint aside and begin from the start.

    Returns:
        The search's keys of summary.json.
    """
    watch(Step("search: models", 0, 1, "parts"))
    scorer = load_scorer(run, device=device)
    check_judges(run.config, device=device, image_size=scorer.generator.image_size, guide=scorer.guide)
    device = scoring_device(run.config, device)
    with search_workers(run.config, scorer) as workers:
        watch(Step("search: random samples", 0, run.config.search.range_samples, "images"))
        search = _search(run, scorer, workers, device=device, anew=anew)
        _settle_and_drive(run, search, watch)
    write_live(run.path, search)
    write_frame(run.path / ARCHIVE, search.archive_frame())
    write_frame(run.path / RESERVOIR, search.reservoir_frame())
    guessed = 0 if search.screen is None else search.screen.guessed  # by a surrogate: no evaluations
    return {**_numbers(search.progress()), "candidates_guessed": guessed}


def _settle_and_drive(run: Run, search: Search, watch: Watch) -> None:
    _write_settled(run, search)
    metrics = _Metrics.until(run.path / METRICS, search.evaluations)
    try:
        _drive(run, search, metrics, watch)
    finally:
        if search.between_iterations:
            checkpoint.save(search, run.path / CHECKPOINT, config=_read_by_search(run.config))
        metrics.write()
    _write_settled(run, search)  # ranges may have been found again


def _write_settled(run: Run, search: Search) -> None:
    settled = {"search": search.config.model_dump(mode="json"), "calibration": search.calibration.as_dict()}
    write_json(run.path / SETTLED, settled)


def budget(run: Run, search: Search) -> tuple[int, float | None]:
    """Evaluations and seconds that a search may take: as configured now, not as it was begun with.

    Evaluations that are not given are those that the search settled; seconds that are not given are no limit.
    """
    given = run.config.search.model_fields_set
    evaluations = run.config.search.evaluations if "evaluations" in given else search.config.evaluations
    return evaluations, run.config.search.seconds


def _search(run: Run, scorer: Scorer, workers: Workers | None, *, device: str, anew: bool) -> Search:
    path = run.path / CHECKPOINT
    prior = scorer.generator.sample_latents
    if path.exists() and not anew:
        known = _read_by_search(run.config)
        return checkpoint.load(
            path, score=scorer, sample_prior=prior, device=device, config=known, workers=workers
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return Search.begin(
        run.config.search,
        run.config.guide.measures,
        scorer,
        latent_dim=scorer.generator.latent_dim,
        differentiable=scorer.differentiable,
        sample_prior=prior,
        seed=run.config.seed,
        device=device,
        workers=workers,
    )


def _drive(run: Run, search: Search, metrics: _Metrics, watch: Watch) -> None:
    evaluations, seconds = budget(run, search)
    config = _read_by_search(run.config)
    saved = shown = time.monotonic()
    pause = every = run.config.search.checkpoint_seconds
    with _interrupts() as interrupted:
        for progress in illuminate(search, evaluations, seconds):
            metrics.add(progress)
            watch(Step("search", progress.evaluations, evaluations, "evaluations", _watched(progress)))
            if interrupted.is_set():
                raise KeyboardInterrupt
            if time.monotonic() - shown > LIVE_SECONDS:
                metrics.write()
                write_live(run.path, search)
                shown = time.monotonic()
            if time.monotonic() - saved > pause:
                begun = time.monotonic()
                metrics.write()
                checkpoint.save(search, run.path / CHECKPOINT, config=config)
                saved = time.monotonic()
                pause = every and max(every, (saved - begun) / SAVING_SHARE)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Wait with an interruption until the iteration is whole; a second one does not wait."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(number: int, frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Metrics:
    """Rows of metrics.csv."""

    def __init__(self, path: Path, rows: list[dict[Any, Any]]) -> None:
        self._path = path
        self._rows = rows
        self._written: int | None = None

    @classmethod
    def until(cls, path: Path, evaluations: int) -> _Metrics:
        """Earlier rows up to where the search stands; what lies beyond is done again."""
        try:
            rows = pd.read_csv(path)
            rows = rows[rows["evaluations"] <= evaluations]
            rows = rows.dropna(subset=["lineages"]).astype({"lineages": int})  # the last line may be cut off
        except (OSError, ValueError, KeyError):
            return cls(path, [])
        return cls(path, [dict(row) for row in rows.to_dict("records")])

    def add(self, progress: Progress) -> None:
        self._rows.append(progress.row())

    def write(self) -> None:
        """Append what is new; the first time everything, as earlier rows may have been cut off."""
        if not self._rows:
            return
        if self._written is None:
            write_text(self._path, pd.DataFrame(self._rows).to_csv(index=False))
        elif new := self._rows[self._written :]:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(pd.DataFrame(new).to_csv(index=False, header=False))
        self._written = len(self._rows)


def _read_by_search(config: RunConfig) -> dict[str, Any]:
    return {key: value for key, value in plain(config).items() if key in READS["search"]}


def _watched(progress: Progress) -> Mapping[str, float]:
    return {name: value for name, value in progress.row().items() if name != "evaluations"}


def _numbers(progress: Progress) -> dict[str, Any]:
    row = progress.row()
    kept = ("evaluations", "qd_score", "norm_qd_score", "coverage", "objective_mean", "clipped_fraction")
    return {
        **{key: row[key] for key in kept},
        "search_seconds": progress.seconds,
        "evaluations_per_second": progress.evaluations / max(progress.seconds, 1e-9),
        "lineages": progress.lineages,
    }
