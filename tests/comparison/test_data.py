import numpy as np
import pandas as pd
import pytest

from qdgs.comparison.data import balanced_rows, drawn_shapes, part
from qdgs.config import load_config
from qdgs.parts import load_generator, load_judge
from qdgs.samplers.base import Problem

ATTRIBUTES = {"color": ("red", "blue"), "shape": ("triangle", "square")}


@pytest.fixture(scope="module")
def problem(request):
    config = load_config(request.config.rootpath / "configs" / "shapes.yaml")
    target = {"red/triangle": 0.1, "red/square": 0.2, "blue/triangle": 0.3, "blue/square": 0.4}
    return Problem(
        load_generator(config.generator), load_judge("shape-geometry"), ATTRIBUTES, "shape", target, 10
    )


def test_drawn_shapes_have_their_bias_and_are_what_a_judge_reads(problem):
    drawn = drawn_shapes(100, 0.9, np.random.default_rng(0), 128)
    usual = (drawn.values["shape"] == "square") == (drawn.values["color"] == "blue")
    assert usual.mean() == pytest.approx(0.9)
    read = problem.judge.judge(drawn.images.float() / 255)
    assert (read["color"] == drawn.values["color"]).all()
    assert (read["shape"] == drawn.values["shape"]).all()


def test_balanced_rows_have_the_targets_shares_as_far_as_there_are_any(problem):
    rng = np.random.default_rng(0)
    colors, shapes = rng.choice(["red", "blue"], 4000), rng.choice(["triangle", "square"], 4000)
    values = pd.DataFrame({"color": colors, "shape": shapes})
    rows = balanced_rows(problem, values, 100, rng)
    assert problem.group_of(values.iloc[rows]).value_counts().to_dict() == {
        "blue/square": 40, "blue/triangle": 30, "red/square": 20, "red/triangle": 10,
    }  # fmt: skip
    few = balanced_rows(problem, values.iloc[:80].reset_index(drop=True), 1000, rng)
    counts = problem.group_of(values.iloc[few]).value_counts(normalize=True)
    assert counts["blue/square"] == pytest.approx(0.4, abs=0.05)


def test_a_part_keeps_images_and_values_together():
    drawn = drawn_shapes(6, 0.5, np.random.default_rng(1), 32)
    some = part(drawn, np.array([4, 1]))
    assert some.values.iloc[0].to_dict() == drawn.values.iloc[4].to_dict()
    assert (some.images[1] == drawn.images[1]).all()
