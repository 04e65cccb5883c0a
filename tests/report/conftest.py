"""A small run folder with everything that a report reads, and a generator that draws figures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from qdgs.config import RunConfig, dump_config, load_config
from qdgs.report.archive import MeasureAxis
from qdgs.report.page import report
from qdgs.report.sheets import Pixels

GROUPS = ["red/triangle", "red/square", "blue/triangle", "blue/square"]
CONFIG = Path(__file__).parents[2] / "configs" / "shapes.yaml"


class Swatches:
    """A generator of plain swatches: the first three latents are the colour."""

    latent_dim = 4
    image_size = 8
    differentiable = True
    prior_norm = None

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((n, self.latent_dim)).astype(np.float32))

    def __call__(self, latents: Tensor) -> Tensor:
        return latents[:, :3].sigmoid()[:, :, None, None].expand(-1, 3, self.image_size, self.image_size)


@pytest.fixture(scope="session")
def x() -> MeasureAxis:
    return MeasureAxis("color", -0.1, 0.1, 10, "A red shape.", "A blue shape.")


@pytest.fixture(scope="session")
def y() -> MeasureAxis:
    return MeasureAxis("edges", -0.2, 0.1, 5, "A triangle with 3 edges.", "A square or diamond with 4 edges.")


@pytest.fixture(scope="session")
def archive() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "cell": np.arange(300),
            "objective": rng.uniform(50, 90, 300).astype(np.float32),
            "color": rng.uniform(-0.1, 0.1, 300).astype(np.float32),
            "edges": rng.uniform(-0.2, 0.1, 300).astype(np.float32),
            "lineage": np.zeros(300, dtype=np.int32),
        }
    )
    return frame.assign(**{f"latent_{i:04d}": rng.standard_normal(300).astype(np.float32) for i in range(4)})


@pytest.fixture(scope="session")
def shares() -> pd.DataFrame:
    frame = pd.DataFrame({"group": GROUPS, "target": 0.25, "count": [5, 6, 4, 5]})
    frame["share"] = frame["count"] / 20
    frame["random_share"] = [0.5, 0.004, 0.016, 0.48]
    for name in ("share", "random_share"):
        frame[f"{name}_low"], frame[f"{name}_high"] = frame[name] * 0.8, frame[name] * 1.2
    return frame


@pytest.fixture(scope="session")
def metrics() -> pd.DataFrame:
    evaluations = np.arange(1, 21) * 256
    return pd.DataFrame(
        {
            "evaluations": evaluations,
            "seconds": evaluations / 300,
            "qd_score": np.linspace(1e3, 1e5, 20),
            "norm_qd_score": np.linspace(1, 40, 20),
            "coverage": np.linspace(0.1, 0.7, 20),
            "objective_max": 95.0,
            "objective_mean": np.linspace(60, 80, 20),
            "clipped_fraction": 0.031,
        }
    )


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    colors = np.random.default_rng(1).integers(0, 200, (20, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colors, (20, 16, 16, 3)).copy()


@pytest.fixture
def run(
    tmp_path: Path, archive: pd.DataFrame, shares: pd.DataFrame, metrics: pd.DataFrame, pixels: Pixels
) -> Path:
    """A run folder after all stages but the report."""
    return _run(tmp_path / "run", archive, shares, metrics, pixels)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    archive: pd.DataFrame,
    shares: pd.DataFrame,
    metrics: pd.DataFrame,
    pixels: Pixels,
) -> Path:
    """A run folder with its report; tests only read it."""
    folder = _run(tmp_path_factory.mktemp("finished") / "run", archive, shares, metrics, pixels)
    report(folder, Swatches())
    return folder


@pytest.fixture(scope="module")
def hostile(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, by a user whose words are markup."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(finished, folder)
    wrong = "<img src=x onerror=injected=1>"
    config = load_config(
        folder / "config.yaml",
        [
            "guide.measures.0.high=" + json.dumps(["</script><b class=injected>'\""]),
            "guide.measures.1.low=" + json.dumps(["שלום 😀"], ensure_ascii=False),
            f"dataset.groups.color.high={json.dumps(wrong)}",
        ],
    )
    (folder / "config.yaml").write_text(dump_config(config))
    manifest = pd.read_parquet(folder / "dataset" / "manifest.parquet")
    manifest["group"] = manifest["group"].str.replace("blue", wrong)
    manifest.to_parquet(folder / "dataset" / "manifest.parquet")
    for file in ("audit_images.parquet", "search/audit_elites.parquet"):
        read = pd.read_parquet(folder / file)
        read.assign(color=read["color"].replace("blue", wrong)).to_parquet(folder / file)
    shares = pd.read_csv(folder / "audit.csv")
    shares.assign(group=shares["group"].str.replace("blue", wrong)).to_csv(folder / "audit.csv", index=False)
    report(folder, Swatches())
    return folder


def of_two_measures() -> RunConfig:
    """The ready-made configuration without its third measure, and without gaps between groups."""
    config = load_config(CONFIG, ["dataset.groups.color.gap=0", "dataset.groups.edges.gap=0"])
    guide = config.guide.model_copy(update={"measures": config.guide.measures[:2]})
    return config.model_copy(update={"guide": guide})


def _run(
    folder: Path, archive: pd.DataFrame, shares: pd.DataFrame, metrics: pd.DataFrame, pixels: Pixels
) -> Path:
    (folder / "search").mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(of_two_measures()))
    archive.to_parquet(folder / "search" / "archive.parquet")
    metrics.to_csv(folder / "search" / "metrics.csv", index=False)
    shares.to_csv(folder / "audit.csv", index=False)
    summary = {"images": 20, "label_agreement": 0.97, "random_label_agreement": 0.55, "qd_score": 123456.7}
    (folder / "summary.json").write_text(json.dumps(summary))
    _dataset(folder / "dataset", archive, shares, pixels)
    cuts = {"cuts": {"color": [0.0], "edges": [-0.05]}}
    (folder / "dataset" / "flatten.json").write_text(json.dumps(cuts))
    _readings(folder, archive)
    return folder


def _readings(folder: Path, archive: pd.DataFrame) -> None:
    """The judge reads every fifth image and elite otherwise than the guide, and cannot read every tenth."""
    manifest = pd.read_parquet(folder / "dataset" / "manifest.parquet")
    values = manifest["group"].str.split("/", expand=True)
    read_off(manifest[["id"]], values[0], values[1]).to_parquet(folder / "audit_images.parquet")
    guessed = pd.DataFrame({"group": ["red/triangle", "blue/square", "red/square", None] * 5}, dtype=object)
    guessed.to_parquet(folder / "audit_random.parquet")
    color = pd.Series(np.where(archive["color"] < 0, "red", "blue"))
    shape = pd.Series(np.where(archive["edges"] < -0.05, "triangle", "square"))
    read_off(archive[["cell"]], color, shape).to_parquet(folder / "search" / "audit_elites.parquet")


def read_off(keys: pd.DataFrame, color: pd.Series, shape: pd.Series) -> pd.DataFrame:
    rows = np.arange(len(keys))
    wrong = shape.map({"triangle": "square", "square": "triangle"})
    shape = shape.where(rows % 5 != 2, wrong)
    return keys.assign(color=color.to_numpy(), shape=shape.to_numpy(), quality=0.9, accepted=rows % 10 != 4)


def _dataset(folder: Path, archive: pd.DataFrame, shares: pd.DataFrame, pixels: Pixels) -> None:
    groups = np.repeat(shares["group"], shares["count"]).tolist()
    labels = [group.split("/")[1] for group in groups]
    files = [f"train/{label}/{i:06d}.png" for i, label in enumerate(labels)]
    ids = [f"{i:06d}" for i in range(20)]
    manifest = archive.head(20).assign(id=ids, file=files, label=labels, group=groups)
    for file, image in zip(files, pixels, strict=True):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / file)
    manifest.to_parquet(folder / "manifest.parquet")
