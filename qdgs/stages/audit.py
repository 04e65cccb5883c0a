"""Grade the dataset by the auditor, beside as many random samples of the same generator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from qdgs.ahead import ahead
from qdgs.config import DatasetConfig
from qdgs.datasets.balance import balance_sentences
from qdgs.datasets.identities import identity_sentences
from qdgs.datasets.manifest import StoredManifest
from qdgs.errors import InputError
from qdgs.fairness.audit import JudgedImages, audit, audited_groups, audited_targets
from qdgs.fairness.correction import confusion_counts
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.files import read_json, write_json, write_text
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_stored
from qdgs.guides.base import SearchGuide
from qdgs.judges.base import Judge
from qdgs.parts import judges_shared, load_judge
from qdgs.randomness import Stream, stream
from qdgs.report.numbers import warnings_of
from qdgs.roles import JudgesConfig, Named, judge_names
from qdgs.run import Run, Step, Watch
from qdgs.stages.bank import Bank
from qdgs.stages.corrected import ELITE_READINGS, corrected_scores
from qdgs.stages.cuts import Cuts, guide_groups, guide_values
from qdgs.stages.flatten import FLATTEN, MANIFEST, open_bank, random_latents
from qdgs.stages.frames import write_frame
from qdgs.stages.readings import Readings, keep_shard, read_apart
from qdgs.stages.scoring import Scorer, load_scorer, scores_of

AUDIT = "audit.json"
AUDIT_TABLE = "audit.csv"
READINGS = "audit_images.parquet"
"""What the auditor reads off each image of the dataset: its `id` and the auditor's columns."""
RANDOM_READINGS = "audit_random.parquet"
"""What it reads off each random sample, and the `group` that the guide puts that into, gaps closed."""


def perform(
    run: Run, *, device: str, watch: Watch, shard: tuple[int, int] | None = None
) -> dict[str, Any] | None:
    """Let the auditor read the dataset's files and as many random samples, and write audit.json and .csv.

    A shard is read and kept alone: the audit of the whole takes it up. Where the run's workers are Ray's,
    they read the dataset in shards.

    Returns:
        The auditor's keys of summary.json; none where there is no auditor. None for a shard.
    """
    if shard is not None:
        keep_shard(run, shard, device=device)
        return None
    named = run.config.judges.auditor
    if named is None:
        write_json(run.path / AUDIT, {"warnings": warnings_of(run.summary)})
        for stale in (AUDIT_TABLE, READINGS, RANDOM_READINGS, ELITE_READINGS):
            (run.path / stale).unlink(missing_ok=True)
        return {}
    auditor = load_judge(named, device=device)
    audited_groups(run.config.dataset)
    scorer = load_scorer(run, device=device)
    bank = open_bank(run, scorer, device=device, watch=watch)
    _check_reads(run.config.dataset, bank.judged(auditor))
    embedding = bank.embedding()
    dataset = _dataset(run, auditor, embedding, device=device, watch=watch)
    result = audit(
        dataset,
        _random_samples(run, scorer, auditor, embedding, bank, watch=watch),
        run.config.dataset,
        stream(run.config.seed, Stream.AUDIT),
        bank=JudgedImages(bank.judged(auditor), bank.embeddings()),
        confusion=known_confusion(auditor, run.config.dataset),
        notes=[*_notes(run, scorer), *_exposed(auditor, dataset.judged)],
    )
    scores = corrected_scores(run, scorer, auditor, bank, device=device, watch=watch)
    numbers = {**result.summary(), **scores}
    shared = judges_shared(run.config.judges)
    warnings = warnings_of(
        {**run.summary, **numbers}, shared_judge=bool(shared), left_out=result.diversity.left_out
    )
    whole = {
        **result.to_dict(),
        "auditor": named.who,
        "shared": bool(shared),
        "warnings": warnings,
    }
    write_json(run.path / AUDIT, whole)
    write_text(run.path / AUDIT_TABLE, result.to_frame().to_csv(index=False))
    return numbers


def known_confusion(auditor: Judge, dataset: DatasetConfig) -> pd.DataFrame | None:
    """Counts of groups as read by known group, where the auditor brings images of known group.

    They are its `confusion`, a frame in long form: for each attribute its true value under the attribute's
    name and the value read under `<attribute>_read`, and `count`.
    """
    counted = getattr(auditor, "confusion", None)
    attributes = [str(group.audit) for group in audited_groups(dataset).values()]
    if counted is None or not {*attributes, *(f"{name}_read" for name in attributes)} <= set(counted.columns):
        return None
    rows = counted.loc[np.repeat(np.arange(len(counted)), counted["count"].to_numpy())]
    names = list(audited_targets(dataset))
    sides = [_joined(rows, [name + suffix for name in attributes], names) for suffix in ("", "_read")]
    return confusion_counts(sides[0], sides[1], names)


def _check_reads(config: DatasetConfig, judged: pd.DataFrame) -> None:
    for name, group in config.groups.items():
        if group.audit and judged[group.audit].isna().all():
            raise InputError(
                f"dataset.groups.{name}.audit: the auditor reads no {group.audit!r} off any of "
                f"{len(judged):,} random samples; choose an auditor that knows what the generator makes"
            )


def _dataset(
    run: Run, auditor: Judge, embedding: PixelEmbedding, *, device: str, watch: Watch
) -> JudgedImages:
    if run.config.workers.kind == "ray":
        read_apart(run, watch)
    judged = Readings(run, auditor, embedding, device=device, watch=watch).all()
    ids = pd.concat(StoredManifest(run.path / MANIFEST).parts(["id"]), ignore_index=True)["id"]
    write_frame(run.path / READINGS, pd.concat([ids, judged.judged], axis=1))
    return judged


def _random_samples(
    run: Run, scorer: Scorer, auditor: Judge, embedding: PixelEmbedding, bank: Bank, *, watch: Watch
) -> JudgedImages:
    n, dataset = run.summary["images"], run.config.dataset
    latents = random_latents(run, scorer.generator, n).to(bank.latents.device)
    scores = scores_of(scorer, latents, bank.micro_batch)
    cuts = read_cuts(run)
    labels = guide_values(scores, _without_gaps(dataset), cuts, dataset.label)
    batches = generate_quickly(scorer.generator, latents, bank.micro_batch, as_stored)
    judged = _judged(auditor, embedding, batches, labels, watch)
    groups = guide_groups(scores, _without_gaps(dataset), cuts)
    write_frame(run.path / RANDOM_READINGS, judged.judged.assign(group=pd.Series(groups, dtype=object)))
    return judged


def _without_gaps(dataset: DatasetConfig) -> DatasetConfig:
    """Every random sample gets a label: who trains on them has no gap to drop them into."""
    groups = {name: group.model_copy(update={"gap": 0.0}) for name, group in dataset.groups.items()}
    return dataset.model_copy(update={"groups": groups})


def read_cuts(run: Run) -> Cuts:
    """The cut points that the dataset was flattened with."""
    flattened = read_json(run.path / FLATTEN)
    return Cuts(flattened["cuts"], flattened["calibrated"])


def _judged(
    auditor: Judge,
    embedding: PixelEmbedding,
    batches: Iterable[Tensor],
    labels: list[str | None],
    watch: Watch,
) -> JudgedImages:
    read, embedded, done = [], [], 0
    for images in ahead(batches):
        read.append(auditor.judge(images))
        embedded.append(embedding.transform(images))
        done += len(images)
        watch(Step("audit: random samples", done, len(labels), "images"))
    return JudgedImages(pd.concat(read, ignore_index=True), np.concatenate(embedded), labels)


def _joined(rows: pd.DataFrame, columns: list[str], names: list[str]) -> pd.Series:
    groups = rows[columns].astype(str).agg("/".join, axis=1).astype(object)
    return groups.where(groups.isin(names), None)


def _notes(run: Run, scorer: Scorer) -> list[str]:
    judges = run.config.judges
    notes = shared_notes(judges)
    if judges.teacher and judges.auditor and judges.teacher.who != judges.auditor.who:
        notes.append(f"The cuts between groups were placed with labels of {judges.teacher.who}.")
    return [*notes, *taught_notes(scorer.guide, judges), *_chosen(run)]


def shared_notes(judges: JudgesConfig) -> list[str]:
    """Which roles the auditor holds beside its own."""
    notes = []
    if isinstance(judges.auditor, Named) and (shared := judges_shared(judges)):
        roles = " and the ".join(shared)
        notes.append(f"The auditor {judges.auditor.who} is also the {roles}: its grades are not independent.")
    elif judges.auditor:
        held = judges.held_by_the_auditor().items()
        notes += [
            f"Of the auditors {names} is also the {role}: those grades are not independent."
            for role, names in held
        ]
    return notes


def _exposed(auditor: Judge, read: pd.DataFrame) -> list[str]:
    """How far the light decides what a judge of the auditor's reads, where it tells."""
    judges = [one for one in getattr(auditor, "judges", [auditor]) if hasattr(one, "exposure_changes")]
    return [
        f"One stop less or more of light would change the class of {changes.lightness:.0%} of the "
        f"{changes.faces:,} faces whose lightness was read: it is apparent lightness, and skin tone only "
        "where that is under 10 %."
        for changes in (one.exposure_changes(read) for one in judges)
        if changes.faces
    ]


def _chosen(run: Run) -> list[str]:
    """What was balanced beside the groups, and what identities are."""
    flattened = read_json(run.path / FLATTEN)
    return [*balance_sentences(flattened.get("balance")), *identity_sentences(flattened.get("identities"))]


def taught_notes(guide: SearchGuide, judges: JudgesConfig) -> list[str]:
    """Whose labels taught the guide its words, where its card says so."""
    encoder = getattr(guide, "encoder", None)
    teachers = getattr(encoder, "card", {}).get("taught_by")
    if encoder is None or teachers is None:
        return []
    note = f"The guide {encoder.name} learned its words from labels of {teachers}"
    auditors = judge_names(judges.auditor)
    both = [name for name in auditors if name in str(teachers).split(" and ")]
    if not both:
        return [f"{note}, which is not the auditor."]
    if len(auditors) == 1:
        return [f"{note}, which is also the auditor: its grades are not independent."]
    return [f"{note}, of whom {' and '.join(both)} also audits: those grades are not independent."]
