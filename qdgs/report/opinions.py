"""What guide and judge say of the same images, value by value, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.config import DatasetConfig, group_names
from qdgs.datasets.groups import assign_values, group_codes

Codes = NDArray[np.int64]
UNKNOWN = -1


class Agreement(IntEnum):
    """What the judge says to the guide's group of an image.

    Attributes:
        AGREES: Every attribute that it audits is as the guide says.
        DISAGREES: One at least is not.
        UNREADABLE: It cannot tell one at least.
        UNTOLD: There is no judge, or the guide gives no group: between two cuts.
    """

    AGREES = 0
    DISAGREES = 1
    UNREADABLE = 2
    UNTOLD = 3


@dataclass(frozen=True, eq=False)
class Opinions:
    """What guide and judge say of `n` images.

    Attributes:
        dataset: Groups and their values.
        asked: Position of each grouped measure's value as the guide sees it `(n, groups)`, −1 where it
            gives none.
        read: The same as the judge reads it, −1 where it cannot tell or does not audit; None without a judge.
    """

    dataset: DatasetConfig
    asked: Codes
    read: Codes | None

    @property
    def group(self) -> Codes:
        """Position of the guide's group in `config.group_names` `(n,)`, −1 between two cuts."""
        return group_codes(self.asked, self.dataset)

    @property
    def audited(self) -> list[int]:
        """Grouped measures that a judged attribute answers to, by position."""
        return [at for at, group in enumerate(self.dataset.groups.values()) if group.audit is not None]

    @property
    def audited_names(self) -> list[str]:
        """Groups over the audited measures alone."""
        return group_names({name: group for name, group in self.dataset.groups.items() if group.audit})

    def audited_group(self, codes: Codes) -> Codes:
        """Position in `audited_names` of `asked` or `read` `(n, groups)`, −1 where one value is missing."""
        sizes = [len(group.names) for group in self.dataset.groups.values()]
        position = np.zeros(len(codes), dtype=np.int64)
        for at in self.audited:
            position = position * sizes[at] + codes[:, at]
        position[(codes[:, self.audited] == UNKNOWN).any(axis=1)] = UNKNOWN
        return position

    @property
    def agreement(self) -> Codes:
        """`Agreement` of each image `(n,)`."""
        found = np.full(len(self.asked), Agreement.UNTOLD, dtype=np.int64)
        if self.read is None or not self.audited:
            return found
        asked, read = self.asked[:, self.audited], self.read[:, self.audited]
        told = (asked != UNKNOWN).all(axis=1)
        readable = (read != UNKNOWN).all(axis=1)
        same = (asked == read).all(axis=1)
        found[told] = Agreement.DISAGREES
        found[told & same] = Agreement.AGREES
        found[told & ~readable] = Agreement.UNREADABLE
        return found

    def crossed(self) -> NDArray[np.int64]:
        """Counts `(groups, groups + 1)`: the guide's group by the judge's, in the last column unreadable."""
        groups = len(self.audited_names)
        counts = np.zeros((groups, groups + 1), dtype=np.int64)
        if self.read is None or not self.audited:
            return counts
        asked, read = self.audited_group(self.asked), self.audited_group(self.read)
        told = asked != UNKNOWN
        np.add.at(counts, (asked[told], np.where(read == UNKNOWN, groups, read)[told]), 1)
        return counts

    def take(self, rows: Codes) -> "Opinions":
        """Those of some images."""
        return Opinions(self.dataset, self.asked[rows], None if self.read is None else self.read[rows])


def elite_opinions(
    elites: pd.DataFrame,
    dataset: DatasetConfig,
    cuts: Mapping[str, Sequence[float]] | None,
    judged: pd.DataFrame | None,
) -> Opinions:
    """Opinions of an archive's elites.

    Args:
        elites: One row an elite, with its measures and `cell`.
        dataset: Groups.
        cuts: Cut points of each grouped measure; None where they are not settled yet.
        judged: The auditor's rows with their `cell`; rows of another archive are of no use.
    """
    unknown = np.full((len(elites), len(dataset.groups)), UNKNOWN, dtype=np.int64)
    asked = unknown if cuts is None else assign_values(elites, dataset, cuts)
    return Opinions(dataset, asked, _read(elites["cell"], judged, "cell", dataset))


def image_opinions(manifest: pd.DataFrame, dataset: DatasetConfig, judged: pd.DataFrame | None) -> Opinions:
    """Opinions of a dataset's images.

    Args:
        manifest: One row an image, with its `id` and `group`.
        dataset: Groups.
        judged: The auditor's rows with their `id`; rows of another dataset are of no use.
    """
    values = manifest["group"].str.split("/", expand=True)
    columns = [
        pd.Index(group.names).get_indexer(pd.Index(values[at]))
        for at, group in enumerate(dataset.groups.values())
    ]
    asked = np.stack(columns, axis=1).astype(np.int64)
    return Opinions(dataset, asked, _read(manifest["id"], judged, "id", dataset))


def _read(
    keys: "pd.Series[int] | pd.Series[str]", judged: pd.DataFrame | None, key: str, dataset: DatasetConfig
) -> Codes | None:
    if judged is None or key not in judged:
        return None
    positions = pd.Index(judged[key]).get_indexer(pd.Index(keys))
    audits = [group.audit for group in dataset.groups.values()]
    if (positions < 0).any() or not {audit for audit in audits if audit} <= set(judged.columns):
        return None
    rows = judged.iloc[positions]
    accepted = rows["accepted"].to_numpy(dtype=bool)
    columns = []
    for group in dataset.groups.values():
        if group.audit is None:
            columns.append(np.full(len(rows), UNKNOWN, dtype=np.int64))
            continue
        codes = pd.Index(group.names, dtype=object).get_indexer(pd.Index(rows[group.audit], dtype=object))
        columns.append(np.where(accepted, codes, UNKNOWN))
    return np.stack(columns, axis=1).astype(np.int64)
