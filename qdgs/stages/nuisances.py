"""What is to be balanced within groups: who reads it, and in which bins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from torch import Tensor

from qdgs.config import DatasetConfig, RunConfig
from qdgs.datasets.balance import Nuisance, Nuisances
from qdgs.errors import ConfigError
from qdgs.judges.base import Judge
from qdgs.parts import Device, load_judge
from qdgs.run import Step, Watch, unwatched
from qdgs.stages.bank import Bank
from qdgs.stages.judges import check_column, readers

THE_SAME = 0.999
"""Rank correlation on random samples from which on one number is another in disguise."""


def open_nuisances(
    config: RunConfig,
    bank: Bank,
    images: Callable[[pd.DataFrame], Tensor],
    *,
    device: Device,
    watch: Watch = unwatched,
) -> Nuisances | None:
    """What the configuration balances over, with bins from random samples that the judge accepts.

    Args:
        config: Of the run.
        bank: Random samples.
        images: Candidates → their images.
        device: Where the judges work.
        watch: Told how many candidates have been read.

    Returns:
        None where nothing is to be balanced.

    Raises:
        ConfigError: A judge does not tell what it is to read, or it is what groups are made of.
        InputError: Random samples do not tell the bins.
    """
    dataset = config.dataset
    if not dataset.balance:
        return None
    each, judges = [], []
    for named, columns in readers(config):
        judge = load_judge(named, device=device, role=dataset.balance[columns[0]].judge)
        read = bank.judged(judge)
        for column in columns:
            check_column(column, read, named.who)
            _refuse_disguise(column, read, dataset)
            values = read.loc[read["accepted"].to_numpy(bool), column]
            each.append(Nuisance.of_samples(column, named.who, values, dataset.balance[column].bins))
        judges.append((judge, columns))
    most = dataset.balance_candidates * -(-dataset.images // dataset.per_latent)
    return Nuisances(tuple(each), _Reading(judges, images, watch, most), dataset.balance_candidates)


class _Reading:
    """Reads candidates off their images, and tells a watcher how many."""

    def __init__(
        self,
        judges: list[tuple[Judge, list[str]]],
        images: Callable[[pd.DataFrame], Tensor],
        watch: Watch,
        most: int,
    ) -> None:
        self._judges = judges
        self._images = images
        self._watch = watch
        self._most = most
        self._done = 0

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        seen = self._images(rows)
        read = [judge.judge(seen)[columns] for judge, columns in self._judges]
        self._done += len(rows)
        self._watch(Step("flatten: reading", self._done, max(self._done, self._most), "candidates"))
        return pd.concat(read, axis=1)


def _refuse_disguise(column: str, read: pd.DataFrame, dataset: DatasetConfig) -> None:
    """Refuse a number that orders random samples as the score of a group's attribute does."""
    for measure, group in dataset.groups.items():
        score = f"{group.audit}_score"
        if score in read and abs(_rank_correlation(read[[column, score]])) >= THE_SAME:
            raise ConfigError(
                f"dataset.balance.{column}: expected something that makes no groups, got what orders images "
                f"as {score} does, which dataset.groups.{measure} is made of; dataset.target balances groups"
            )


def _rank_correlation(pair: pd.DataFrame) -> float:
    both = pair.dropna().to_numpy(np.float64)
    if len(both) < 3 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(spearmanr(both[:, 0], both[:, 1]).statistic)
