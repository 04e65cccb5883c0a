"""What an archive is worth: its corrected QD score, and how diverse its groups are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from contestants import Floats, Snapshot
from qdgs.config import audited_attributes
from qdgs.fairness.audit import audited_groups, read_groups
from qdgs.fairness.corrected import GridCells, corrected_measures, corrected_qd_score
from qdgs.fairness.diversity import group_diversity_ratio, kernel_bandwidth
from qdgs.fairness.intervals import Array
from qdgs.generators.base import generate
from qdgs.generators.stored import as_stored
from qdgs.parts import load_judge
from qdgs.search.ranges import Calibration
from qdgs.stages.bank import Bank
from qdgs.stages.scoring import scorer_of
from speed_task import Task

MICRO_BATCH = 64


@dataclass
class Grader:
    """The auditor of the task. An elite that several archives hold is judged once.

    Attributes:
        task: Whose archives.
        calibration: Ranges of the grid.
    """

    task: Task
    calibration: Calibration
    _known: dict[bytes, int] = field(default_factory=dict)
    _judged: list[pd.DataFrame] = field(default_factory=list)
    _embedded: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        config, device = self.task.config, self.task.device
        assert config.judges.auditor is not None, "the task has an auditor"
        self._auditor = load_judge(config.judges.auditor, device=device)
        self._scorer = scorer_of(config, device=device)  # its own: looking for a pace changes layouts
        self._bank = Bank(
            self._scorer.generator,
            samples=config.audit.samples,
            micro_batch=MICRO_BATCH,
            device=self.task.device,
        )
        self._embedding = self._bank.embedding()
        self._cells = GridCells(
            self.calibration.ranges, tuple(measure.cells for measure in config.guide.measures)
        )

    @cached_property
    def _random_scores(self) -> pd.DataFrame:
        return self._bank.scored(self._scorer)

    @cached_property
    def _random_judged(self) -> pd.DataFrame:
        return self._bank.judged(self._auditor)

    def score(self, snapshot: Snapshot) -> float:
        """`corrected_qd_score`."""
        if not len(snapshot.objective):
            return 0.0
        config = self.task.config
        judged, _ = self._seen(snapshot.solutions)
        names = [measure.name for measure in config.guide.measures]
        places = corrected_measures(
            pd.DataFrame(snapshot.measures, columns=names),
            judged,
            self._random_scores,
            self._random_judged,
            measures=names,
            audited=audited_attributes(config),
            groups=config.dataset.groups,
            attributes=self._auditor.attributes,
        )
        accepted = judged["accepted"].to_numpy(bool)
        return corrected_qd_score(
            snapshot.objective, places, accepted, self._cells, len(self._cells)
        ).qd_score

    def diversity(self, snapshot: Snapshot) -> float:
        """`group_diversity_ratio` of the elites that the auditor accepts."""
        if not len(snapshot.objective):
            return math.nan
        groups = audited_groups(self.task.config.dataset)
        judged, embedded = self._seen(snapshot.solutions)
        random = self._random_judged, self._bank.embeddings()
        sides = [_by_group(rows, vectors, groups) for rows, vectors in ((judged, embedded), random)]
        rng = np.random.default_rng(0)
        return group_diversity_ratio(*sides, kernel_bandwidth(random[1]), rng).ratio

    def seconds_to(self, target: float, snapshots: Sequence[Snapshot]) -> float:
        """Seconds until a contestant had the score, by bisection; infinite where it never had.

        Scores grow but for noise, so that the first snapshot above the target is close to the one found.
        """
        if not snapshots or self.score(snapshots[-1]) < target:
            return math.inf
        low, high = -1, len(snapshots) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.score(snapshots[middle]) >= target else (middle, high)
        return snapshots[high].seconds

    def _seen(self, solutions: Floats) -> tuple[pd.DataFrame, Array]:
        """The auditor's rows and embeddings of the solutions' images as they would be stored."""
        keys = [row.tobytes() for row in solutions]
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        new = sorted(index for key, index in first.items() if key not in self._known)
        if new:
            self._judge(solutions[new], [keys[index] for index in new])
        rows = [self._known[key] for key in keys]
        self._judged = [pd.concat(self._judged, ignore_index=True)]
        self._embedded = [np.concatenate(self._embedded)]
        return self._judged[0].iloc[rows].reset_index(drop=True), self._embedded[0][rows]

    def _judge(self, solutions: Floats, keys: Sequence[bytes]) -> None:
        latents = torch.from_numpy(solutions).to(self.task.device)
        for images in generate(self._scorer.generator, latents, MICRO_BATCH):
            self._judged.append(self._auditor.judge(as_stored(images)))
            self._embedded.append(self._embedding.transform(as_stored(images)))
        for key in keys:
            self._known.setdefault(key, len(self._known))


def _by_group(judged: pd.DataFrame, embedded: Array, groups: Any) -> dict[str, Array]:
    read = read_groups(judged, groups)
    return {str(name): embedded[(read == name).to_numpy()] for name in sorted(set(read.dropna()))}
