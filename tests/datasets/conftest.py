"""A tiny generator and a small dataset of it."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from qdgs.config import DatasetConfig
from qdgs.datasets.flatten import Flattened, flatten
from qdgs.datasets.manifest import manifest_metadata, write_manifest

LATENT_DIM = 3
SIZE = 16
CUTS = {"tint": [0.0], "form": [0.1]}


class TinyGenerator(torch.nn.Module):
    latent_dim = LATENT_DIM
    image_size = SIZE
    differentiable = True
    prior_norm = None

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(LATENT_DIM, 3 * SIZE * SIZE, generator=torch.Generator().manual_seed(0))
        self.weight = torch.nn.Parameter(weight)
        self.calls: list[int] = []

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.tensor(rng.standard_normal((n, LATENT_DIM)), dtype=torch.float32)

    def forward(self, latents: Tensor) -> Tensor:
        self.calls.append(len(latents))
        return torch.sigmoid(latents @ self.weight).view(-1, 3, SIZE, SIZE)


@pytest.fixture
def generator() -> TinyGenerator:
    return TinyGenerator()


@pytest.fixture
def dataset() -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "images": 50,
            "label": "form",
            "groups": {
                "tint": {"low": "red", "high": "blue", "gap": 0.05},
                "form": {"low": "triangle", "high": "square"},
            },
        }
    )


@pytest.fixture
def solutions() -> pd.DataFrame:
    """A reservoir of 100 cells, four solutions each, that fills every group."""
    rng = np.random.default_rng(0)
    n, per_cell = 400, 4
    tint, form = np.repeat(np.linspace(-1, 1, 10), 10), np.tile(np.linspace(-1, 1, 10), 10)
    measures = {
        "tint": np.repeat(tint, per_cell) + rng.uniform(-0.1, 0.1, n),
        "form": np.repeat(form, per_cell) + rng.uniform(-0.1, 0.1, n),
    }
    return pd.DataFrame(
        {
            "cell": np.repeat(np.arange(100), per_cell),
            "rank": np.tile(np.arange(per_cell), 100),
            "objective": rng.normal(size=n).astype("float32"),
            **{name: values.astype("float32") for name, values in measures.items()},
            "lineage": rng.integers(0, 12, n).astype("int32"),
            **{f"latent_{i:04d}": rng.normal(size=n).astype("float32") for i in range(LATENT_DIM)},
        }
    )


@pytest.fixture
def flattened(solutions: pd.DataFrame, dataset: DatasetConfig) -> Flattened:
    return flatten(solutions, dataset, CUTS, seed=0, gate=lambda rows: rows["latent_0000"] > -1)


@pytest.fixture
def metadata(dataset: DatasetConfig, flattened: Flattened) -> dict[str, Any]:
    return manifest_metadata(
        generator={"name": "tiny", "sha256": "0" * 64},
        guide={
            "clip": {"model": "qdgs-mini", "pretrained": None},
            "objective": {"positive": ["A shape."], "negative": ["Splatters."]},
            "measures": [
                {"name": "tint", "low": ["A red shape."], "high": ["A blue shape."]},
                {"name": "form", "low": ["A triangle."], "high": ["A square."]},
            ],
        },
        label=dataset.label,
        values={measure: group.names for measure, group in dataset.groups.items()},
        micro_batch=16,
        image_size=SIZE,
        device="cpu",
        version="0.1.0",
        cuts={"tint": [0.0], "form": {"value": 0.1, "balanced_accuracy": 0.987, "low": 40, "high": 60}},
        judges={"teacher": "geometry", "gate": "geometry", "auditor": "cnn"},
        search={"algorithm": "cma_mae", "evaluations": 20_000},
        report=flattened.report.to_json(),
        license="mit",
    )


@pytest.fixture
def stored(tmp_path: Path, flattened: Flattened, metadata: dict[str, Any]) -> Path:
    """A dataset folder with a manifest."""
    write_manifest(tmp_path / "dataset" / "manifest.parquet", flattened.manifest, metadata)
    return tmp_path / "dataset"


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Relative path → bytes of every file in a folder."""
    return lambda root: {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """While it lasts, no file can grow beyond 64 bytes: writing fails halfway, as on a full disk."""

    @contextmanager
    def limited() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
