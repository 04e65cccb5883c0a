import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.comparison.measures import Grader, Number, Yardstick
from qdgs.fairness.correction import confusion_counts
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.fairness.intervals import Estimate
from qdgs.judges.shape_geometry import ShapeGeometry
from qdgs.samplers.base import Problem

ATTRIBUTES = {"color": ("red", "blue"), "shape": ("triangle", "square")}
GROUPS = [f"{color}/{shape}" for color in ("red", "blue") for shape in ("triangle", "square")]


def read_as(counts, unreadable=0):
    """Rows of an auditor that read so many images of each group."""
    names = [group for group, count in zip(GROUPS, counts, strict=True) for _ in range(count)]
    rows = [dict(zip(("color", "shape"), name.split("/"), strict=True)) for name in names]
    rows += [{"color": None, "shape": None}] * unreadable
    accepted = np.arange(len(rows)) < len(names)
    return pd.DataFrame(rows).assign(accepted=accepted, quality=np.linspace(0, 1, len(rows)))


@pytest.fixture
def grader():
    problem = Problem(None, ShapeGeometry(), ATTRIBUTES, "shape", dict.fromkeys(GROUPS, 0.25), 40)
    known = [group for group in GROUPS for _ in range(10)]
    read = ["red/triangle" if at % 10 == 0 else group for at, group in enumerate(known)]
    return Grader(problem, ShapeGeometry(), confusion_counts(known, read, GROUPS), 100)


def graded(grader, read, labels=None, real=None):
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((len(read), 4))
    random = rng.standard_normal((200, 4))
    groups = pd.Series(["red/triangle"] * 100 + ["blue/square"] * 60 + GROUPS * 10, dtype=object)
    embedding = PixelEmbedding.fit([torch.rand(4, 3, 8, 8)], size=2)
    yardstick = Yardstick(embedding, random, groups, real)
    labels = read["shape"] if labels is None else labels
    return grader.numbers(read, embeddings, labels, yardstick, rng)


def test_shares_of_a_set_are_those_of_the_hand(grader):
    numbers = graded(grader, read_as([10, 20, 30, 40], unreadable=100))
    value = {name: number.estimate.value for name, number in numbers.items()}
    assert value["fairness_discrepancy"] == pytest.approx(np.sqrt(0.15**2 + 0.05**2 + 0.05**2 + 0.15**2))
    assert value["max_share_error"] == pytest.approx(0.6)
    assert value["smallest_group_share"] == pytest.approx(0.1)
    assert value["unreadable_share"] == pytest.approx(0.5)
    assert value["share of blue/square"] == pytest.approx(0.4)
    assert numbers["share of blue/square"].n == 40
    assert numbers["fairness_discrepancy"].n == 100
    # random samples of the yardstick: 110, 10, 10 and 70 of 200
    random = np.linalg.norm(np.array([110, 10, 10, 70]) / 200 - 0.25)
    assert value["fairness_discrepancy_ratio"] == pytest.approx(value["fairness_discrepancy"] / random)


def test_quality_is_that_of_the_images_that_can_be_read(grader):
    read = read_as([5, 5, 5, 5], unreadable=4)
    read.loc[20:, "quality"] = np.nan
    numbers = graded(grader, read)
    assert numbers["judged_quality"].estimate.value == pytest.approx(read["quality"][:20].mean())
    assert numbers["judged_quality"].n == 20


def test_corrected_shares_undo_the_confusion(grader):
    # each group is read as red triangles one time in ten: 25 of each are read as 32.5, 22.5, 22.5, 22.5
    numbers = graded(grader, read_as([325, 225, 225, 225]))
    assert numbers["fairness_discrepancy"].estimate.value > 0.08
    assert numbers["corrected_fairness_discrepancy"].estimate.value == pytest.approx(0, abs=1e-3)


def test_labels_that_are_missing_or_of_unreadable_images_are_not_confirmed(grader):
    read = read_as([5, 5, 5, 5], unreadable=5)
    labels = read["shape"].copy()
    labels[:4] = None
    labels[20:] = "square"
    numbers = graded(grader, read, labels)
    assert numbers["label_agreement"].estimate.value == pytest.approx(16 / 25)


def test_without_real_images_and_without_a_confusion_nothing_is_made_up(grader):
    bare = Grader(grader.problem, grader.auditor, None, 50)
    numbers = graded(bare, read_as([10, 10, 10, 10]))
    assert "kernel_distance" not in numbers
    assert not [name for name in numbers if name.startswith("corrected")]
    assert "kernel_distance" in graded(bare, read_as([10, 10, 10, 10]), real=np.ones((30, 4)))


def test_a_number_without_an_interval_is_its_own():
    assert Number(Estimate(2.0), 3).row() == {"value": 2.0, "low": 2.0, "high": 2.0, "n": 3}
    assert Number(Estimate(2.0, 1.0, 4.0), 3).row()["low"] == 1.0
