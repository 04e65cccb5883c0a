"""How a guide agrees with judges of faces on pictures that it was not trained on."""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from faces_pools import AUDITOR
from qdgs.guides.prompts import PromptGuide

TOLD_BY = {
    "teachers": {"lightness": "face-light", "presentation": "faces-dlib", "age": "faces-dlib"},
    "auditor": {"presentation": AUDITOR, "age": AUDITOR},
}
FEWEST = 30
"""Images from which on a rank correlation is told."""


def agreement(guide: PromptGuide, pictures: np.ndarray, rows: pd.DataFrame) -> dict[str, object]:
    """Held-out figures: rank correlation of each measure with each judged attribute, and quality's AUC."""
    objective, measures = scored(guide, pictures)
    good = rows["faces-dlib/accepted"].to_numpy(bool)
    result: dict[str, object] = {"n": len(rows), "accepted": round(float(good.mean()), 4)}
    if 0 < good.mean() < 1:
        result["quality_auc"] = round(float(roc_auc_score(good, objective)), 4)
    for who, attributes in TOLD_BY.items():
        columns = {attribute: f"{judge}/{attribute}_score" for attribute, judge in attributes.items()}
        read = {attribute: rows[column][good] for attribute, column in columns.items() if column in rows}
        if read:
            result[who] = correlations(measures[good], guide.measure_names, pd.DataFrame(read))
    return result


def scored(guide: PromptGuide, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Objective `(n,)` and measures `(n, measure_dim)` of pictures `(n, 3, height, width)` in 8 bits."""
    scores = []
    for start in range(0, len(pictures), 256):
        images = torch.from_numpy(np.array(pictures[start : start + 256])).float() / 255
        with torch.no_grad():
            scores.append(guide.score(images))
    return (
        torch.cat([part.objective for part in scores]).numpy(),
        torch.cat([part.measures for part in scores]).numpy(),
    )


def correlations(
    measures: np.ndarray, names: tuple[str, ...], read: pd.DataFrame
) -> dict[str, dict[str, float | None]]:
    """Measure → judged attribute → rank correlation over the images that can be read; None of too few."""
    values = pd.DataFrame(measures, columns=list(names), index=read.index)
    return {
        name: {
            str(attribute): round(float(values[name].corr(scores, "spearman")), 4)
            if scores.notna().sum() >= FEWEST
            else None
            for attribute, scores in read.items()
        }
        for name in names
    }
