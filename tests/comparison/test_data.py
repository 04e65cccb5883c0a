from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from qdgs.compare_config import DataConfig, FolderAttribute
from qdgs.comparison.data import balanced_rows, columns_of, drawn_shapes, part, renamed, task_data
from qdgs.config import load_config
from qdgs.errors import InputError
from qdgs.parts import load_generator, load_judge
from qdgs.samplers.base import Problem
from qdgs.samplers.reference import ReferenceWarning

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


YOUNG = {"column": "age", "values": {"young": ["20-29", "30-39"], "old": "more than 70"}}


def test_judged_attributes_are_read_off_the_columns_of_a_folder():
    told = {"years": FolderAttribute(**YOUNG)}
    names = {"years": ("old", "young"), "gender": ("Male", "Female")}
    assert columns_of(told, names) == {
        "age": ("20-29", "30-39", "more than 70"), "gender": ("Male", "Female"),
    }  # fmt: skip
    values = pd.DataFrame({"age": ["30-39", "more than 70"], "gender": ["Male", "Female"]})
    assert renamed(values, told, names).to_dict("list") == {
        "years": ["young", "old"], "gender": ["Male", "Female"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"year": ("young", "old")}, "data.attributes: expected among year, got 'years'"),
        ({"years": ("young", "aged")}, "years.values: expected young, aged, got young, old"),
    ],
)
def test_attributes_that_are_not_judged_are_refused(names, sentence):
    with pytest.raises(InputError, match=sentence):
        columns_of({"years": FolderAttribute(**YOUNG)}, names)


AGE_AND_GENDER = {
    "shape": {"column": "age", "values": {"triangle": "20-29", "square": "more than 70"}},
    "color": {"column": "gender", "values": {"red": "Male", "blue": "Female"}},
}


def test_a_folder_serves_as_data_under_the_judges_names(tmp_path, problem):
    for number in range(40):
        Image.new("RGB", (20, 20), (6 * number,) * 3).save(
            tmp_path / f"{20 + 60 * (number % 2)}_{number // 2 % 2}_0_{number}.jpg"
        )
    config = DataConfig(
        source="utkface", path=str(tmp_path), training=8, reference=4, test=4,
        attributes=AGE_AND_GENDER,
    )  # fmt: skip
    even = replace(problem, target=dict.fromkeys(problem.groups, 0.25))
    data = task_data(config, even, 0, 32)
    assert problem.group_of(data.reference.values).value_counts().tolist() == [1, 1, 1, 1]
    assert len(data.training) == 8
    assert data.training.images.shape[1:] == (3, problem.generator.image_size, problem.generator.image_size)
    assert data.ceiling is None
    with pytest.raises(InputError, match="images to train on beside a reference set of 400, got 32 in all"):
        task_data(config.model_copy(update={"reference": 400}), even, 0, 32)


def test_a_reference_set_that_a_folder_cannot_fill_is_warned_of(tmp_path, problem):
    for number in range(40):
        age, gender = 20 + 60 * (number % 2), int(number < 8 and number % 4 < 2)
        Image.new("RGB", (20, 20)).save(tmp_path / f"{age}_{gender}_0_{number:02d}.jpg")
    config = DataConfig(
        source="utkface", path=str(tmp_path), training=8, reference=20, test=4, attributes=AGE_AND_GENDER
    )
    even = replace(problem, target=dict.fromkeys(problem.groups, 0.25))
    with pytest.warns(ReferenceWarning, match=r"has (4|8) images instead of 20: .* among 32 read"):
        data = task_data(config, even, 0, 32)
    assert len(data.reference) < 20
    assert len(data.training) == 8


def test_a_part_keeps_images_and_values_together():
    drawn = drawn_shapes(6, 0.5, np.random.default_rng(1), 32)
    some = part(drawn, np.array([4, 1]))
    assert some.values.iloc[0].to_dict() == drawn.values.iloc[4].to_dict()
    assert (some.images[1] == drawn.images[1]).all()


def test_reference_and_ceiling_are_drawn_with_the_targets_shares_and_the_test_evenly(problem):
    config = DataConfig(training=20, reference=200, test=40)
    data = task_data(config, replace(problem, images=100), 0, 32)
    for images, n in ((data.reference, 200), (data.ceiling, 100)):
        shares = problem.group_of(images.values).value_counts(normalize=True)
        assert shares.to_dict() == pytest.approx(problem.shares)
        assert len(images) == n
    assert problem.group_of(data.test.values).value_counts().to_dict() == dict.fromkeys(problem.groups, 10)
