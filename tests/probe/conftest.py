import importlib
from pathlib import Path

import pytest

from qdgs.probe.samples import draw_pool, draw_probe_set, open_parts
from qdgs.probe_config import load_probe

SIZES = [
    "samples.images=160",
    "samples.pool=600",
    "samples.draws=4000",
    "pairs.images=40",
    "failures.evaluations=512",
    "failures.search={emitters: 2, batch_size: 16}",
]


@pytest.fixture(scope="session")
def probed():
    """The module of models, which targets can name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1]))
        yield importlib.import_module("probed")


@pytest.fixture(scope="session")
def config_of(tiny_config, probed):
    """The configuration of a probe of a model, with overrides."""

    def act(model, *overrides):
        return load_probe(str(model), guide=tiny_config, overrides=[*SIZES, *overrides])

    return act


@pytest.fixture(scope="session")
def parts(config_of):
    return open_parts(config_of("probed:ByShape"))


@pytest.fixture(scope="session")
def pool(parts):
    return draw_pool(parts)


@pytest.fixture(scope="session")
def probe_set(parts, pool):
    return draw_probe_set(parts, pool)
