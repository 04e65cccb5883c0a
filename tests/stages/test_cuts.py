from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from qdgs.config import DatasetConfig
from qdgs.errors import InputError
from qdgs.roles import JudgesConfig
from qdgs.stages import cuts

VALUES = ["dark", "medium", "light"]


@pytest.fixture
def dataset():
    return DatasetConfig(label="m", groups={"m": {"cut": "auto", "values": VALUES, "audit": "lightness"}})


@pytest.fixture
def settle(dataset, monkeypatch):
    """Cuts of measures of samples that a teacher has read."""

    def settled(measures, read):
        teacher = SimpleNamespace(attributes={"lightness": tuple(VALUES)})
        monkeypatch.setattr(cuts, "load_judge", lambda *_, **__: teacher)
        labelled = pd.DataFrame({"lightness": read, "accepted": True})
        bank = SimpleNamespace(judged=lambda _: labelled)
        judges = JudgesConfig.model_validate({"teacher": "someone"})
        return cuts.settle_cuts(dataset, judges, bank, pd.DataFrame({"m": measures}), device="cpu")

    return settled


def test_three_values_get_two_automatic_cuts_between_them(settle):
    measures = np.arange(90.0)
    read = np.repeat(VALUES, [20, 40, 30])
    found = settle(measures, read)
    assert found.points == {"m": [19.5, 59.5]}
    assert [cut["balanced_accuracy"] for cut in found.calibrated["m"]] == [1, 1]
    assert [(cut["low"], cut["high"]) for cut in found.calibrated["m"]] == [(20, 70), (60, 30)]


def test_a_value_that_is_too_rare_is_named(settle):
    with pytest.raises(InputError, match="at least 10 images that the teacher reads as 'light'"):
        settle(np.arange(50.0), np.repeat(VALUES, [20, 25, 5]))


def test_cuts_that_do_not_grow_with_the_values_are_refused(settle):
    # dark and light lie together in two clumps, medium between: the second cut falls below the first
    measures = np.concatenate([np.full(10, 5.0), np.full(30, 0.0), np.full(12, 6.0), np.full(30, 4.9)])
    read = np.repeat(["dark", "medium", "medium", "light"], [10, 30, 12, 30])
    with pytest.raises(InputError, match=r"expected cuts that grow with the values, got 5\.5, 2\.45"):
        settle(measures, read)
