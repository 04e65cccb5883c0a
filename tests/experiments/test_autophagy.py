import copy
import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.linalg import sqrtm

from qdgs.errors import InputError

COMPARISON = Path(__file__).parents[2] / "experiments" / "comparison"


@pytest.fixture(scope="module", autouse=True)
def _study():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(COMPARISON))
    yield
    sys.path.remove(str(COMPARISON))
    torch.set_num_threads(threads)


@pytest.fixture
def autophagy():
    return importlib.import_module("autophagy")


@pytest.fixture
def tasks():
    return importlib.import_module("autophagy_tasks")


def quickly(autophagy, out, *options):
    autophagy.main(["--quick", "--generations", "2", "--out", str(out), *options])
    return pd.read_csv(out)


def test_every_arm_has_a_row_a_generation_and_one_for_the_data(autophagy, tmp_path):
    rows = quickly(autophagy, tmp_path / "loop.csv", "--data", "mixture")
    assert list(rows.columns) == autophagy.COLUMNS
    for arm in autophagy.ARMS:
        assert rows.loc[rows["arm"] == arm, "generation"].tolist() == [0, 1, 2]
    data = rows[rows["generation"] == 0]
    assert data["minority_share"].between(0.15, 0.17).all()
    assert (data["distance"] == 0).all()
    assert (rows[rows["arm"].isin(["penalty", "varied"])]["penalty"] == 0.1).all()
    checks = pd.read_csv(tmp_path / "loop_one_class.csv")
    assert checks["given"].tolist() == ["both", "majority", "minority"] * 3
    assert (tmp_path / "loop.png").stat().st_size > 0


def test_drift_is_told_of_the_last_generation_seed_by_seed(autophagy):
    known = {"likelihood": (0.1, 0.2, 0.3), "hypernetwork": (0.3, 0.3, 0.3), "penalty": (0.2, 0.4, 0.6)}
    rows = [
        {"data": "digits", "arm": arm, "penalty": float(arm == "penalty"), "seed": seed, "generation": number,
         "minority_share": value if number == 2 else 0.5, "distance": 1.0}
        for arm, values in known.items() for seed, value in enumerate(values) for number in (1, 2)
    ]  # fmt: skip
    table = autophagy.drift(pd.DataFrame(rows))
    told = table[table["metric"] == "minority_share"].set_index(["arm", "against"])
    assert told["difference"].to_dict() == pytest.approx(
        {
            ("hypernetwork", "likelihood"): 0.1,
            ("penalty", "likelihood"): 0.2,
            ("penalty", "hypernetwork"): 0.1,
        }
    )
    # differences of 0.1, 0.2 and 0.3: a standard error of 0.1/√3, and t(2) is 4.303
    assert told.loc[("penalty", "likelihood"), "high"] == pytest.approx(0.2 + 4.3027 * 0.1 / 3**0.5, abs=1e-3)


def test_a_second_call_does_what_is_missing(autophagy, tmp_path, monkeypatch):
    out = tmp_path / "loop.csv"
    options = ("--data", "digits", "--arms", "likelihood")
    first = quickly(autophagy, out, *options)
    monkeypatch.setattr(autophagy, "run_chain", None)
    pd.testing.assert_frame_equal(quickly(autophagy, out, *options), first)


def test_an_interrupted_chain_goes_on_as_if_it_had_not_been(autophagy, tmp_path):
    options = ("--data", "digits", "--arms", "penalty")
    whole = quickly(autophagy, tmp_path / "whole.csv", *options)
    kept, half = ("--work", str(tmp_path / "work")), tmp_path / "half.csv"
    autophagy.main(["--quick", "--generations", "1", "--out", str(half), *kept, *options])
    resumed = quickly(autophagy, half, *options, *kept)
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), whole.drop(columns="seconds"))
    assert (tmp_path / "half_samples_digits.png").stat().st_size > 0
    assert not (tmp_path / "whole_samples_digits.png").exists()


def test_samples_are_those_of_the_models_that_are_kept(autophagy, tasks, tmp_path):
    task, chain = tasks.TASKS["digits"](0), autophagy.Chain("digits", "likelihood", 0.0, 0)
    model = task.new_model()
    torch.save(model.state_dict(), tmp_path / autophagy.kept_name(task, chain, 3))
    args = autophagy.arguments(["--generations", "6", "--out", "x.csv", "--work", str(tmp_path)])
    ((name, images),) = autophagy.sample_rows(task, [chain], args).items()
    assert name == "likelihood, 3"
    expected = autophagy.drawn(model, autophagy.SHOWN, autophagy.numbers(chain, 1, 4)).reshape(-1, 8, 8)
    np.testing.assert_allclose(images[..., 0], 1 - expected.clamp(0, 1).numpy(), atol=1e-6)
    assert task.pictures(task.data).shape == (len(task.data), 8, 8, 3)
    assert tasks.TASKS["mixture"](0).pictures(torch.zeros(3)) is None


def test_a_foreign_file_is_refused(autophagy, tmp_path):
    out = tmp_path / "other.csv"
    out.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected rows of this study"):
        quickly(autophagy, out, "--data", "mixture")


@pytest.mark.parametrize("wrong", [("--generations", "0"), ("--penalties", "-1"), ("--data", "cats")])
def test_a_senseless_command_line_is_refused(autophagy, tmp_path, wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        autophagy.main(["--out", str(tmp_path / "x.csv"), *wrong])
    assert stopped.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_both_classes_weigh_as_much_when_the_minority_is_up_weighted(autophagy):
    codes = np.array([0, 0, 0, 1, -1])
    weights = autophagy.equal_classes(codes).numpy()
    assert weights.mean() == pytest.approx(1)
    assert weights[codes == 0].sum() == pytest.approx(weights[codes == 1].sum())


def test_the_distance_of_normal_samples_is_frechets(tasks):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)), rng.normal(1, 2, (400, 3))
    a, b = np.cov(first.T), np.cov(second.T)
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert tasks.frechet(first, second) == pytest.approx(expected)
    assert tasks.frechet(first, first) == pytest.approx(0, abs=1e-9)


def test_the_distance_of_a_mixture_is_the_divergence_from_the_truth(tasks):
    task = tasks.mixture(0, points=10)
    model = tasks.true_mixture()
    assert task.distance(model, torch.empty(0)) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([30.0, -30.0]))
    # against one normal distribution: E log p − E log N(0, 1), by sampling
    rng = np.random.default_rng(0)
    x = rng.normal(2.0 * (rng.random(400_000) < 0.2), 1)
    true = np.log(0.8 * stats.norm.pdf(x) + 0.2 * stats.norm.pdf(x, 2))
    assert task.distance(model, torch.empty(0)) == pytest.approx(
        (true - stats.norm.logpdf(x)).mean(), abs=0.01
    )


def test_the_reader_of_digits_knows_threes_and_sixes(tasks):
    task = tasks.digits(0)
    assert (task.codes == tasks.MINORITY).mean() == pytest.approx(0.2, abs=0.01)
    assert (task.read(task.data) == task.codes).mean() > 0.99
    other = tasks.load_digits(return_X_y=True)
    eights = torch.tensor(other[0][other[1] == 8] / 16, dtype=torch.float32)
    assert (task.read(eights) == tasks.UNREADABLE).mean() > 0.95


def test_the_reader_of_shapes_knows_the_rare_colours(tasks):
    task = tasks.shapes(0, n=60, bias=0.8)
    assert (task.read(task.data) == task.codes).mean() > 0.9


def test_the_points_between_the_components_are_read_by_their_likelihood(tasks):
    task = tasks.mixture(0, points=10)
    for x in np.linspace(-3, 5, 50):
        likelier = 0.2 * stats.norm.pdf(x, 2) > 0.8 * stats.norm.pdf(x, 0)
        assert task.read(torch.tensor([x]))[0] == int(likelier)


def test_refits_side_by_side_equal_refits_alone(tasks):
    bias = importlib.import_module("autophagy_bias")
    data = torch.stack([tasks.mixture(seed, 40).data for seed in range(2)])
    together = bias.by_hypernetworks(data, bias.Fitting(3, 40, bias.RATE, 0.1))
    random = torch.Generator().manual_seed(1)
    batches = [
        (torch.randint(40, (2, 40), generator=random), torch.randn(2, 40, 2, generator=random))
        for _ in range(3)
    ]
    first, parameters = bias._stack(2, 0.1)
    for index in range(2):
        first.load_state_dict({name: value[index].detach() for name, value in parameters.items()})
        network = copy.deepcopy(first)
        optimizer = torch.optim.Adam(network.parameters(), lr=bias.RATE)
        for step, (rows, noise) in enumerate(batches):
            optimizer.param_groups[0]["lr"] = bias.scheduled_rate(bias.RATE, "cosine", step, 3)
            loss = network(data[index][rows[index]], noise[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        alone = bias._told(
            network, {n: p.detach()[None] for n, p in network.named_parameters()}, 0, data[index]
        )
        assert together[index] == pytest.approx(alone, rel=1e-4)


def test_bias_is_the_mean_error_with_its_interval(autophagy):
    bias = importlib.import_module("autophagy_bias")
    errors = np.array([-0.1, 0.0, 0.4])
    estimates = {name: true + errors for name, true in bias.PARAMETERS.items()}
    table = bias.summary_of_refits(
        pd.DataFrame({"arm": "likelihood", "penalty": 0.0, "refit": range(3), **estimates})
    )
    row = table.iloc[0]
    assert row["bias"] == pytest.approx(0.1)
    assert row["rmse"] == pytest.approx(np.sqrt(0.17 / 3))
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * errors.std(ddof=1) / np.sqrt(3))


def test_maximum_likelihood_is_told_in_the_order_of_the_means(tasks):
    bias = importlib.import_module("autophagy_bias")
    found = bias.by_em(
        torch.cat(
            [
                torch.randn(300, generator=torch.Generator().manual_seed(0)) + 9,
                torch.zeros(100) + torch.linspace(-1, 1, 100),
            ]
        )
    )
    assert found["mean_0"] == pytest.approx(0, abs=0.1)
    assert found["weight_0"] == pytest.approx(0.25, abs=0.01)
