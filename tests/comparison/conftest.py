from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qdgs.compare_config import load_compare
from qdgs.comparison.compare import compare

CONFIG = Path(__file__).parents[2] / "configs" / "comparison-shapes.yaml"
METHODS = "methods=[random, latent-mixtures, paired-latents, autophagy, qdgs]"
ARMS = "downstream.arms=[biased, group-dro, greyscale, zero-shot, drawn]"
ENDPOINTS = "endpoints=[{metric: worst_group_accuracy, method: qdgs, against: best, margin: 0.01}]"


@pytest.fixture(scope="session", autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, and a cache of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QDGS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def quick():
    """The configuration of the shapes in tiny sizes, with some of its methods."""

    def load(*overrides):
        return load_compare(CONFIG, ["seeds=1", METHODS, ARMS, ENDPOINTS, *overrides], quick=True)

    return load


@pytest.fixture(scope="session")
def steps():
    """What a comparison told on its way; filled by `compared`."""
    return []


@pytest.fixture(scope="session")
def compared(quick, steps, tmp_path_factory):
    """A comparison that is through. Do not write into its folder: copy it."""
    return compare(quick(), tmp_path_factory.mktemp("comparison") / "out", watch=steps.append)
