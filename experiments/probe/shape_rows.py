"""Tables of the study of shape classifiers: rows on disk, and what they come to in a few sentences."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from qdgs.errors import InputError
from qdgs.files import write_text

UNBIASED = 0.5
COLUMNS = ["classifier", "bias", "true_gap", "probed_gap", "cause", "p"]
FAILURES = [
    *("classifier", "model_calls", "failures", "distinct_failures"),
    *("random_failures", "random_distinct_failures", "failure_ratio"),
]


class Rows:
    """A table on disk that grows row by row, sorted by classifier, the most biased first.

    Args:
        path: The file, which need not be there.
        columns: Of the table.

    Raises:
        InputError: The file holds something else.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self.frame = _known(path, columns)

    @property
    def classifiers(self) -> set[str]:
        """Of which there are rows."""
        return set(self.frame["classifier"])

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, and write the table."""
        columns = list(self.frame.columns)
        frame = pd.DataFrame([*self.frame.to_dict("records"), row], columns=columns)
        bias, seed = (frame["classifier"].str.split("_").str[at].astype(float) for at in (0, 1))
        order = pd.DataFrame({"bias": -bias, "seed": seed}).sort_values(["bias", "seed"]).index
        self.frame = frame.loc[order].reset_index(drop=True)
        write_text(self._path, csv_of(self.frame))


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of probed with true gaps, of the classifiers of each seed."""
    seeds = rows["classifier"].str.rpartition("_")[2].astype(int)
    told = []
    for seed, of in rows.groupby(seeds):
        if len(of) > 2:
            rho = spearmanr(of["true_gap"], of["probed_gap"]).statistic
            told.append({"seed": seed, "classifiers": len(of), "spearman": float(rho)})
    return pd.DataFrame(told, columns=["seed", "classifiers", "spearman"])


def told(rows: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The study in a few sentences.

    Args:
        rows: Of ranking.csv.
        found: Of failures.csv.
    """
    biased, fair = rows[rows["bias"] > UNBIASED], rows[rows["bias"] == UNBIASED]
    lines = [
        f"seed {row.seed}: rank correlation {row.spearman:.3f} over {row.classifiers} classifiers"
        for row in correlations(rows).itertuples()
    ]
    lines.append(
        f"colour is named of {(biased['cause'] == 'color').sum()} of {len(biased)} biased classifiers"
    )
    lines.append(f"nothing is named of {(fair['cause'] == 'none').sum()} of {len(fair)} unbiased ones")
    return lines + _failures_told(found)


def _failures_told(found: pd.DataFrame) -> list[str]:
    lines = [
        f"{row.classifier}: {row.distinct_failures:.0f} distinct failures in {row.model_calls:.0f} calls, "
        f"{row.random_distinct_failures:.0f} among as many random images"
        + ("" if math.isnan(row.failure_ratio) else f": {row.failure_ratio:.1f} times as many")
        for row in found.astype({"failure_ratio": float}).itertuples()
    ]
    if len(found) > 1:
        searched, chance = found["distinct_failures"].sum(), found["random_distinct_failures"].sum()
        ratio = f"{searched / chance:.1f} times as many as chance" if chance else "none by chance"
        least = found["failure_ratio"].astype(float).min()
        worst = "" if math.isnan(least) else f", {least:.1f} at least"
        lines.append(f"failures over {len(found)} seeds: {ratio}{worst}")
    return lines


def classifier_name(bias: float, seed: int) -> str:
    """What a classifier is called in the tables."""
    return f"{bias:.2f}_{seed}"


def line_of(row: dict[str, Any]) -> str:
    """A new row, of either table, in words."""
    if "true_gap" not in row:
        return f"{row['classifier']}  distinct failures {row['distinct_failures']}"
    return (
        f"{row['classifier']}  true gap {row['true_gap']:.3f}  probed {row['probed_gap']:.3f}  "
        f"cause {row['cause']}  p {row['p']:.2g}"
    )


def _known(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    try:
        rows = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except ValueError:  # an empty file, or no text
        rows = pd.DataFrame()
    if list(rows.columns) != list(columns):
        raise InputError(f"{path}: expected rows of this study, got something else; choose another --out")
    return rows


def csv_of(rows: pd.DataFrame) -> str:
    """A table as text."""
    return rows.to_csv(index=False, float_format="%.6g")
