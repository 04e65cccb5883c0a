"""A search problem whose answers are known: the measures are two latents, the objective a sphere."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.search.state import Search


class Problem:
    """Objective 50 − ‖x − 1/4‖², measures x₀ and x₁, prior N(0, I)."""

    latent_dim = 5
    measures = (
        MeasureConfig(name="east", low="west", high="east", cells=12),
        MeasureConfig(name="north", low="south", high="north", cells=10),
    )

    @staticmethod
    def score(latents: Tensor) -> tuple[Tensor, Tensor]:
        return 50 - (latents - 0.25).square().sum(dim=1), latents[:, :2]

    def sample_prior(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, self.latent_dim)).astype(np.float32)

    def config(self, algorithm: str = "cma_mae", **keys: Any) -> SearchConfig:
        defaults: dict[str, Any] = {
            "algorithm": algorithm,
            "emitters": 3,
            "batch_size": 8,
            "evaluations": 1000,
            "range_samples": 64,
            "prior_starts": 64,
            "micro_batch": 16,
        }
        return SearchConfig(**{**defaults, **keys})

    def begin(self, config: SearchConfig, *, seed: int = 0, **replaced: Any) -> Search:
        arguments = {
            "measures": self.measures,
            "score": self.score,
            "latent_dim": self.latent_dim,
            "differentiable": True,
            "sample_prior": self.sample_prior,
            "seed": seed,
        }
        return Search.begin(config, **{**arguments, **replaced})


@pytest.fixture(scope="session")
def problem() -> Problem:
    torch.set_num_threads(1)
    return Problem()
