"""Which group a solution belongs to, and how many images each group is to have."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.config import DatasetConfig, GroupConfig
from qdgs.errors import InputError

IN_GAP = -1
Cuts = Mapping[str, Sequence[float]]


def exact_counts(shares: Mapping[str, float], images: int) -> dict[str, int]:
    """Whole numbers of images that sum to `images` and are nearest to the shares.

    Largest remainder: each group gets the floor of its share, the groups with the largest remainders one
    more; ties go to the group that comes first.
    """
    exact = np.array(list(shares.values())) / sum(shares.values()) * images
    # A share of 0.3 of 10 is 2.9999…: the floor must not see that.
    counts = np.floor(exact + 1e-9).astype(int)
    remainders = np.round(exact - counts, 9)
    order = np.argsort(-remainders, kind="stable")
    counts[order[: images - counts.sum()]] += 1
    return dict(zip(shares, counts.tolist(), strict=True))


def value_codes(measures: NDArray[np.float64], cuts: Sequence[float], gap: float) -> NDArray[np.int64]:
    """Which value each of `(n,)` measures has, from 0 (low) on, or `IN_GAP` within `gap` of a cut.

    A measure that equals a cut point is on its high side.
    """
    points = np.asarray(cuts, dtype=np.float64)
    codes = np.searchsorted(points, measures, side="right").astype(np.int64)
    in_gap = (np.abs(measures[:, None] - points[None, :]) < gap).any(axis=1)
    codes[in_gap] = IN_GAP
    return codes


def assign_values(solutions: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts) -> NDArray[np.int64]:
    """Value of each solution on each grouped measure, `(n, groups)`, `IN_GAP` where it has none.

    Args:
        solutions: One row a solution, with a column for each grouped measure.
        dataset: Groups, their values and gaps.
        cuts: Cut points of each grouped measure in ascending order, automatic ones found.

    Raises:
        InputError: A measure or its cut points are missing, or do not fit the names of its values.
    """
    columns = []
    for measure, group in dataset.groups.items():
        points = _cut_points(measure, group, cuts)
        columns.append(value_codes(solutions[measure].to_numpy(np.float64), points, group.gap))
    return np.stack(columns, axis=1)


def group_codes(values: NDArray[np.int64], dataset: DatasetConfig) -> NDArray[np.int64]:
    """Position of each solution's group in `config.group_names`, `(n,)`, `IN_GAP` where it has none."""
    codes = np.zeros(len(values), dtype=np.int64)
    for column, group in enumerate(dataset.groups.values()):
        codes = codes * len(group.names) + values[:, column]
    codes[(values == IN_GAP).any(axis=1)] = IN_GAP
    return codes


def _cut_points(measure: str, group: GroupConfig, cuts: Cuts) -> list[float]:
    points = [float(point) for point in cuts.get(measure, [])]
    if len(points) != len(group.names) - 1 or sorted(set(points)) != points or not np.isfinite(points).all():
        raise InputError(
            f"dataset.groups.{measure}.cut: expected {len(group.names) - 1} ascending cut points for the "
            f"values {', '.join(group.names)}, got {points}"
        )
    return points
