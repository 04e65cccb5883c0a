"""What a search really reached: its elites in an archive at the measures that a judge gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qdgs.config import GroupConfig
from qdgs.errors import InputError
from qdgs.fairness.intervals import Array

IndexOf = Callable[[Array], NDArray[np.int64]]


@dataclass(frozen=True)
class CorrectedArchive:
    """A corrected archive, in numbers.

    Attributes:
        qd_score: Sum over cells of the best objective above the offset.
        norm_qd_score: The same divided by the number of cells.
        coverage: Filled cells over all cells.
        filled: Filled cells.
        cells: All cells.
        rejected: Elites that were left out: not accepted by the judge, or without a score.
    """

    qd_score: float
    norm_qd_score: float
    coverage: float
    filled: int
    cells: int
    rejected: int


@dataclass(frozen=True)
class GridCells:
    """Cells of a regular grid; measures outside of it belong to the cells at its edge, as in pyribs.

    Attributes:
        ranges: Low and high end of each measure.
        cells: Cells along each measure.
    """

    ranges: tuple[tuple[float, float], ...]
    cells: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.ranges) != len(self.cells):
            raise InputError(
                f"grid: expected one range a measure, got {len(self.ranges)} for {len(self.cells)} measures"
            )

    def __len__(self) -> int:
        return int(np.prod(self.cells))

    def __call__(self, measures: Array) -> NDArray[np.int64]:
        """The cell `(n,)` of measures `(n, measure_dim)`, numbered with the last measure fastest."""
        low, high = np.array(self.ranges, dtype=np.float64).T
        cells = np.array(self.cells)
        position = np.floor((measures - low) / (high - low) * cells)
        index = np.clip(position, 0, cells - 1).astype(np.int64)
        cell: NDArray[np.int64] = np.ravel_multi_index(tuple(index.T), self.cells).astype(np.int64)
        return cell


@dataclass(frozen=True, eq=False)
class QuantileMap:
    """A judge's score → the measure at the same quantile of the same random samples; monotone.

    A score's quantile is its mid-rank, (#{x < s} + #{x = s}/2)/n, so ties share one value; the measure's
    quantiles are interpolated between (i − ½)/n. A score that is the measure itself maps onto itself, and
    scores outside of the random samples' range stay at the ends.

    Attributes:
        scores: Random samples' scores `(n,)`, ascending.
        measures: Their guide measures `(n,)`, ascending.
    """

    scores: Array
    measures: Array

    @classmethod
    def fit(cls, scores: ArrayLike, measures: ArrayLike) -> Self:
        """Learn the map from random samples; those without a score or measure do not count.

        Args:
            scores: The judge's score of each random sample, `(n,)`.
            measures: The guide's measure of the same samples, `(n,)`.

        Raises:
            InputError: Two lengths, or no sample with both.
        """
        x, y = np.asarray(scores, dtype=np.float64), np.asarray(measures, dtype=np.float64)
        if x.shape != y.shape:
            raise InputError(f"random samples: expected a measure for each score, got {len(y)} for {len(x)}")
        both = np.isfinite(x) & np.isfinite(y)
        if not both.any():
            raise InputError("random samples: expected at least one with a score and a measure, got none")
        return cls(np.sort(x[both]), np.sort(y[both]))

    def __call__(self, scores: ArrayLike) -> Array:
        """Measures `(n,)` of scores `(n,)`; NaN where there is no score."""
        s = np.asarray(scores, dtype=np.float64)
        n = len(self.scores)
        below = np.searchsorted(self.scores, s, side="left")
        up_to = np.searchsorted(self.scores, s, side="right")
        centres = (np.arange(n) + 0.5) / n
        mapped = np.interp((below + up_to) / (2 * n), centres, self.measures)
        return np.where(np.isfinite(s), mapped, np.nan)


def corrected_measures(
    elites: pd.DataFrame,
    judged: pd.DataFrame,
    random_samples: pd.DataFrame,
    random_judged: pd.DataFrame,
    *,
    measures: Sequence[str],
    audited: Mapping[str, str],
    groups: Mapping[str, GroupConfig],
    attributes: Mapping[str, Sequence[str]] | None = None,
) -> Array:
    """Measures `(n, measure_dim)` as the judge sees them, on the guide's scale.

    A measure that no judge audits keeps the guide's value.

    Args:
        elites: One row an elite, with a column for each measure.
        judged: The auditor's rows for the elites, with `<attribute>_score`.
        random_samples: Random samples (10,000, say), with a column for each measure.
        random_judged: The auditor's rows for them.
        measures: Names of the archive's measures, in order.
        audited: Measure → the judged attribute that answers to it.
        groups: Measure → how it becomes groups.
        attributes: The auditor's attributes with their values; where they run from high to low, the score
            is turned round.

    Raises:
        InputError: A frame lacks a column, or the frames' rows do not match.
    """
    _check_rows("elites", elites, judged)
    _check_rows("random samples", random_samples, random_judged)
    columns = []
    for name in measures:
        if name not in audited:
            columns.append(_column(elites, name))
            continue
        attribute = audited[name]
        names = groups[name].names if name in groups else ()
        sign = _direction(names, (attributes or {}).get(attribute, ()))
        score = f"{attribute}_score"
        mapping = QuantileMap.fit(sign * _column(random_judged, score), _column(random_samples, name))
        columns.append(mapping(sign * _column(judged, score)))
    return np.stack(columns, axis=1)


def corrected_qd_score(
    objective: ArrayLike,
    measures: ArrayLike,
    accepted: ArrayLike,
    index_of: IndexOf,
    cells: int,
    *,
    offset: float = 0.0,
) -> CorrectedArchive:
    """Put elites into an empty archive again, at corrected measures, and sum up what stays.

    Each cell keeps the best objective. The QD score is Σ max(f − offset, 0): an elite below the offset fills
    its cell without lowering the sum, so finding more never counts against a search (pyribs' own QD score
    would subtract it).

    Args:
        objective: The guide's objective `(n,)`.
        measures: Corrected measures `(n, measure_dim)`; a row with NaN is left out.
        accepted: Whether the judge accepts each image `(n,)`; rejects are left out.
        index_of: Measures → cells `(n,)`: a `GridCells`, or `index_of` of a pyribs archive.
        cells: Cells of the archive.
        offset: Objective that counts as nothing.

    References:
        Flageat and Cully (2023), Uncertain quality-diversity (corrected metrics); Pugh, Soros and
        Stanley (2016), Quality diversity: a new frontier for evolutionary computation (QD score).
    """
    f, m = np.asarray(objective, dtype=np.float64), np.asarray(measures, dtype=np.float64)
    kept = np.asarray(accepted, dtype=bool) & np.isfinite(m).all(axis=1) & np.isfinite(f)
    best = np.full(cells, -np.inf)
    if kept.any():
        np.maximum.at(best, np.asarray(index_of(m[kept])), f[kept])
    filled = np.isfinite(best)
    qd_score = float(np.maximum(best[filled] - offset, 0).sum())
    return CorrectedArchive(
        qd_score=qd_score,
        norm_qd_score=qd_score / cells,
        coverage=float(filled.mean()),
        filled=int(filled.sum()),
        cells=cells,
        rejected=int((~kept).sum()),
    )


def _direction(names: Sequence[str], values: Sequence[str]) -> int:
    positions = [list(values).index(name) for name in names if name in values]
    return -1 if len(positions) > 1 and positions == sorted(positions, reverse=True) else 1


def _column(frame: pd.DataFrame, name: str) -> Array:
    if name not in frame.columns:
        raise InputError(f"expected a column {name!r}, got {', '.join(map(str, frame.columns))}")
    return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)


def _check_rows(what: str, rows: pd.DataFrame, judged: pd.DataFrame) -> None:
    if len(rows) != len(judged):
        raise InputError(f"{what}: expected a judge's row for each of {len(rows)} images, got {len(judged)}")
