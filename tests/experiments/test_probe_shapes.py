import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from qdgs.datasets.drawing import biased_shapes
from qdgs.errors import InputError
from qdgs.probe.models import load_probed
from qdgs.probe_config import ProbedConfig

PATH = Path(__file__).parents[2] / "experiments" / "probe" / "shapes.py"


@pytest.fixture(scope="module")
def study():
    """Under a name of its own: a folder of another study has that of shapes."""
    sys.path.insert(0, str(PATH.parent))
    spec = importlib.util.spec_from_file_location("probe_shapes", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["probe_shapes"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PATH.parent))
    del sys.modules["probe_shapes"]


class Bluish(nn.Module):
    """It gives every blue figure a probability of .8 of being a square, every red one of .3."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ink = 1 - images[:, 1]
        blue = ((images[:, 2] - images[:, 0]) * ink).sum(dim=[1, 2]) > 0
        share = torch.where(blue, torch.tensor(0.8), torch.tensor(0.3))
        return torch.log(share / (1 - share))


def test_the_true_gap_is_that_of_the_model(study, brought, tmp_path):
    path = brought.scripted(Bluish(), tmp_path / "model.pt")
    assert study.true_gap(path, 0, study.QUICK) == pytest.approx(0.5, abs=1e-5)


def test_a_classifier_of_an_earlier_study_is_taken_and_others_are_trained_once(study, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "0.98_0_biased.pt").write_bytes(b"")
    config = PATH.parents[2] / "configs" / "shapes.yaml"
    there = study.Study(study.QUICK, tmp_path, config, tmp_path / "there")
    assert there.classifier(0.98, 0) == tmp_path / "there" / "0.98_0_biased.pt"
    made = there.classifier(0.95, 0)
    assert made == tmp_path / "classifiers" / "0.95_0.pt"
    written = made.stat().st_mtime_ns
    assert there.classifier(0.95, 0).stat().st_mtime_ns == written
    images, _, _ = biased_shapes(4, 0.5, np.random.default_rng(0))
    assert load_probed(ProbedConfig(path=str(made)))(images).shape == (4,)


def test_ranks_are_compared_within_a_seed(study):
    rows = pd.DataFrame(
        {
            "classifier": ["0.98_0", "0.95_0", "0.50_0", "0.98_1", "0.95_1", "0.50_1"],
            "true_gap": [0.9, 0.8, 0.0, 0.9, 0.8, 0.1],
            "probed_gap": [0.7, 0.6, 0.1, 0.5, 0.6, 0.1],
        }
    )
    told = study.correlations(rows)
    assert told["seed"].tolist() == [0, 1]
    assert told["spearman"].tolist() == pytest.approx([1.0, 0.5])


def failures_row(seed, searched, chance):
    return {
        "classifier": f"0.98_{seed}",
        "model_calls": 500,
        "failures": searched + 3,
        "distinct_failures": searched,
        "random_failures": chance,
        "random_distinct_failures": chance,
        "failure_ratio": searched / chance if chance else None,
    }


def test_a_finished_study_is_told_and_not_done_again(study, tmp_path):
    rows = pd.DataFrame(
        [("0.98_0", 0.98, 0.9, 0.9, "color", 0.0), ("0.50_0", 0.5, 0.0, 0.0, "none", 0.5)],
        columns=study.COLUMNS,
    )
    rows.to_csv(tmp_path / "ranking.csv", index=False)
    study.Rows(tmp_path / "failures.csv", study.FAILURES).add(failures_row(0, 20, 4))
    there = study.Study(study.QUICK, tmp_path, PATH.parents[2] / "configs" / "shapes.yaml")
    kept, found = study.carry_out(there, [(0.98, 0), (0.5, 0)], 1, failures=True)
    assert kept["cause"].tolist() == ["color", "none"]
    assert study.told(kept, found) == [
        "colour is named of 1 of 1 biased classifiers",
        "nothing is named of 1 of 1 unbiased ones",
        "0.98_0: 20 distinct failures in 500 calls, 4 among as many random images: 5.0 times as many",
    ]
    (tmp_path / "ranking.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected rows of this study"):
        study.carry_out(there, [(0.98, 0)], 1, failures=False)


def test_failures_are_counted_of_every_seed_and_summed_up(study, tmp_path):
    rows = study.Rows(tmp_path / "failures.csv", study.FAILURES)
    for row in (failures_row(10, 30, 10), failures_row(2, 5, 0), failures_row(0, 20, 4)):
        rows.add(row)
    again = study.Rows(tmp_path / "failures.csv", study.FAILURES)
    assert again.frame["classifier"].tolist() == ["0.98_0", "0.98_2", "0.98_10"]
    assert again.classifiers == {"0.98_0", "0.98_2", "0.98_10"}
    ranking = pd.DataFrame([("0.98_0", 0.98, 0.9, 0.9, "color", 0.0)], columns=study.COLUMNS)
    lines = study.told(ranking, again.frame)
    assert lines[-2].startswith("0.98_10: 30 distinct failures in 500 calls, 10 among as many random images")
    assert lines[-3].endswith("0 among as many random images")
    assert lines[-1] == "failures over 3 seeds: 3.9 times as many as chance, 3.0 at least"
