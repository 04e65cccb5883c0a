"""A large bank of random samples, judged once and shipped: numbers, from which the samples come back.

Rare groups need tens of thousands of samples, and judges of faces take tens of minutes to read these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from qdgs.errors import CorruptFileError, InputError
from qdgs.files import read_json
from qdgs.generators.base import Generator
from qdgs.judges.base import Judge
from qdgs.randomness import Stream, stream
from qdgs.stages.frames import read_frame
from qdgs.stages.identity import code, identity

SHIPPED = Path(__file__).parent.parent / "weights" / "faces-bank"
TABLE = "rows.parquet"
CARD = "card.json"


@dataclass(frozen=True)
class JudgedBank:
    """Random samples of a generator and what judges say of them.

    Row i is the sample of latent i of `latents`, rendered and stored as 8-bit pixels. Scores are rounded to
    float16 (a third of a per mille); values and what is accepted were told before that.

    Attributes:
        path: The folder.
        card: Its card: generator, seed, rows, keys, versions, figures.
    """

    path: Path
    card: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path = SHIPPED) -> JudgedBank:
        """The bank in a folder; the one that is shipped, unless another is named.

        Raises:
            InputError: There is none.
            CorruptFileError: Its table is not the one that its card describes.
        """
        bank = cls(path, read_json(path / CARD))
        found = hashlib.sha256((path / TABLE).read_bytes()).hexdigest() if (path / TABLE).is_file() else ""
        if found != bank.card.get("sha256"):
            raise CorruptFileError(f"{path / TABLE}: expected the sha256 of its card, got another file")
        return bank

    def __len__(self) -> int:
        return int(self.card["rows"])

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every column, `<judge>/<column>`, without those that repeat another."""
        return read_frame(self.path / TABLE, "faces_bank.py")

    def latents(self, generator: Generator, rows: ArrayLike | None = None) -> Tensor:
        """Latents `(n, latent_dim)` of the given rows, or of all: drawn again from the seed.

        Args:
            generator: The one that the bank was made of.
            rows: Numbers of rows `(n,)`.
        """
        # row by row from one stream, so that the first of many are the few
        drawn = generator.sample_latents(len(self), stream(int(self.card["seed"]), Stream.BANK))
        return drawn if rows is None else drawn[np.asarray(rows)]

    def judged(self, judge: str) -> pd.DataFrame:
        """The rows of a judge by its name, as `Judge.judge` gives them.

        Raises:
            InputError: That judge did not read the bank.
        """
        columns = self.card["columns"].get(judge)
        if columns is None:
            known = ", ".join(self.card["columns"])
            raise InputError(f"{self.path}: expected a judge that read it ({known}), got {judge!r}")
        repeats = self.card["repeats"]
        names = {column: f"{judge}/{column}" for column in columns}
        kept = {column: self.table[repeats.get(name, name)] for column, name in names.items()}
        return pd.DataFrame({column: _wide(values) for column, values in kept.items()})


def known_rows(
    generator: Generator, judge: Judge, samples: int, *, seed: int, micro_batch: int, device: str
) -> pd.DataFrame | None:
    """A judge's rows for the first samples of the shipped bank, where it has them of these very models."""
    if device != "cpu" or not (SHIPPED / CARD).is_file():
        return None
    bank = JudgedBank.open()
    name = {key: name for name, key in bank.card["keys"].items()}.get(sample_key(generator, judge))
    same = (seed, micro_batch) == (bank.card["seed"], bank.card["micro_batch"])
    if name is None or not same or samples > len(bank):
        return None
    return bank.judged(name).iloc[:samples].reset_index(drop=True)


def sample_key(generator: Generator, judge: Judge) -> str:
    """What tells a judge's rows for samples of a generator from those of other models."""
    parts = [identity(generator), code(generator), identity(judge), code(judge)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def packed(frames: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows of judges in one small table, and which of their columns repeat another.

    Args:
        frames: Name of a judge → its rows.

    Returns:
        Columns `<judge>/<column>`, scores in float16, and repeated column → the one that it repeats.
    """
    kept: dict[str, pd.Series] = {}
    repeats: dict[str, str] = {}
    for judge, frame in frames.items():
        for column, values in frame.items():
            small = values.astype(np.float16) if values.dtype.kind == "f" else values
            original = _equal_column(small, kept)
            if original is None:
                kept[f"{judge}/{column}"] = small
            else:
                repeats[f"{judge}/{column}"] = original
    return pd.DataFrame(kept), repeats


def _equal_column(values: pd.Series, kept: Mapping[str, pd.Series]) -> str | None:
    return next((name for name, other in kept.items() if values.equals(other)), None)


def _wide(values: pd.Series) -> pd.Series:
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def group_counts(values: Sequence[pd.Series], accepted: pd.Series) -> dict[str, int]:
    """How many accepted rows there are of each combination of values; rows with one missing are left out."""
    rows = pd.DataFrame({str(index): column for index, column in enumerate(values)})[accepted].dropna()
    names = rows.agg("/".join, axis=1)
    return {str(name): int(count) for name, count in names.value_counts().items()}
