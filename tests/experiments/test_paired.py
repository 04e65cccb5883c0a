import importlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.datasets.drawing import clean_figures, draw
from qdgs.errors import InputError

FOLDER = Path(__file__).parents[2] / "experiments" / "comparison"


@pytest.fixture(scope="module")
def study():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield importlib.import_module("paired")
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(study):
    return importlib.import_module("paired_task")


@pytest.mark.parametrize(("shape", "corners"), [(0, 3), (1, 4)])
def test_the_turn_is_that_of_the_figure(task, shape, corners):
    rng = np.random.default_rng(0)
    angles = torch.linspace(-0.9, 0.9, 19) * math.pi / corners
    figures = clean_figures(np.full(19, shape), np.zeros((19, 3)), rng)
    figures.rotation.copy_(angles)
    scores = task.turn_scores(1 - draw(figures)[:, 0], torch.full((19,), corners))
    # the sine of n times the angle, up to the sense in which figures are turned
    sense = 1 if scores[12] > 0 else -1
    np.testing.assert_allclose(sense * scores, (corners * angles).sin(), atol=0.03)


def test_targets_are_even_and_go_with_colour_as_told(task):
    for target in task.TARGETS:
        pictures = task.PairedTask(target, 0.9, 16).pictures(200, np.random.default_rng(1))
        assert pictures.images.shape == (200, 3, 16, 16)
        assert (pictures.targets == pictures.colors).float().mean() == pytest.approx(0.9, abs=0.07)
        assert pictures.targets.float().mean() == pytest.approx(0.5, abs=0.12)


def test_the_judge_reads_what_was_drawn(task):
    pictures = task.PairedTask("turn", 0.9, 128).pictures(60, np.random.default_rng(2))
    read = task.TurningJudge().judge(pictures.images.float() / 255)
    clear = read["turn_score"].abs() > 0.2
    assert ((read["turn"] == "right").to_numpy() == (pictures.targets == 1).numpy())[clear].all()
    assert ((read["color"] == "blue").to_numpy() == (pictures.colors == 1).numpy()).all()


def test_endpoints_are_told_by_the_interval(study):
    columns = ["target", "arm", "metric", "against", "difference", "low", "high"]
    rows = [
        ("size", "pairs", "average_precision", "base", -0.01, -0.015, -0.005),
        ("size", "pairs", "equal_opportunity_difference", "base", -0.1, -0.3, 0.1),
        ("size", "pairs", "bias_amplification", "base", 0.1, 0.0, 0.2),
        ("size", "pairs", "score_divergence", "base", -1.0, -2.0, 0.0),
        ("size", "pairs", "average_precision", "random", -1.0, -1.0, -1.0),
    ]
    told = study.verdicts(pd.DataFrame(rows, columns=columns))
    assert [sentence.partition("base: ")[2] for sentence in told] == [
        "holds", "holds in the mean, the interval does not settle it", "does not hold",
    ]  # fmt: skip


def test_no_batch_is_read_twice(task, monkeypatch, tmp_path):
    pictures = task.PairedTask("turn", 0.9, 64).pictures(6, np.random.default_rng(2)).images.float() / 255
    judge, read = task.Remembering(task.TurningJudge(), tmp_path), task.TurningJudge().judge
    first = judge.judge(pictures)
    pd.testing.assert_frame_equal(first, read(pictures))
    monkeypatch.setattr(judge, "_judge", None)
    pd.testing.assert_frame_equal(judge.judge(pictures.clone()), first)


def test_the_study_goes_on_where_it_stopped(study, tmp_path, capsys):
    out = tmp_path / "paired.csv"
    quick = ["--quick", "--seeds", "1", "--targets", "size", "--out", str(out), "--arms"]
    study.main([*quick, "base", "pairs"])
    first = pd.read_csv(out)
    study.main([*quick, "base", "pairs", "random"])
    rows = pd.read_csv(out)
    assert rows["arm"].tolist() == ["base", "pairs", "random"]
    assert rows.head(2)["average_precision"].equals(first["average_precision"])
    assert rows.loc[1, "images"] == 60 + 40
    table = pd.read_csv(tmp_path / "paired_differences.csv")
    assert set(table["arm"]) == {"pairs", "random"}
    assert set(zip(table["arm"], table["against"], strict=True)) == {
        ("pairs", "base"), ("random", "base"), ("pairs", "random"),
    }  # fmt: skip
    of = (table["arm"] == "pairs") & (table["against"] == "base")
    ap = table[of & (table["metric"] == "average_precision")].iloc[0]
    assert ap["difference"] == pytest.approx(
        rows.loc[1, "average_precision"] - rows.loc[0, "average_precision"], abs=1e-3
    )
    assert "pairs" in capsys.readouterr().out


def test_rows_of_other_settings_are_refused(study, tmp_path):
    out = tmp_path / "paired.csv"
    quick = ["--seeds", "1", "--targets", "size", "--arms", "base", "--out", str(out)]
    study.main([*quick, "--quick"])
    with pytest.raises(InputError, match=r"of other settings \(drawn 60, generated 40, .* another --out"):
        study.main(quick)
    with pytest.raises(InputError, match=r"of other settings \(bias 0.9\)"):
        study.main([*quick, "--quick", "--bias", "0.8"])


def test_every_arm_trains_for_as_many_steps(study):
    sizes = study.Sizes(drawn=1000, generated=2000, epochs=15)
    assert [sizes.epochs_for(n) for n in (1000, 2500, 3000)] == [45, 18, 15]
