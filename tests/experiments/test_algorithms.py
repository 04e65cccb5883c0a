import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from qdgs.config import ALGORITHMS, SearchConfig, dump_config, load_config
from qdgs.errors import InputError
from qdgs.generators.base import GENERATORS
from qdgs.judges.base import JUDGES
from qdgs.run import Run

SHAPES = Path(__file__).parents[2] / "experiments" / "shapes"
SEARCH = {"emitters": 8, "batch_size": 32, "range_samples": 1024, "prior_starts": 1024, "evaluations": 20_000}


class Blocks:
    """A differentiable generator of three latents: how red a picture is, how green, and how it is shaded."""

    latent_dim, image_size, differentiable, prior_norm = 3, 32, True, None

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((n, 3)).astype("float32"))

    def __call__(self, latents: Tensor) -> Tensor:
        red, green = latents[:, :2].sigmoid().T
        shade = torch.linspace(0.5, 1, 32)[None] * latents[:, 2:].sigmoid()
        colors = torch.stack([red, green, 1 - red], dim=1)
        return colors[:, :, None, None] * shade[:, None, :, None].expand(-1, 1, -1, 32)


class Eye:
    """Reads how red and how green a picture is; a dark one it cannot tell."""

    attributes: ClassVar[dict[str, tuple[str, ...]]] = {
        "color": ("red", "blue"),
        "shape": ("triangle", "square"),
        "size": ("small", "large"),
    }

    def judge(self, images: Tensor) -> pd.DataFrame:
        red, green, blue = images.mean(dim=(2, 3)).T.numpy()
        return pd.DataFrame(
            {
                "color": np.where(red > blue, "red", "blue"),
                "color_score": blue - red,
                "shape": np.where(green < (red + blue) / 2, "triangle", "square"),
                "shape_score": green - (red + blue) / 2,
                "size": np.where(red + blue > 1, "large", "small"),
                "size_score": red + blue,
                "accepted": red + blue > 0.2,
                "quality": red + blue,
            }
        )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """The models here are too small to be shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def algorithms() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SHAPES))
    yield importlib.import_module("algorithms")
    sys.path.remove(str(SHAPES))


@pytest.fixture(scope="module")
def summary(algorithms: ModuleType) -> ModuleType:
    return importlib.import_module("algorithms_summary")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_clip_folder: Path) -> Iterator[Path]:
    """The study's configuration with a toy generator, a CLIP of random weights and a toy judge."""
    overrides = [
        "generator=blocks",
        f"guide.clip.model=local-dir:{tiny_clip_folder}",
        "guide.objective.positive=a shape",
        "guide.objective.negative=a half-formed shape",
        "guide.weights.latent_norm=0",
        "dataset.groups.color.cut=0.0",
        "dataset.groups.color.gap=0.0",
        "dataset.groups.edges.cut=0.0",
        "dataset.groups.edges.gap=0.0",
        "judges={auditor: eye}",
    ]
    sides = (("a red shape", "a blue shape"), ("a triangle", "a square"), ("a half-formed shape", "a shape"))
    for position, (low, high) in enumerate(sides):
        overrides += [f"guide.measures.{position}.{key}" for key in (f"low={low}", f"high={high}", "cells=8")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GENERATORS, "blocks", f"{__name__}:Blocks")
        patch.setitem(JUDGES, "eye", f"{__name__}:Eye")
        patch.setenv("QDGS_CACHE", str(tmp_path_factory.mktemp("cache")))
        path = tmp_path_factory.mktemp("study") / "toy.yaml"
        path.write_text(dump_config(load_config(SHAPES.parents[1] / "configs" / "shapes.yaml", overrides)))
        yield path


@pytest.fixture(scope="module")
def studied(algorithms: ModuleType, config: Path) -> Path:
    """The CSV of a quick study of all algorithms."""
    out = config.parent / "algorithms.csv"
    algorithms.main(["--quick", "--config", str(config), "--work", str(config.parent), "--out", str(out)])
    return out


def test_a_quick_study_holds_every_algorithm_with_its_numbers(studied: Path) -> None:
    rows = pd.read_csv(studied)
    assert rows["algorithm"].tolist() == list(ALGORITHMS)
    for key in ("corrected_qd_score", "coverage", "clipped_fraction", "lineages", "elite_agreement"):
        assert np.isfinite(rows[key]).all()
    assert (rows["corrected_qd_score"] > 0).all()
    assert rows["elite_agreement"].between(0, 1).all()


def test_no_algorithm_spends_more_than_the_budget_and_none_leaves_an_iteration_unspent(studied: Path) -> None:
    rows = pd.read_csv(studied)
    assert (rows["equivalents"] <= rows["budget"]).all()
    assert (rows["budget"] - rows["equivalents"] < 2 * (16 + 4)).all()
    assert (
        rows.set_index("algorithm")["evaluations"]["cma_mega"]
        < rows.set_index("algorithm")["evaluations"]["cma_me"]
    )


def test_all_algorithms_of_a_seed_share_ranges_and_objective_scale(studied: Path) -> None:
    runs = [Run.open(path) for path in studied.parent.glob("quick/*/*_0")]
    settled = [pd.read_json(run.path / "search" / "settled.json")["calibration"].to_dict() for run in runs]
    assert len(runs) == len(ALGORITHMS)
    for key in ("ranges", "objective_low", "objective_high"):
        assert len({str(found[key]) for found in settled}) == 1


def test_the_corrected_score_is_that_of_the_audit(studied: Path) -> None:
    run = Run.open(next(studied.parent.glob("quick/*/cma_mae_0")))
    audited = run.complete(until="audit").summary
    row = pd.read_csv(studied).set_index("algorithm").loc["cma_mae"]
    assert row["corrected_qd_score"] == pytest.approx(audited["corrected_qd_score"], rel=1e-5)
    assert row["label_agreement"] == pytest.approx(audited["label_agreement"], rel=1e-5)


def test_a_second_call_does_only_what_is_missing(algorithms: ModuleType, studied: Path, config: Path) -> None:
    rows = pd.read_csv(studied)
    out = config.parent / "again.csv"
    rows[rows["algorithm"] != "random"].to_csv(out, index=False)
    assert algorithms.missing(algorithms.known_rows(out, 300), ALGORITHMS, 1) == [("random", 0)]
    algorithms.main(["--quick", "--config", str(config), "--work", str(config.parent), "--out", str(out)])
    pd.testing.assert_frame_equal(pd.read_csv(out), rows)


def test_table_and_figure_lie_beside_the_rows(studied: Path) -> None:
    lines = studied.with_suffix(".md").read_text().splitlines()
    assert sum(line.startswith("| ") for line in lines) == 1 + len(ALGORITHMS)
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert studied.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("algorithm", "cost"), [("cma_mae", 256), ("random", 256), ("cma_maega", 8 * (32 + 4))]
)
def test_a_budget_pays_for_whole_iterations(algorithms: ModuleType, algorithm: Any, cost: int) -> None:
    search = SearchConfig(algorithm=algorithm, **SEARCH)
    points = 8 if algorithm == "cma_maega" else 0
    iterations = (20_000 - 1024) // cost
    assert algorithms.affordable(search, 2, 20_000) == 1024 + iterations * (256 + points)


def test_a_budget_below_one_iteration_is_the_users_mistake(algorithms: ModuleType) -> None:
    search = SearchConfig(algorithm="cma_maega", **SEARCH)
    assert algorithms.affordable(search, 2, 1024 + 288) == 1024 + 264
    with pytest.raises(InputError, match="--equivalents: expected at least 1312"):
        algorithms.affordable(search, 2, 1024 + 287)


def test_rows_of_another_budget_are_refused(algorithms: ModuleType, studied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="budget of 20000 equivalents, got 300"):
        algorithms.known_rows(studied, 20_000)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected rows of this study"):
        algorithms.known_rows(tmp_path / "other.csv", 20_000)


def _rows(summary: ModuleType) -> pd.DataFrame:
    """Two algorithms, three seeds."""
    rows = pd.DataFrame({key: [0.5] * 6 for key in summary.MEASURED})
    return rows.assign(
        algorithm=["random"] * 3 + ["cma_mae"] * 3,
        seed=[0, 1, 2] * 2,
        budget=20_000,
        corrected_qd_score=[100.0, 200.0, 300.0, 300.0, 400.0, 450.0],
        group_diversity_ratio=[1.0, 0.9, np.nan, 0.8, 0.7, 0.6],
    )


def test_means_carry_students_interval_over_seeds(summary: ModuleType) -> None:
    table = summary.means(_rows(summary)).set_index("algorithm")
    assert table.index.tolist() == ["cma_mae", "random"]
    assert table.loc["random", "corrected_qd_score"] == 200
    assert table.loc["random", "corrected_qd_score_half"] == pytest.approx(
        4.302653 * 100 / np.sqrt(3), rel=1e-6
    )


def test_the_ratio_to_random_search_is_taken_seed_by_seed(summary: ModuleType) -> None:
    table = summary.means(_rows(summary)).set_index("algorithm")
    assert table.loc["cma_mae", "over_random"] == pytest.approx((3 + 2 + 1.5) / 3)
    assert table.loc["random", "over_random"] == 1


def test_a_seed_that_gave_no_number_leaves_the_mean_of_the_others(summary: ModuleType) -> None:
    assert summary.means(_rows(summary)).set_index("algorithm").loc["random", "group_diversity_ratio"] == 0.95


def test_the_table_says_what_is_not_known(summary: ModuleType) -> None:
    rows = _rows(summary)
    one = rows[(rows["seed"] == 2) & (rows["algorithm"] == "random")]
    line = summary.markdown(one).splitlines()[-1]
    assert line.startswith("| random | 300 | 1.00 | – |")


def test_the_figure_draws_a_dot_a_seed_and_a_line_at_the_mean(summary: ModuleType) -> None:
    rows = _rows(summary)
    axes = summary.draw_table(rows).axes[0]
    dots, lines = axes.collections
    assert sorted(dots.get_offsets()[:, 0].tolist()) == sorted(rows["corrected_qd_score"])
    assert [segment[0, 0] for segment in lines.get_segments()] == pytest.approx([1150 / 3, 200])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cma_mae", "random"]
