"""A probe from end to end: balanced images, the model's answers, pairs, failures, tables and a page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from qdgs.config import check_out
from qdgs.errors import InputError
from qdgs.files import write_json, write_text
from qdgs.probe.answers import Answers, Reader
from qdgs.probe.errors import Confusion, known_confusion
from qdgs.probe.examine import Examined, examine, failed_ids
from qdgs.probe.failures import Found, check_failures, search_failures
from qdgs.probe.kept import Kept, latents_frame
from qdgs.probe.models import load_probed
from qdgs.probe.pairs import PairEffect, pair_effect, pairs_table
from qdgs.probe.restoration import Restorer, changes_table
from qdgs.probe.samples import RESAMPLING, Parts, Pool, ProbeSet, open_parts
from qdgs.probe.tables import effects_table, groups_table, summary_of
from qdgs.probe_config import ProbeConfig, dump_probe
from qdgs.randomness import Stream, stream
from qdgs.run import Step, Watch, unwatched
from qdgs.stages.frames import write_frame

TABLE = "probe.csv"
CONFIG = "config.yaml"
SOMETIMES = ("pairs.csv", "failures.csv", "failures.parquet", "changes.csv")
"""What only some probes write."""
LOOKED_AT = 4
"""Images that the model is shown before anything is spent on it."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What a probe found.

    Attributes:
        path: Its folder.
        config: What it was asked.
        examined: What the answers to balanced images say.
        pairs: What changing one attribute alone does.
        failures: Failures that were searched for; None where none were.
        notes: What a reader has to know, a sentence each.
    """

    path: Path
    config: ProbeConfig
    examined: Examined
    pairs: list[PairEffect]
    failures: Found | None
    notes: tuple[str, ...]


def probe_model(
    config: ProbeConfig, out: Path | str, *, device: str = "cpu", watch: Watch = unwatched
) -> Probe:
    """Probe a model with balanced images, and write tables, figures and report.html.

    Images are kept in the folder, so that a second call, with the same or another model, draws none anew.

    Args:
        config: The probe.
        out: A new folder, or that of a probe.
        device: Where models work.
        watch: Told after each part.

    Raises:
        InputError: The folder holds something else, the model cannot be had or does not fit its task, or no
            image of any group was found.
    """
    out = Path(out)
    from qdgs.report.probe import write_report

    check_out(out, "probe", "probe")
    model = load_probed(config.model, device=device)
    parts = open_parts(config, device=device)
    restorer = Restorer(model, config.model, parts) if config.model.task == "restorer" else None
    values = parts.attributes.get(config.answers or "", ())
    reader = Reader(model, config.model, values) if restorer is None else restorer.reader
    searches = config.failures is not None and config.answers is not None
    if searches:
        check_failures(parts)
    _look(reader, parts)
    if not (
        out / CONFIG
    ).is_file():  # that of an earlier probe stays beside its tables until there are others
        write_text(out / CONFIG, dump_probe(config))
    kept = Kept(out / "kept", config)
    watch(Step("probe: images", 0, 4, "parts"))
    pool = kept.pool(parts)
    probe_set = kept.probe_set(parts, pool)
    watch(Step("probe: answers", 1, 4, "parts"))
    answers = reader.read(parts.images(probe_set.latents))
    if answers.failed.all():
        raise InputError(f"model: failed on every image: {next(iter(answers.failures))}")
    examined = examine(
        answers,
        probe_set,
        stream(config.seed, Stream.PROBING, RESAMPLING),
        attribute=config.answers,
        settings=config.findings,
        confusion=None if restorer else confusion_of(parts),
        prior=prior_of(parts, pool),
        right=None if restorer is None else restorer.right,
    )
    watch(Step("probe: pairs", 2, 4, "parts"))
    matched = [] if config.pairs is None or restorer else kept.pairs(parts, pool, probe_set)
    effects = [
        pair_effect(
            pairs,
            reader.read(parts.images(pairs.low)),
            reader.read(parts.images(pairs.high)),
            level=1 - config.findings.level,
        )
        for pairs in matched
    ]
    watch(Step("probe: failures", 3, 4, "parts"))
    found = search_failures(parts, reader, pool) if searches else None
    result = Probe(out, config, examined, effects, found, _notes(parts, probe_set, config))
    _write(result, answers, probe_set, None if restorer is None else changes_table(answers, probe_set))
    write_report(result, parts, probe_set, answers, matched, restorer)
    watch(Step("probe: failures", 4, 4, "parts"))
    return result


def confusion_of(parts: Parts) -> Confusion | None:
    """How the auditor reads images of known group, where it brings such."""
    return known_confusion(getattr(parts.auditor, "confusion", None), parts.attributes)


def prior_of(parts: Parts, pool: Pool) -> np.ndarray:
    """How often each group is read in random samples `(K,)`."""
    codes = pool.codes(parts.attributes)
    groups = math.prod(len(values) for values in parts.attributes.values())
    counts: np.ndarray = np.bincount(codes[codes >= 0], minlength=groups)
    return counts


def _look(reader: Reader, parts: Parts) -> None:
    """Show the model a few random images: what does not fit its task is told before images are drawn."""
    rng = stream(parts.config.seed, Stream.PROBING, 1000)
    latents = parts.generator.sample_latents(LOOKED_AT, rng)
    reader.read(parts.images(latents))


def _notes(parts: Parts, probe_set: ProbeSet, config: ProbeConfig) -> tuple[str, ...]:
    confusion = confusion_of(parts)
    auditor = config.run.judges.auditor
    who = auditor.who if auditor is not None else "the judge"
    if confusion is None:
        judged = (
            f"Nobody has counted the errors of {who} on images of known group: what it misreads counts as "
            "the model's error."
        )
    else:
        judged = (
            f"Errors by group are corrected for those of {who}, counted on {confusion.known:,} images of "
            f"known {' and '.join(confusion.attributes)}."
        )
    alone = len(parts.judge.judges) == 1
    if confusion is not None and not alone:
        judged += (
            " Groups are what all judges agree on, which is right at least as often: correction and "
            "intervals are rather too large than too small."
        )
    agreed = (
        f"{who} alone says which group an image is of."
        if alone
        else "An image is of a group where all judges that read it say so; what they differ on is in none."
    )
    return (judged, agreed, *(f"{note[:1].upper()}{note[1:]}." for note in probe_set.notes))


def _write(probe: Probe, answers: Answers, probe_set: ProbeSet, changes: pd.DataFrame | None) -> None:
    for name in SOMETIMES:  # of another model that was probed in this folder
        (probe.path / name).unlink(missing_ok=True)
    out, examined = probe.path, probe.examined
    tables: dict[str, pd.DataFrame] = {
        TABLE: examined.probe_table,
        "groups.csv": groups_table(examined),
        "effects.csv": effects_table(examined),
        "disparities.csv": examined.disparities,
        "failed.csv": failed_ids(answers, probe_set),
    }
    if probe.pairs:
        tables["pairs.csv"] = pairs_table(probe.pairs)
    if probe.failures is not None:
        tables["failures.csv"] = probe.failures.table
    if changes is not None:
        tables["changes.csv"] = changes
    write_text(out / CONFIG, dump_probe(probe.config))
    for name, table in tables.items():
        write_text(out / name, table.to_csv(index=False, float_format="%.6g"))
    told = {f"p_{value}": answers.probabilities[:, at] for at, value in enumerate(answers.values)}
    columns = ["id", "group", "half"]
    write_frame(out / "answers.parquet", probe_set.rows[columns].assign(**told, failed=answers.failed))
    if probe.failures is not None:
        found = probe.failures.searched
        rows = found.rows.reset_index(drop=True)
        write_frame(out / "failures.parquet", pd.concat([rows, latents_frame(found.latents)], axis=1))
    write_json(
        out / "summary.json",
        summary_of(
            probe.config, probe.examined, probe.pairs, probe.failures, answers=answers, notes=probe.notes
        ),
    )
