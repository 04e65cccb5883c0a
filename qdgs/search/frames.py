"""Solutions as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.config import MeasureConfig


def solutions_frame(measures: Sequence[MeasureConfig], rows: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """One row a solution: cell, rank if there is one, objective, measures by name, lineage, latents.

    Args:
        measures: Name the columns.
        rows: `cell`, `rank` (optional), `objective` and `lineage` `(n,)`, `measures` `(n, measure_dim)` and
            `latents` `(n, latent_dim)`.
    """
    head = {name: rows[name].astype(np.int64) for name in ("cell", "rank") if name in rows}
    head["objective"] = rows["objective"].astype(np.float32)
    for index, measure in enumerate(measures):
        head[measure.name] = rows["measures"][:, index].astype(np.float32)
    head["lineage"] = rows["lineage"].astype(np.int32)
    columns = [f"latent_{index:04d}" for index in range(rows["latents"].shape[1])]
    latents = pd.DataFrame(rows["latents"].astype(np.float32), columns=columns)
    return pd.concat([pd.DataFrame(head), latents], axis=1)
