import json
import statistics

import numpy as np
import pytest

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.errors import InputError
from qdgs.search.evaluation import Evaluation
from qdgs.search.ranges import (
    RANGE_WIDENING,
    Calibration,
    Samples,
    automatic_range,
    calibrate,
    cells_of,
    learning_rate,
    needs_samples,
)
from qdgs.search.settings import settle

EAST = MeasureConfig(name="east", low="west", high="east", cells=12)
NORTH = MeasureConfig(name="north", low="south", high="north", cells=10, range=(-1.0, 2.0))


def normal_samples(n: int = 4000) -> Samples:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((n, 3)).astype(np.float32)
    return Samples(values, Evaluation(values[:, 0], values[:, 1:]))


def config(**keys) -> SearchConfig:
    return settle(SearchConfig(**{"algorithm": "cma_mae", "evaluations": 1200, **keys}), 6, True)


def test_an_automatic_range_of_normal_values_is_the_normal_quantiles_widened():
    values = np.random.default_rng(0).standard_normal(200_000)
    quantile = statistics.NormalDist().inv_cdf(0.995)
    expected = quantile * (1 + 2 * RANGE_WIDENING)
    assert automatic_range(values) == pytest.approx((-expected, expected), rel=0.02)


def test_a_given_range_stays_and_an_automatic_one_holds_nearly_all_samples():
    samples = normal_samples()
    calibration = calibrate(config(), [EAST, NORTH], samples)
    low, high = calibration.ranges[0]
    east = samples.raw.measures[:, 0]
    assert ((east > low) & (east < high)).mean() > 0.99
    assert calibration.ranges[1] == (-1.0, 2.0)


def test_the_scale_puts_the_quantiles_of_the_samples_at_0_and_100():
    samples = normal_samples()
    scale = calibrate(config(), [EAST, NORTH], samples).scale
    quantiles = np.quantile(samples.raw.objective.astype(float), [0.05, 0.9])
    assert (scale.low, scale.high) == pytest.approx(tuple(quantiles))


def test_thresholds_start_at_the_low_quantile_with_or_without_a_scale():
    samples = normal_samples()
    assert calibrate(config(), [EAST, NORTH], samples).threshold_min == 0
    raw = calibrate(config(calibrate_objective=False), [EAST, NORTH], samples)
    assert raw.scale is None
    assert raw.threshold_min == pytest.approx(np.quantile(samples.raw.objective, 0.05))


def test_given_thresholds_and_rates_stay():
    calibration = calibrate(config(threshold_min=7.0, learning_rate=0.5), [EAST, NORTH], normal_samples())
    assert (calibration.threshold_min, calibration.learning_rate) == (7.0, 0.5)


def test_the_learning_rate_anneals_within_the_budget():
    rate = learning_rate(1200, 120)
    assert (1 - rate) ** 10 == pytest.approx(0.1)


def test_the_learning_rate_of_the_published_budget_is_the_published_one():
    assert learning_rate(4 * 70_000, 50 * 50) == pytest.approx(0.02, abs=5e-4)


def test_the_learning_rate_stays_a_rate_when_there_are_fewer_evaluations_than_cells():
    assert 0.9 < learning_rate(100, 1000) <= 1


def test_cells_are_those_of_the_grid_or_the_centroids():
    assert cells_of(config(), [EAST, NORTH]) == 120
    assert cells_of(config(archive="cvt", centroids=77), [EAST, NORTH]) == 77


def test_the_published_settings_with_given_ranges_need_no_samples():
    paper = config(preset="paper")
    assert not needs_samples(paper, [NORTH])
    assert needs_samples(paper, [EAST])
    assert needs_samples(config(), [NORTH])
    assert calibrate(paper, [NORTH], None) == Calibration(0, ((-1.0, 2.0),), None, None, 0.0, 0.02)


def test_a_constant_measure_is_refused_by_name():
    samples = normal_samples()
    samples.raw.measures[:, 0] = 3.0
    with pytest.raises(InputError, match=r"guide.measures.east: expected random samples to differ, got 3 "):
        calibrate(config(), [EAST, NORTH], samples)


def test_a_constant_objective_is_refused_unless_it_is_taken_as_it_is():
    samples = normal_samples()
    samples.raw.objective[:] = 5.0
    with pytest.raises(InputError, match=r"guide.objective: expected random samples to differ, got 5 "):
        calibrate(config(), [EAST, NORTH], samples)
    assert calibrate(config(calibrate_objective=False), [EAST, NORTH], samples).scale is None


def test_a_calibration_survives_json():
    calibration = calibrate(config(), [EAST, NORTH], normal_samples())
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict()))) == calibration
