import numpy as np
import pandas as pd
import pytest

from qdgs.config import DatasetConfig
from qdgs.report.opinions import Agreement, Opinions, elite_opinions, image_opinions

DATASET = DatasetConfig.model_validate(
    {
        "label": "edges",
        "groups": {
            "color": {"low": "red", "high": "blue", "cut": 0.0, "gap": 0.1, "audit": "color"},
            "mood": {"low": "calm", "high": "wild", "cut": 0.0},
            "edges": {"low": "triangle", "high": "square", "cut": 0.0, "audit": "shape"},
        },
    }
)


def judged(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.fixture
def opinions() -> Opinions:
    manifest = pd.DataFrame(
        {
            "id": list("abcd"),
            "group": ["red/calm/square", "blue/wild/square", "blue/calm/triangle", "red/wild/square"],
        }
    )
    rows = judged(
        id=list("dcba"),
        color=["red", None, "blue", "red"],
        shape=["square", "triangle", "triangle", "square"],
        accepted=[False, True, True, True],
    )
    return image_opinions(manifest, DATASET, rows)


def test_rows_are_matched_by_id_and_compared_on_audited_measures_alone(opinions: Opinions) -> None:
    expected = [Agreement.AGREES, Agreement.DISAGREES, Agreement.UNREADABLE, Agreement.UNREADABLE]
    assert opinions.agreement.tolist() == expected
    assert opinions.audited_names == ["red/triangle", "red/square", "blue/triangle", "blue/square"]


def test_the_crossed_table_counts_guide_by_judge_with_unreadable_last(opinions: Opinions) -> None:
    assert opinions.crossed().tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0],
    ]


def test_elites_between_cuts_have_no_group_and_are_not_compared() -> None:
    elites = pd.DataFrame({"cell": [3, 7], "color": [0.05, -0.5], "mood": [1.0, 1.0], "edges": [1.0, 1.0]})
    rows = judged(cell=[3, 7], color=["red", "red"], shape=["square", "square"], accepted=[True, True])
    found = elite_opinions(elites, DATASET, {"color": [0.0], "mood": [0.0], "edges": [0.0]}, rows)
    assert found.agreement.tolist() == [Agreement.UNTOLD, Agreement.AGREES]
    assert found.group.tolist() == [-1, 3]
    assert found.crossed().sum() == 1


def test_readings_of_other_elites_are_of_no_use() -> None:
    elites = pd.DataFrame({"cell": [3], "color": [1.0], "mood": [1.0], "edges": [1.0]})
    rows = judged(cell=[4], color=["red"], shape=["square"], accepted=[True])
    cuts = {"color": [0.0], "mood": [0.0], "edges": [0.0]}
    assert elite_opinions(elites, DATASET, cuts, rows).read is None
    assert elite_opinions(elites, DATASET, cuts, None).agreement.tolist() == [Agreement.UNTOLD]
    assert (elite_opinions(elites, DATASET, None, rows).asked == -1).all()


def test_taking_rows_keeps_both_opinions_together(opinions: Opinions) -> None:
    taken = opinions.take(np.array([2, 0]))
    assert taken.agreement.tolist() == [Agreement.UNREADABLE, Agreement.AGREES]
