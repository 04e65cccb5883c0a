"""Correct a dataset's shares by the labels of a person, and tell report and card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qdgs.config import RunConfig, group_names, target_shares
from qdgs.datasets.manifest import read_manifest
from qdgs.errors import CorruptFileError, InputError
from qdgs.fairness.audit import audited_targets
from qdgs.fairness.certificate import CANNOT_TELL, Certificate, Codes, Labels, certify, labeller, read_labels
from qdgs.files import write_json
from qdgs.randomness import Stream, stream
from qdgs.registry import nearest
from qdgs.report.labelling import asked_groups, dataset_key, offered
from qdgs.report.opinions import image_opinions
from qdgs.run import Run
from qdgs.stages.audit import READINGS
from qdgs.stages.export import CERTIFICATE, write_dataset_card
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.frames import read_frame


def certify_run(run: Run, file: Path) -> Certificate:
    """Read labels, write RUN/certificate.json, and the card anew.

    Args:
        run: A run with a dataset; where it has been audited, the judge's errors are corrected, else the
            labels stand alone.
        file: What the report's page saved.

    Raises:
        InputError: The file is not one of labels of this dataset, or holds a value that no group has.
        CorruptFileError: The file is not JSON.
    """
    manifest = read_manifest(run.path / MANIFEST)
    rows = offered(manifest.rows, run.config.seed)
    content = _content(file)
    labels = _labels(run.config, manifest.rows, rows, file, content)
    certificate = certify(
        labels,
        _strata(manifest.rows),
        _read(run, manifest.rows),
        _targets(run.config),
        stream(run.config.seed, Stream.LABELLING, 1),
    )
    judge = run.config.judges.auditor
    key = dataset_key(manifest.rows)
    told = {**certificate.to_dict(), "judge": judge.name if judge else None, "dataset": key}
    write_json(run.path / CERTIFICATE, {**told, "labelled_by": labeller(content)})
    write_dataset_card(run)
    return certificate


def _labels(
    config: RunConfig, manifest: pd.DataFrame, rows: Sequence[int], file: Path, content: Any
) -> Labels:
    ids = manifest["id"].iloc[list(rows)].tolist()
    try:
        given = read_labels(content, dataset=dataset_key(manifest), offered=ids)
        groups = [_group(config, values) for values in given]
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return Labels(np.array(rows[: len(given)], dtype=np.int64), np.array(groups, dtype=np.int64))


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{file}: expected a file of labels, got none; save one in the report's page"
        ) from None
    except (OSError, ValueError):
        raise CorruptFileError(
            f"{file}: cannot be read as JSON; save it again in the report's page"
        ) from None


def _group(config: RunConfig, values: Mapping[str, str | None]) -> int:
    """Position of the group that a person sees, or `CANNOT_TELL`."""
    asked = asked_groups(config.dataset)
    told = []
    for measure, group in asked.items():
        value = values.get(measure)
        if value is not None and value not in group.names:
            raise InputError(f"labels: unknown {measure} {value!r}{nearest(str(value), group.names)}")
        told.append(value)
    return CANNOT_TELL if None in told else group_names(asked).index("/".join(map(str, told)))


def _strata(manifest: pd.DataFrame) -> Codes:
    return np.asarray(pd.factorize(manifest["group"], sort=True)[0], dtype=np.int64)


def _read(run: Run, manifest: pd.DataFrame) -> Codes | None:
    if not (run.path / READINGS).exists():
        return None
    judged = read_frame(run.path / READINGS, "audit")
    opinions = image_opinions(manifest, run.config.dataset, judged)
    return None if opinions.read is None else opinions.audited_group(opinions.read)


def _targets(config: RunConfig) -> dict[str, float]:
    if any(group.audit for group in config.dataset.groups.values()):
        return audited_targets(config.dataset)
    return target_shares(config.dataset)
