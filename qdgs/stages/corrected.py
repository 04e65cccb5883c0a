"""What a search really reached, and a random search of the same budget beside it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from qdgs.config import audited_attributes
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.fairness.corrected import CorrectedArchive, corrected_measures, corrected_qd_score
from qdgs.files import fingerprint, read_json, write_json
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge, judge_batches
from qdgs.run import Run, Step, Watch
from qdgs.search.algorithms import build_archives
from qdgs.search.evaluation import Evaluator
from qdgs.search.loop import illuminate
from qdgs.search.settings import settle
from qdgs.search.state import Search
from qdgs.stages.bank import Bank
from qdgs.stages.frames import read_frame, write_frame
from qdgs.stages.identity import guide_key, identity
from qdgs.stages.scoring import Scorer
from qdgs.stages.search import ARCHIVE, METRICS, Settled

RANDOM_ARCHIVE = "search/random_archive.parquet"
RANDOM_KEY = "search/random_archive.json"
ELITE_READINGS = "search/audit_elites.parquet"
"""What the auditor reads off each elite: its `cell` and the auditor's columns."""


def corrected_scores(
    run: Run, scorer: Scorer, auditor: Judge, bank: Bank, *, device: str, watch: Watch
) -> dict[str, float]:
    """`corrected_qd_score` of the run's archive, and `random_corrected_qd_score` of a random search."""
    elites = read_frame(run.path / ARCHIVE, "search")
    random = random_archive(run, scorer, device=device, watch=watch)
    archives = {"audit: elites": elites, "audit: elites of the random search": random}
    judged = [
        _judged(scorer, auditor, bank, rows, device=device, watch=watch, stage=stage)
        for stage, rows in archives.items()
    ]
    write_frame(
        run.path / ELITE_READINGS, pd.concat([elites[["cell"]].reset_index(drop=True), judged[0]], axis=1)
    )
    return {
        "corrected_qd_score": _corrected(run, scorer, auditor, bank, elites, judged[0]),
        "random_corrected_qd_score": _corrected(run, scorer, auditor, bank, random, judged[1]),
    }


def random_archive(run: Run, scorer: Scorer, *, device: str, watch: Watch) -> pd.DataFrame:
    """Elites of a random search of the run's budget in an archive of the same ranges and objective scale.

    The budget is counted in forward passes, so that gradients count. It is searched once and kept.
    """
    settled, budget = Settled.of(run), _equivalents(run)
    key = fingerprint([*_read_by_random(run, scorer, settled), budget])
    if (run.path / RANDOM_ARCHIVE).exists() and _key(run) == key:
        return read_frame(run.path / RANDOM_ARCHIVE, "audit")
    archive = _random_search(run, scorer, settled, budget, device=device, watch=watch).archive_frame()
    write_frame(run.path / RANDOM_ARCHIVE, archive)
    write_json(run.path / RANDOM_KEY, {"key": key, "evaluations": budget})
    return archive


def _read_by_random(run: Run, scorer: Scorer, settled: Settled) -> list[Any]:
    models = [identity(scorer.generator), *guide_key(scorer.guide)]
    configs = [settled.config.model_dump(mode="json"), scorer.guide.config.model_dump(mode="json")]
    return [*models, *configs, settled.calibration.as_dict(), run.config.seed]


def _random_search(
    run: Run, scorer: Scorer, settled: Settled, budget: int, *, device: str, watch: Watch
) -> Search:
    generator, measures = scorer.generator, run.config.guide.measures
    config = settled.config.model_copy(update={"algorithm": "random", "preset": "tuned", "seconds": None})
    evaluator = Evaluator(
        scorer,
        latent_dim=generator.latent_dim,
        measure_dim=len(measures),
        micro_batch=settled.config.micro_batch,
        device=device,
    )
    search = Search.create(
        settle(config, generator.latent_dim, generator.differentiable),
        measures,
        evaluator=evaluator,
        sample_prior=generator.sample_latents,
        seed=run.config.seed,
        calibration=settled.calibration,
    )
    for progress in illuminate(search, budget):
        watch(Step("audit: random search", progress.evaluations, budget, "evaluations"))
    return search


def corrected_archive(
    run: Run, scorer: Scorer, auditor: Judge, bank: Bank, elites: pd.DataFrame, judged: pd.DataFrame
) -> CorrectedArchive:
    """Elites put into an empty archive of the run again, where the auditor says they belong.

    Args:
        run: Whose archive.
        scorer: Its guide places the bank's random samples.
        auditor: Who read the elites.
        bank: Random samples, through whose quantiles the auditor's scores become measures.
        elites: `objective` and measures, one row an elite.
        judged: The auditor's rows for their images as they would be stored.
    """
    places = corrected_measures(
        elites,
        judged,
        bank.scored(scorer),
        bank.judged(auditor),
        measures=[measure.name for measure in run.config.guide.measures],
        audited=audited_attributes(run.config),
        groups=run.config.dataset.groups,
        attributes=auditor.attributes,
    )
    archive = _archive(run, scorer)
    return corrected_qd_score(
        elites["objective"].to_numpy(),
        places,
        judged["accepted"].to_numpy(bool),
        archive.index_of,
        archive.cells,
    )


def _judged(
    scorer: Scorer,
    auditor: Judge,
    bank: Bank,
    elites: pd.DataFrame,
    *,
    device: str,
    watch: Watch,
    stage: str,
) -> pd.DataFrame:
    if elites.empty:
        return pd.DataFrame()
    latents = latents_of(elites, device)
    batches = generate_quickly(scorer.generator, latents, bank.micro_batch, as_stored)
    return judge_batches(
        auditor, batches, progress=lambda done: watch(Step(stage, done, len(elites), "images"))
    )


def _corrected(
    run: Run, scorer: Scorer, auditor: Judge, bank: Bank, elites: pd.DataFrame, judged: pd.DataFrame
) -> float:
    if elites.empty:
        return 0.0
    return corrected_archive(run, scorer, auditor, bank, elites, judged).qd_score


def _archive(run: Run, scorer: Scorer) -> Any:
    settled = Settled.of(run)
    latent_dim, seed = scorer.generator.latent_dim, run.config.seed
    return build_archives(settled.config, run.config.guide.measures, settled.calibration, latent_dim, seed)[0]


def _equivalents(run: Run) -> int:
    try:
        return int(pd.read_csv(run.path / METRICS)["equivalents"].iloc[-1])
    except (OSError, ValueError, KeyError, IndexError):
        return int(run.summary["evaluations"])


def _key(run: Run) -> str | None:
    try:
        return str(read_json(run.path / RANDOM_KEY).get("key"))
    except InputError:
        return None
