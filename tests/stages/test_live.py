import numpy as np
import pandas as pd
import pytest

from qdgs.errors import InputError
from qdgs.stages.live import best_by_cell, read_live


def test_what_is_watched_is_the_archive(finished):
    live = read_live(finished.path)
    archive = pd.read_parquet(finished.path / "search" / "archive.parquet")
    assert live.archived
    seen = live.elites.sort_values("cell", ignore_index=True)
    for column in ("cell", "objective", "color", "edges"):
        assert np.allclose(seen[column], archive[column])
    assert live.numbers["evaluations"] == finished.summary["evaluations"]
    grid = best_by_cell(live)
    assert grid.shape == (10, 10)
    assert np.nanmax(grid) == pytest.approx(archive["objective"].max())
    best = archive.loc[archive["objective"].idxmax()]
    row, column = (int(place) for place in np.argwhere(grid == np.nanmax(grid))[0])
    spans = [(archive[name].min(), archive[name].max()) for name in ("color", "edges")]
    places = [
        min(9, int((best[name] - low) / (high - low) * 10))
        for name, (low, high) in zip(("color", "edges"), spans, strict=True)
    ]
    assert (9 - row, column) == (places[1], places[0])


def test_a_search_that_has_not_begun_shows_nothing(finished):
    for file in (finished.path / "search").iterdir():
        file.unlink()
    live = read_live(finished.path)
    assert not live.archived
    assert live.numbers == {}
    assert np.isnan(best_by_cell(live)).all()


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a run"):
        read_live(tmp_path)
