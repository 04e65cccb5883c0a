"""Shares of groups from a table, for instance of a census: one row a group, with its `share` or `count`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from pathlib import Path
from typing import Any

from qdgs.mistakes import shown
from qdgs.registry import nearest

AMOUNTS = ("share", "count")
TIGHTEST, LOOSEST = Decimal("1E-6"), Decimal("0.01")
"""How far from 1 shares may sum to, however finely and however coarsely they are rounded."""
LARGEST = Decimal("1E15")

Row = dict[str, str]


def is_table(target: Any) -> bool:
    """Whether a target names a table."""
    return isinstance(target, str) and target.lower().endswith(".csv")


def read_shares(path: Path, values: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Share of every group, keyed by its values joined with "/" in the order of `values`.

    Shares that sum to 1 but for the rounding of their last digits are divided by their sum.

    Args:
        path: A CSV with one column for each grouped measure and one of `AMOUNTS`, one row a group.
        values: Grouped measure → its values.

    Raises:
        ValueError: One sentence that names the table, the line where there is one, what was expected and
            what came.
    """
    try:
        return _shares(path, values)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not a CSV in UTF-8: {error}") from None


def _shares(path: Path, values: Mapping[str, Sequence[str]]) -> dict[str, float]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = [name.strip() for name in next(reader, [])]
        amount = _amount_column(path, header, values)
        amounts: dict[str, Decimal] = {}
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{path}, line {reader.line_num}"
            row = _row(place, header, cells)
            group = _group(place, row, values)
            if group in amounts:
                raise ValueError(f"{place}: expected every group once, got {group!r} again")
            amounts[group] = _amount(place, amount, row[amount])
    names = ["/".join(combination) for combination in product(*values.values())]
    missing = [name for name in names if name not in amounts]
    if missing:
        raise ValueError(
            f"{path}: expected a row for each of {len(names)} groups, got none for {missing[0]!r}; "
            f"give it a {amount} of 0 where it is to have no image"
        )
    total = _total(path, amount, list(amounts.values()))
    return {name: float(amounts[name] / total) for name in names}


def _amount_column(path: Path, header: Sequence[str], values: Mapping[str, Sequence[str]]) -> str:
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: expected distinct columns, got {twice[0]!r} twice")
    amounts = [name for name in AMOUNTS if name in header and name not in values]
    if len(amounts) != 1:
        got = " and ".join(amounts) or "neither"
        raise ValueError(f"{path}: expected one column of share or count, got {got}")
    known = [*values, amounts[0]]
    for name in known:
        if name not in header:
            raise ValueError(f"{path}: expected a column {name!r}, got {', '.join(header)}")
    for name in header:
        if name not in known:
            raise ValueError(f"{path}: unknown column {name!r}{nearest(name, known)}")
    return amounts[0]


def _row(place: str, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"{place}: expected {len(header)} cells, got {len(cells)}")
    return dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _group(place: str, row: Row, values: Mapping[str, Sequence[str]]) -> str:
    for measure, known in values.items():
        if row[measure] not in known:
            raise ValueError(
                f"{place}: unknown value {row[measure]!r} of {measure}{nearest(row[measure], known)}"
            )
    return "/".join(row[measure] for measure in values)


def _amount(place: str, name: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= LARGEST:
        raise ValueError(f"{place}: expected a {name} from 0 to {LARGEST:.0E}, got {shown(text)}")
    return amount


def _total(path: Path, name: str, amounts: Sequence[Decimal]) -> Decimal:
    total = sum(amounts, Decimal(0))
    rounding = max(TIGHTEST, min(LOOSEST, sum(map(_rounding, amounts), Decimal(0))))
    if name == "share" and abs(total - 1) > rounding:
        raise ValueError(f"{path}: expected shares that sum to 1, got {total}; or name the column count")
    if total == 0:
        raise ValueError(f"{path}: expected a count above 0 in one group at least, got none")
    return total


def _rounding(share: Decimal) -> Decimal:
    """The most that a share can be off when its last digit was rounded; 0 and 1 are exact."""
    exponent = share.as_tuple().exponent
    assert isinstance(exponent, int), "shares are finite"
    return Decimal(0) if exponent >= 0 else Decimal(5).scaleb(exponent - 1)
