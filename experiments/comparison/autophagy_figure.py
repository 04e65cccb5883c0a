"""The figure of the autophagy loop."""

import pandas as pd
from matplotlib.figure import Figure

COLORS = ("#1a1a1a", "#e08214", "#2166ac", "#b2182b", "#1b7837", "#762a83", "#888888")
MEASURES = {"minority_share": "share of the minority", "distance": "distance from the data"}


def draw_generations(rows: pd.DataFrame) -> Figure:
    """For each kind of data, the minority's share and the distance from the data over the generations.

    Lines are means over seeds, bands their range.
    """
    kinds = list(rows["data"].unique())
    figure = Figure(figsize=(4.6 * len(kinds), 5.6), layout="constrained")
    panels = figure.subplots(2, len(kinds), squeeze=False, sharex="col")
    arms = rows[["arm", "penalty"]].drop_duplicates().itertuples(index=False)
    styles = {tuple(arm): COLORS[index % len(COLORS)] for index, arm in enumerate(arms)}
    for column, kind in enumerate(kinds):
        of_kind = rows[rows["data"] == kind]
        for row, (measure, title) in enumerate(MEASURES.items()):
            panel = panels[row, column]
            for (arm, penalty), found in of_kind.groupby(["arm", "penalty"], sort=False):
                by_generation = found.groupby("generation")[measure].agg(["mean", "min", "max"])
                label = f"{arm}, λ {penalty:g}" if penalty else str(arm)
                color = styles[(arm, penalty)]
                panel.plot(by_generation.index, by_generation["mean"], color=color, label=label)
                panel.fill_between(
                    by_generation.index, by_generation["min"], by_generation["max"], color=color, alpha=0.12
                )
            panel.set_ylabel(title)
            panel.set_ylim(bottom=0)
        panels[0, column].set_title(kind)
        panels[1, column].set_xlabel("generation (0: the data)")
    panels[0, 0].legend(frameon=False, fontsize=8)
    return figure
