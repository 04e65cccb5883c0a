import numpy as np
import pytest

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.randomness import stream
from qdgs.search.algorithms import build_archives, build_scheduler
from qdgs.search.lineages import Prior
from qdgs.search.ranges import Calibration
from qdgs.search.settings import settle

MEASURES = (MeasureConfig(name="east", low="west", high="east", cells=6),) * 2
CALIBRATION = Calibration(0, ((-1.0, 1.0), (-2.0, 2.0)), None, None, threshold_min=5.0, learning_rate=0.1)


def build(algorithm: str, *, latent_dim: int = 4, seed: int = 0, **keys):
    config = settle(SearchConfig(algorithm=algorithm, emitters=3, batch_size=8, **keys), latent_dim, True)
    archive, result = build_archives(config, MEASURES, CALIBRATION, latent_dim, seed)
    prior = Prior(lambda n, rng: rng.standard_normal((n, latent_dim)), stream(seed, 0))
    return build_scheduler(config, archive, result, prior, seed)


@pytest.mark.parametrize("algorithm", ["cma_mae", "cma_maega"])
def test_annealed_algorithms_have_an_elitist_archive_beside_the_annealed_one(algorithm):
    scheduler = build(algorithm)
    assert scheduler.archive.learning_rate == pytest.approx(0.1)
    assert scheduler.archive.threshold_min == 5
    assert scheduler.result_archive.learning_rate == 1
    assert scheduler.result_archive.threshold_min == -np.inf


@pytest.mark.parametrize("algorithm", ["random", "map_elites", "map_elites_line", "cma_me", "cma_mega"])
def test_other_algorithms_have_one_elitist_archive(algorithm):
    scheduler = build(algorithm)
    assert scheduler.result_archive is scheduler.archive
    assert scheduler.archive.learning_rate == 1


@pytest.mark.parametrize("algorithm", ["map_elites", "cma_mae", "cma_me"])
def test_an_iteration_asks_for_emitters_times_batch_size(algorithm):
    assert build(algorithm).ask().shape == (24, 4)


def test_emitters_start_apart_and_draw_apart():
    emitters = [emitter for emitter in build("cma_mae", prior_share=0.0).emitters]
    assert len({emitter.x0.tobytes() for emitter in emitters}) == 3
    steps = {(emitter.ask() - emitter.x0).tobytes() for emitter in emitters}
    assert len(steps) == 3


def test_the_strategy_works_in_float64_and_the_archive_in_float32():
    scheduler = build("cma_mae", prior_share=0.0)
    assert scheduler.archive.dtypes["solution"] == np.float32
    assert scheduler.emitters[0].ask().dtype == np.float64


def test_many_latents_get_a_diagonal_covariance_and_very_many_a_few_directions():
    sizes = [build("cma_mae", latent_dim=latent_dim) for latent_dim in (8, 600, 3000)]
    names = [type(scheduler.emitters[0]._opt).__name__ for scheduler in sizes]
    assert names == ["CMAEvolutionStrategy", "SeparableCMAEvolutionStrategy", "LMMAEvolutionStrategy"]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_cells_of_a_cvt_depend_on_the_seed_alone_and_both_archives_share_them(seed):
    first, again = (build("cma_mae", archive="cvt", centroids=30, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(first.archive.centroids, again.archive.centroids)
    np.testing.assert_array_equal(first.archive.centroids, first.result_archive.centroids)
    assert (np.abs(first.archive.centroids) <= [1, 2]).all()
    other = build("cma_mae", archive="cvt", centroids=30, seed=seed + 1)
    assert not np.array_equal(first.archive.centroids, other.archive.centroids)
