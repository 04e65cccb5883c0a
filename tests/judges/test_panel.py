from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from qdgs.config import parse_config
from qdgs.errors import ConfigError
from qdgs.judges.base import Judge
from qdgs.judges.panel import JudgePanel
from qdgs.judges.shape_cnn import ShapeCNN
from qdgs.judges.shape_geometry import ShapeGeometry
from qdgs.parts import load_judge
from qdgs.roles import JudgesConfig


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    figures = torch.ones(20, 3, 128, 128)
    for figure in figures[:15]:
        left, top, side = (int(n) for n in torch.randint(20, 50, (3,)))
        figure[torch.randint(0, 3, (1,)).item(), top : top + side, left : left + side] = 0.1
    return figures


def judges_of(data):
    return JudgesConfig.model_validate(data)


def test_each_attribute_is_told_by_the_judge_that_was_named_for_it(images):
    panel = load_judge(judges_of({"auditor": {"shape": "shape-geometry", "color": "shape-cnn"}}).auditor)
    assert isinstance(panel, Judge)
    assert dict(panel.attributes) == {"shape": ("triangle", "square"), "color": ("red", "blue")}
    read, geometry, network = panel.judge(images), ShapeGeometry().judge(images), ShapeCNN().judge(images)
    for column in ("shape", "shape_score", "quality"):
        pd.testing.assert_series_equal(read[column], geometry[column])
    for column in ("color", "color_score"):
        pd.testing.assert_series_equal(read[column], network[column])
    assert (read["accepted"] == (geometry["accepted"] & network["accepted"])).all()


def test_what_judges_tell_beside_their_attributes_stays():
    def judge(attribute):
        return SimpleNamespace(attributes={attribute: ("low", "high"), "other": ()})

    one, two = judge("a"), judge("b")
    shared = {"accepted": [True], "quality": [0.5], "other": ["x"], "other_score": [1.0]}
    frames = [
        pd.DataFrame({"a": ["low"], "a_score": [0.0], "light": [3.0], **shared}),
        pd.DataFrame({"b": ["high"], "b_score": [1.0], "light": [4.0], "found": [True], **shared}),
    ]
    joined = JudgePanel({"a": one, "b": two}).joined(frames)
    assert set(joined) == {"a", "a_score", "b", "b_score", "light", "found", "accepted", "quality"}
    assert joined["light"].tolist() == [3.0]


def test_a_judge_of_several_attributes_is_made_and_asked_once(images):
    panel = load_judge(judges_of({"auditor": {"shape": "shape-cnn", "color": "shape-cnn"}}).auditor)
    assert isinstance(panel, JudgePanel)
    assert len(panel.judges) == 1


def test_an_attribute_that_its_judge_does_not_tell_is_refused():
    with pytest.raises(ConfigError) as error:
        load_judge(judges_of({"auditor": {"colr": "shape-cnn"}}).auditor)
    assert str(error.value) == (
        "judges.auditor: expected attributes of 'shape-cnn' (color, shape, size), got 'colr'"
    )


@pytest.mark.parametrize(
    ("data", "held"),
    [
        ({"auditor": {"a": "x", "b": "y"}, "teacher": {"a": "y", "b": "x"}}, {}),
        ({"auditor": {"a": "x", "b": "y"}, "teacher": {"a": "z", "b": "y"}}, {"teacher": "'y' (b)"}),
        ({"auditor": {"a": "x", "b": "y"}, "teacher": "y"}, {"teacher": "'y'"}),
        ({"auditor": {"a": "x", "b": "y"}, "gate": "x"}, {"gate": "'x'"}),
        ({"auditor": "x", "teacher": {"a": "x"}, "gate": "x"}, {"teacher": "'x'", "gate": "'x'"}),
        ({"auditor": {"a": {"name": "x", "cut": 1}}, "teacher": {"a": "x"}}, {"teacher": "'x' (a)"}),
    ],
)
def test_the_auditor_shares_a_role_attribute_by_attribute(data, held):
    assert judges_of({**data, "shared": True}).held_by_the_auditor() == held


def test_one_judge_in_two_roles_of_an_attribute_is_refused_unless_shared(request):
    data = {
        "generator": "shapes-vae",
        "guide": {"objective": {"positive": "a"}, "measures": [{"name": "m", "low": "b", "high": "c"}]},
        "dataset": {"label": "m", "groups": {"m": {"audit": "color"}}},
        "judges": {"auditor": {"color": "shape-cnn"}, "teacher": {"color": "shape-cnn"}},
    }
    with pytest.raises(ConfigError, match=r"got 'shape-cnn' \(color\) as teacher and auditor"):
        parse_config(data)
    data["judges"]["shared"] = True
    assert parse_config(data).judges.auditor.name == "shape-cnn (color)"
