import numpy as np
import pandas as pd

from qdgs.config import DatasetConfig
from qdgs.report.archive import MeasureAxis
from qdgs.report.explorer import choose_images, choose_solutions, palette, solutions_table, space
from qdgs.report.opinions import Opinions

DATASET = DatasetConfig.model_validate(
    {
        "label": "edges",
        "groups": {"edges": {"low": "triangle", "high": "square", "cut": 0.0, "audit": "shape"}},
    }
)


def opinions_of(asked: list[int], read: list[int]) -> Opinions:
    return Opinions(DATASET, np.array(asked)[:, None], np.array(read)[:, None])


def test_more_solutions_than_fit_are_a_sample_that_the_seed_fixes() -> None:
    frame = pd.DataFrame({"objective": np.zeros(1000)})
    chosen = choose_solutions(frame, seed=3, most=100)
    assert (len(chosen), chosen.total) == (100, 1000)
    assert (np.diff(chosen.rows) > 0).all()
    assert chosen.rows.tolist() == choose_solutions(frame, seed=3, most=100).rows.tolist()
    assert choose_solutions(frame, seed=3, most=1000).rows.tolist() == list(range(1000))


def test_of_each_pair_of_opinions_the_surest_images_are_shown() -> None:
    rng = np.random.default_rng(0)
    asked, read = rng.integers(0, 2, 5000), rng.integers(-1, 2, 5000)
    objective = rng.normal(size=5000)
    chosen = choose_images(opinions_of(asked.tolist(), read.tolist()), objective, most=200)
    assert len(chosen) == 6 * 30
    for pair in [(a, r) for a in (0, 1) for r in (-1, 0, 1)]:
        members = np.flatnonzero((asked == pair[0]) & (read == pair[1]))
        best = members[np.argsort(-objective[members])][:30]
        assert set(best) <= set(chosen.rows.tolist())


def test_a_single_disagreement_among_many_is_never_left_out() -> None:
    asked, read = [0] * 10_000, [0] * 9_999 + [1]
    chosen = choose_images(opinions_of(asked, read), np.linspace(1, 0, 10_000), most=20)
    assert 9_999 in chosen.rows


def test_columns_hold_cells_measures_and_opinions() -> None:
    axis = MeasureAxis("edges", -1.0, 1.0, 4, "A triangle.", "A square.")
    frame = pd.DataFrame({"edges": [-0.9, 0.9], "objective": [12.3456, 7.0], "lineage": [1, 2]})
    table = solutions_table(frame, [axis], opinions_of([0, 1], [0, -1]), choose_solutions(frame, 0))
    assert table["cell"] == [[0, 3]]
    assert table["objective"] == [12.35, 7.0]
    assert (table["group"], table["agreement"], table["lineage"]) == ([0, 1], [0, 2], [1, 2])
    told = space([axis], DATASET, {"edges": [0.0]})
    assert told["measures"][0]["values"] == ["triangle", "square"]
    assert told["measures"][0]["cuts"] == [0.0]
    assert len(set(palette(16))) == 16
