"""How a guide agrees with the teacher judge on pictures that it was not trained on."""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from qdgs.guides.prompts import PromptGuide


def agreement(guide: PromptGuide, pictures: np.ndarray, frame: pd.DataFrame) -> dict[str, float]:
    """Held-out figures: how guide and teacher agree."""
    with torch.no_grad():
        scores = [
            guide.score(torch.from_numpy(pictures[i : i + 256]).float() / 255)
            for i in range(0, len(pictures), 256)
        ]
    objective = torch.cat([s.objective for s in scores]).numpy()
    measures = torch.cat([s.measures for s in scores]).numpy()
    good = frame["accepted"].to_numpy(bool)
    result = {"n": len(frame), "accepted": round(float(good.mean()), 4)}
    if 0 < good.mean() < 1:
        result["quality_auc"] = round(float(roc_auc_score(good, objective)), 4)
    color = frame["color"].isin(["red", "blue"]).to_numpy() & good
    result["color_accuracy"] = round(
        best_accuracy(measures[color, 0], (frame["color"] == "blue").to_numpy()[color]), 4
    )
    shape = frame["shape"].isin(["triangle", "square"]).to_numpy() & good
    result["shape_accuracy"] = round(
        best_accuracy(measures[shape, 1], (frame["shape"] == "square").to_numpy()[shape]), 4
    )
    return result


def best_accuracy(values: np.ndarray, high: np.ndarray) -> float:
    """Balanced accuracy at the best cut."""
    order = np.argsort(values)
    high = high[order]
    below = np.concatenate([[0], np.cumsum(~high)]) / max((~high).sum(), 1)
    above = 1 - np.concatenate([[0], np.cumsum(high)]) / max(high.sum(), 1)
    return float((0.5 * (below + above)).max())
