"""CSV files that others wrote."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
from pandas.errors import ParserWarning

from qdgs.errors import InputError


def read_table(path: Path) -> pd.DataFrame:
    """The cells of a CSV as texts, empty where a row is shorter than the header.

    Raises:
        InputError: It cannot be read, or a row is longer than the header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            return pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except ParserWarning:  # longer rows further down are errors to pandas
        raise InputError(
            f"{path}: expected rows as long as the header, got a longer first one; is there a comma at its "
            "end?"
        ) from None
    except (ValueError, OSError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise InputError(f"{path}: cannot be read as CSV: {reason}") from None
