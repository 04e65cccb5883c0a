import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn

from qdgs.config import RunConfig, parse_config
from qdgs.datasets.drawing import BLUE, RED, clean_figures, draw
from qdgs.datasets.manifest import read_manifest
from qdgs.errors import CorruptFileError, InputError
from qdgs.generators.base import GENERATORS
from qdgs.judges.base import JUDGES
from qdgs.parts import load_guide

SHAPES = Path(__file__).parents[2] / "experiments" / "shapes"


@pytest.fixture(scope="module", autouse=True)
def _study():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two test processes on two cores
    sys.path.insert(0, str(SHAPES))
    yield
    sys.path.remove(str(SHAPES))
    torch.set_num_threads(threads)


@pytest.fixture
def debias():
    return importlib.import_module("debias")


@pytest.fixture
def protocol():
    return importlib.import_module("debias_protocol")


class Figures(nn.Module):
    """A generator of two latents: their signs are the figure's colour and shape; far out there is nothing."""

    latent_dim, image_size, differentiable, prior_norm = 2, 64, False, None

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((n, 2)).astype("float32"))

    def forward(self, latents: Tensor) -> Tensor:
        signs = (latents >= 0).numpy().astype(int)
        colors = np.array([RED, BLUE])[signs[:, 0]]
        figures = clean_figures(signs[:, 1], colors, np.random.default_rng(0), image_size=64)
        images = draw(figures, 64)
        return torch.where((latents.norm(dim=1) > 2)[:, None, None, None], torch.ones_like(images), images)


class Whole:
    """A judge that sees no attribute here, only whether there is a figure at all."""

    def __init__(self) -> None:
        self.attributes = {"shape": ("triangle", "square"), "color": ("red", "blue")}

    def judge(self, images: Tensor) -> pd.DataFrame:
        accepted = (images < 0.9).flatten(1).any(dim=1).numpy()
        scores = {f"{name}_score": np.full(len(images), np.nan) for name in self.attributes}
        return pd.DataFrame(
            {**dict.fromkeys(self.attributes), **scores, "accepted": accepted, "quality": 1.0 * accepted}
        )


def median_edges(config: RunConfig) -> float:
    """A cut point that random samples lie on both sides of, whatever the random CLIP makes of them."""
    images = Figures()(Figures().sample_latents(64, np.random.default_rng(1)))
    return float(load_guide(config.guide).score(images).measures[:, 1].median())


@pytest.fixture
def toy(tmp_path, tiny_clip_folder, monkeypatch) -> Path:
    """The configuration of a toy generator and a CLIP of random weights."""
    monkeypatch.setitem(GENERATORS, "figures", f"{__name__}:Figures")
    monkeypatch.setitem(JUDGES, "whole", f"{__name__}:Whole")
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path / "cache"))
    config = tmp_path / "toy.yaml"
    text = f"""
generator: figures
guide:
  clip: {{model: "local-dir:{tiny_clip_folder}"}}
  objective: {{positive: a shape, negative: a half-formed shape}}
  measures:
    - {{name: color, low: a red shape, high: a blue shape, cells: 8}}
    - {{name: edges, low: a triangle with 3 edges, high: a square with 4 edges, cells: 8}}
search: {{algorithm: random, emitters: 1, batch_size: 32, evaluations: 256, range_samples: 64}}
audit: {{samples: 128}}
dataset:
  images: 24
  label: edges
  groups:
    color: {{cut: 0.0, low: red, high: blue}}
    edges: {{cut: HALF, low: triangle, high: square}}
  on_shortage: accept
judges: {{gate: whole}}
"""
    config.write_text(
        text.replace("HALF", str(median_edges(parse_config(yaml.safe_load(text.replace("HALF", "0"))))))
    )
    return config


@pytest.fixture
def source(toy, tmp_path, debias):
    return debias.Study(debias.QUICK, toy, tmp_path / "work").source(0)


def test_groups_are_named_by_colour_and_shape(protocol):
    pictures = protocol.Pictures(torch.empty(0), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    found = protocol.score(torch.tensor([-1.0, 1.0, 1.0, -1.0]), pictures)
    accuracies = {group: estimate.value for group, estimate in found.by_group.items()}
    assert accuracies == {"red_triangle": 1, "blue_triangle": 0, "red_square": 1, "blue_square": 0}


@pytest.mark.parametrize("bias", [0.98, 0.8, 0.5])
def test_drawn_images_have_the_bias_and_equal_shapes(protocol, bias):
    pictures = protocol.drawn(200, bias, np.random.default_rng(0), 32)
    assert pictures.images.shape == (200, 3, 32, 32)
    assert pictures.labels.sum() == 100
    assert (pictures.labels == pictures.colors).float().mean() == pytest.approx(bias)
    red = pictures.images[:, 0].float().amin(dim=(1, 2)) > 128  # the channel that only blue figures lack
    assert torch.equal(red, pictures.colors == 0)


def test_pictures_come_back_from_their_file(protocol, tmp_path):
    pictures = protocol.drawn(20, 0.5, np.random.default_rng(0), 32)
    pictures.save(tmp_path / "sets" / "test_0.npz")
    loaded = protocol.Pictures.load(tmp_path / "sets" / "test_0.npz")
    assert all(torch.equal(getattr(loaded, n), getattr(pictures, n)) for n in ("images", "labels", "colors"))
    (tmp_path / "sets" / "test_0.npz").write_bytes(b"PK")
    with pytest.raises(CorruptFileError, match=r"test_0\.npz: cannot be read"):
        protocol.Pictures.load(tmp_path / "sets" / "test_0.npz")


def test_scores_are_means_over_the_last_epochs(protocol):
    settings = protocol.Settings(
        image_size=16, biased_images=32, biased_epochs=6, test_images=40, last=3, images=32, epochs=2
    )
    classifier = protocol.new_classifier(0, settings)
    train = protocol.biased_pictures(0.98, 0, settings)
    test = protocol.test_pictures(0, settings)
    row = protocol.train_and_score(
        classifier, train, test, seed=0, tuning=False, settings=settings, device="cpu"
    )
    groups = [row[group] for group in protocol.GROUPS]
    assert row["accuracy"] == pytest.approx(np.mean(groups))
    assert row["worst_group"] <= min(groups) + 1e-9


def test_a_dead_biased_classifier_is_trained_again_from_other_weights(debias, protocol, tmp_path):
    cell = protocol.Cell(0.98, 0, "biased")
    rows = {}
    for name, settings in {
        "alive": replace(protocol.QUICK, responding=0.0),
        "dead": replace(protocol.QUICK, responding=1.1, starts=3),
    }.items():
        rows[name] = debias.Study(settings, tmp_path / "none.yaml", tmp_path / name).train(cell)
    assert (rows["alive"]["starts"], rows["dead"]["starts"]) == (1, 3)
    first, third = (protocol.new_classifier(0, protocol.QUICK, start).head.weight for start in (0, 2))
    assert not torch.equal(first, third)


def test_a_second_call_trains_only_what_is_missing(debias, tmp_path, capsys):
    given = ["--quick", "--bias", "0.98", "--workers", "1", "--work", str(tmp_path), "--arms", "biased"]
    out = tmp_path / "rows.csv"
    debias.main([*given, "--seeds", "1", "--out", str(out)])
    first = pd.read_csv(out)
    debias.main([*given, "drawn", "--seeds", "2", "--out", str(out), "--save", str(tmp_path / "kept")])
    assert capsys.readouterr().out.count("seed 0  accuracy") == 3  # biased again, for its file
    rows = pd.read_csv(out)
    assert rows[["seed", "training"]].to_numpy().tolist() == [
        [0, "biased"],
        [0, "drawn"],
        [1, "biased"],
        [1, "drawn"],
    ]
    assert list(rows)[:5] == ["bias", "seed", "training", "accuracy", "worst_group"]
    pd.testing.assert_frame_equal(rows[:1], first, check_dtype=False)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "0.98_0_biased.pt",
        "0.98_0_drawn.pt",
        "0.98_1_biased.pt",
        "0.98_1_drawn.pt",
    ]
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_rows_of_other_sizes_are_not_mixed(debias, tmp_path):
    row = dict.fromkeys(debias.COLUMNS, 0.5) | {"training": "drawn", "epochs": 2, "image_size": 32}
    debias.write_row(
        tmp_path / "a.csv", debias.known_rows(tmp_path / "a.csv", debias.QUICK), row, debias.ORDER
    )
    assert len(debias.known_rows(tmp_path / "a.csv", debias.QUICK)) == 1
    with pytest.raises(InputError, match=r"a\.csv: expected rows of the same sizes"):
        debias.known_rows(tmp_path / "a.csv", debias.FULL)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"b\.csv: expected rows of this study"):
        debias.known_rows(tmp_path / "b.csv", debias.FULL)


def test_a_work_folder_of_another_configuration_is_refused(debias, toy, tmp_path):
    debias.Study(debias.QUICK, toy, tmp_path / "work").check_work()
    debias.Study(debias.QUICK, toy, tmp_path / "work").check_work()
    with pytest.raises(InputError, match="work: expected a new folder or one of this configuration"):
        debias.Study(debias.FULL, toy, tmp_path / "work").check_work()


def test_cells_are_five_seeds_at_the_largest_bias_and_three_elsewhere(debias):
    cells = debias.cells_of(debias.BIASES, None, debias.ARMS)
    assert len(cells) == (5 + 4 * 3) * 5
    assert len(debias.cells_of([0.98], 2, ["qdgs", "biased"])) == 4


def test_intervals_are_students_over_paired_seeds():
    summary = importlib.import_module("debias_summary")
    rows = pd.DataFrame(
        {
            "bias": 0.98,
            "seed": [0, 1, 2, 0, 1, 2, 3],
            "training": ["qdgs"] * 3 + ["random"] * 4,
            "accuracy": [0.9, 0.92, 0.94, 0.8, 0.8, 0.8, 0.1],
            "worst_group": 0.5,
        }
    )
    table = summary.intervals(rows).set_index(["score", "comparison"])
    found = table.loc[("accuracy", "qdgs − random")]
    assert found["seeds"] == 3
    assert found["difference"] == pytest.approx(0.12)
    assert found["high"] - found["difference"] == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-5)


def test_images_of_the_generator_are_labelled_by_the_run(source):
    arms = importlib.import_module("debias_arms")
    run = source.run()
    dataset = arms.dataset_pictures(run, 32)
    assert dataset.images.shape[1:] == (3, 32, 32)
    assert 0 < len(dataset.labels) <= 64
    labels = read_manifest(run.path / "dataset" / "manifest.parquet").rows["label"]
    assert dataset.labels.tolist() == [["triangle", "square"].index(label) for label in labels]
    assert {0, 1} == set(dataset.labels.tolist())
    plain = arms.random_pictures(source, 100, seed=0, image_size=32, gated=False)
    gated = arms.random_pictures(source, 100, seed=0, image_size=32, gated=True)
    empty = (plain.images == 255).flatten(1).all(dim=1)
    assert len(plain.labels) == len(gated.labels) == 100
    assert 0 < empty.sum() < 50
    assert not (gated.images == 255).flatten(1).all(dim=1).any()
    assert {0, 1} == set(gated.labels.tolist())
    again = arms.random_pictures(source, 100, seed=0, image_size=32, gated=True)
    assert torch.equal(gated.images, again.images)
    assert torch.equal(gated.labels, again.labels)


def test_every_arm_of_a_quick_study_gets_its_row_and_its_file(debias, toy, tmp_path):
    out, kept = tmp_path / "rows.csv", tmp_path / "kept"
    given = ["--quick", "--bias", "0.98", "--seeds", "1", "--workers", "1", "--config", str(toy)]
    debias.main([*given, "--work", str(tmp_path / "work"), "--out", str(out), "--save", str(kept)])
    rows = pd.read_csv(out)
    assert rows["training"].tolist() == list(debias.ARMS)
    assert rows[["accuracy", "worst_group"]].stack().between(0, 1).all()
    assert {path.name for path in kept.iterdir()} == {f"0.98_0_{arm}.pt" for arm in debias.ARMS}
    table = pd.read_csv(tmp_path / "rows_intervals.csv")
    assert set(table["comparison"]) == {f"qdgs − {arm}" for arm in debias.ARMS if arm != "qdgs"}


def test_the_demo_trains_on_one_run_and_tells_what_came_out(source, monkeypatch):
    demo = importlib.import_module("demo")
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    run = source.run()
    rows = demo.train(run, run.path / "classifiers", quick=True)
    assert rows["training"].tolist() == ["biased", "random", "qdgs"]
    assert (rows["images"][1:] == run.summary["images"]).all()
    text = demo.described(run, rows)
    assert "then the balanced dataset" in text
    assert f"{rows['accuracy'][2]:.3f}" in text
    assert str(run.path / "figures" / "before_after.png") in text
