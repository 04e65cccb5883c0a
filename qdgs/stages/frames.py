"""Tables of a run folder, read with a sentence for what may be wrong with them."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qdgs.datasets.manifest import write_parquet
from qdgs.errors import CorruptFileError, InputError


def read_frame(path: Path, stage: str) -> pd.DataFrame:
    """A parquet table.

    Args:
        path: Where it is.
        stage: The stage that writes it.

    Raises:
        InputError: There is none.
        CorruptFileError: It is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file, got none; run qdgs {stage} first")
    try:
        frame: pd.DataFrame = pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (OSError, pa.ArrowException, ValueError):
        raise CorruptFileError(f"{path}: is damaged and cannot be read; run qdgs {stage} again") from None
    return frame


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet table; an earlier one is replaced only once this one is whole."""
    write_parquet(path, pa.Table.from_pandas(frame, preserve_index=False))
