import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.config import ALGORITHMS, MeasureConfig
from qdgs.errors import GeneratorError, InputError
from qdgs.search.loop import illuminate
from qdgs.search.settings import iteration_cost
from qdgs.search.workers import LocalWorkers


def finished(search, **budget):
    progress = list(illuminate(search, **budget))
    return search, progress


def without_seconds(progress):
    return dataclasses.replace(progress, seconds=0.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_budget_is_used_up_to_the_last_whole_iteration_and_never_exceeded(problem, algorithm):
    calls = []

    def counted(latents):
        calls.append(len(latents))
        return problem.score(latents)

    search, progress = finished(problem.begin(problem.config(algorithm), score=counted))
    cost = iteration_cost(search.config)
    assert [p.evaluations for p in progress] == list(range(64 + cost, 1001, cost))
    assert 1000 - cost < search.evaluations <= 1000
    assert sum(calls) >= search.evaluations  # padding is scored, and not counted


@pytest.mark.parametrize("preset", ["tuned", "paper"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_gives_the_same_archive_bit_for_bit(problem, algorithm, preset):
    config = problem.config(algorithm, preset=preset, evaluations=400, archive="grid")
    one, progress = finished(problem.begin(config))
    two, again = finished(problem.begin(config))
    pd.testing.assert_frame_equal(one.archive_frame(), two.archive_frame(), check_exact=True)
    pd.testing.assert_frame_equal(one.reservoir_frame(), two.reservoir_frame(), check_exact=True)
    assert list(map(without_seconds, progress)) == list(map(without_seconds, again))


def test_another_seed_gives_another_archive(problem):
    one, two = (finished(problem.begin(problem.config("random"), seed=seed))[0] for seed in (0, 1))
    assert not one.archive_frame().equals(two.archive_frame())


@pytest.mark.parametrize("archive", ["grid", "cvt"])
def test_a_frame_row_holds_a_latent_and_what_it_scores(problem, archive):
    search, _ = finished(problem.begin(problem.config(archive=archive, centroids=40)))
    for frame in (search.archive_frame(), search.reservoir_frame()):
        latents = frame.filter(like="latent_").to_numpy()
        evaluation = search.evaluator(latents)
        np.testing.assert_array_equal(frame["objective"], evaluation.objective)
        np.testing.assert_array_equal(frame[["east", "north"]], evaluation.measures)
        np.testing.assert_array_equal(frame["cell"], search.archive.index_of(evaluation.measures))


def test_the_frames_have_the_agreed_columns_and_order(problem):
    search, _ = finished(problem.begin(problem.config()))
    latents = [f"latent_{index:04d}" for index in range(5)]
    elites, reservoir = search.archive_frame(), search.reservoir_frame()
    assert list(elites) == ["cell", "objective", "east", "north", "lineage", *latents]
    assert list(reservoir) == ["cell", "rank", "objective", "east", "north", "lineage", *latents]
    assert elites.dtypes.astype(str).to_dict() == {
        "cell": "int64",
        "lineage": "int32",
        **dict.fromkeys(["objective", "east", "north", *latents], "float32"),
    }
    assert elites["cell"].is_monotonic_increasing
    assert elites["cell"].is_unique
    assert reservoir[["cell", "rank"]].apply(tuple, axis=1).is_monotonic_increasing


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_of_each_cell_of_the_reservoir_is_the_elite(problem, algorithm):
    search, _ = finished(problem.begin(problem.config(algorithm)))
    elites, reservoir = search.archive_frame(), search.reservoir_frame()
    best = reservoir[reservoir["rank"] == 0].drop(columns="rank").reset_index(drop=True)
    pd.testing.assert_frame_equal(best, elites, check_exact=True)


def test_progress_equals_what_the_archive_says(problem):
    search, progress = finished(problem.begin(problem.config()))
    elites, last = search.archive_frame(), progress[-1]
    assert last.qd_score == pytest.approx(elites["objective"].sum(), rel=1e-5)
    assert last.norm_qd_score == pytest.approx(last.qd_score / 120)
    assert last.coverage == pytest.approx(len(elites) / 120)
    assert last.objective_max == pytest.approx(elites["objective"].max())
    assert last.objective_mean == pytest.approx(elites["objective"].mean(), rel=1e-5)
    assert last.lineages == elites["lineage"].nunique()
    assert last.row() == dataclasses.asdict(last)


def test_qd_score_never_falls(problem):
    for algorithm in ("cma_mae", "cma_maega"):
        _, progress = finished(problem.begin(problem.config(algorithm)))
        scores = [p.qd_score + 10 * p.coverage * 120 for p in progress]  # a new elite may be worth −10
        assert scores == sorted(scores)


def test_clipped_solutions_are_counted(problem):
    narrow = [measure.model_copy(update={"range": (-0.5, 0.5)}) for measure in problem.measures]
    config = problem.config("random", evaluations=20_000, emitters=8, batch_size=128)
    _, progress = finished(problem.begin(config, measures=narrow))
    inside = math.erf(0.5 / math.sqrt(2))  # of a standard normal within ±0.5
    assert progress[-1].clipped_fraction == pytest.approx(1 - inside**2, abs=0.02)


def test_forward_equivalents_count_jacobians(problem):
    _, progress = finished(problem.begin(problem.config("cma_maega", evaluations=400)))
    iterations = len(progress)
    assert progress[-1].equivalents == 64 + iterations * (3 * 8 + 3 * (1 + 3))


def test_time_can_end_a_search(problem):
    search = problem.begin(problem.config(evaluations=10**7))
    progress = list(illuminate(search, seconds=search.seconds + 0.05))
    assert progress
    assert progress[-1].evaluations < 10**7
    assert progress[-1].seconds >= search.seconds - 1e-9


def test_time_is_no_limit_unless_the_caller_says_so(problem):
    search, _ = finished(problem.begin(problem.config(seconds=1e-6)))
    assert 976 < search.evaluations <= 1000
    assert list(illuminate(search, 10**7, seconds=1e-6)) == []


def test_a_search_that_is_over_yields_nothing_more(problem):
    search, _ = finished(problem.begin(problem.config("random")))
    assert list(illuminate(search)) == []
    assert len(list(illuminate(search, evaluations=search.evaluations + 24))) == 1


def test_a_budget_below_starts_and_one_iteration_is_refused_with_both_numbers(problem):
    with pytest.raises(InputError, match=r"search.evaluations: expected at least 88 \(64 .* of 24\), got 87"):
        problem.begin(problem.config(evaluations=87))


@pytest.mark.parametrize("preset", ["tuned", "paper"])
def test_a_threshold_that_no_random_sample_reaches_is_refused(problem, preset):
    with pytest.raises(
        InputError, match=r"search.threshold_min: expected one that random samples reach.*got 999"
    ):
        problem.begin(problem.config("cma_mae", preset=preset, threshold_min=999.0))


def test_a_generator_that_breaks_stops_the_search_with_one_sentence(problem):
    search = problem.begin(problem.config("random"))
    broken = LocalWorkers(lambda latents: (latents[:, 0] * torch.nan, latents[:, :2]))
    search.evaluator.workers = broken
    with pytest.raises(GeneratorError, match="finite objective"):
        list(illuminate(search))
    assert not search.between_iterations


def test_an_ask_that_fails_halfway_leaves_nothing_to_save(problem, monkeypatch):
    search = problem.begin(problem.config("cma_mae"))

    def fail():
        raise RuntimeError

    monkeypatch.setattr(search.scheduler, "ask", fail)
    with pytest.raises(RuntimeError):
        search.ask()
    assert not search.between_iterations


def test_random_search_keeps_every_cell_s_best_sample_of_the_prior(problem):
    offered = []

    def noted(latents):
        offered.append(latents.numpy().copy())
        return problem.score(latents)

    search, _ = finished(problem.begin(problem.config("random"), score=noted))
    latents = np.concatenate(offered)
    evaluation = search.evaluator(latents)
    cells = search.archive.index_of(evaluation.measures)
    best = pd.Series(evaluation.objective).groupby(cells).max()
    elites = search.archive_frame().set_index("cell")["objective"]
    np.testing.assert_array_equal(elites.index, best.index)
    np.testing.assert_array_equal(elites, best)


def test_the_published_start_is_the_best_of_its_random_latents(problem):
    config = problem.config("cma_maega", preset="paper", prior_starts=100)
    search = problem.begin(config)
    ranges = search.calibration.ranges
    starts = search.scheduler.emitters[0].x0
    assert len(search.archive_frame()) == 1
    assert search.evaluations == 100
    assert search.archive_frame().filter(like="latent_").to_numpy()[0].tolist() == starts.tolist()
    assert len(ranges) == 2


def test_some_cell_of_an_annealed_archive_anneals(problem):
    """A threshold above what one visit could leave: (1 − α)·t_min + α·max f."""
    search, _ = finished(problem.begin(problem.config("cma_mae", evaluations=3000)))
    calibration = search.calibration
    first_visit = calibration.learning_rate * 110
    thresholds = search.scheduler.archive.data("threshold")
    assert (thresholds > first_visit).mean() > 0.2
    assert 0.05 < calibration.learning_rate < 0.3


@pytest.mark.parametrize("algorithm", ["map_elites", "cma_me", "cma_mae", "cma_mega", "cma_maega"])
def test_a_search_covers_more_than_random_samples(problem, algorithm):
    """Cells far out in the prior's tails: ranges of ±4 standard deviations."""
    wide = [
        MeasureConfig(name=name, low="low", high="high", cells=20, range=(-4.0, 4.0))
        for name in ("east", "north")
    ]
    searched, random = (
        finished(problem.begin(problem.config(name, evaluations=3000), measures=wide))[1][-1]
        for name in (algorithm, "random")
    )
    assert searched.coverage > 1.15 * random.coverage
    assert searched.qd_score > random.qd_score


def test_families_stay_apart(problem):
    """More families than emitters could ever found by themselves, and none that owns the archive."""
    search, progress = finished(problem.begin(problem.config("cma_mae", evaluations=3000)))
    families = search.archive_frame()["lineage"].value_counts(normalize=True)
    assert progress[-1].lineages > 5 * search.config.emitters
    assert families.iloc[0] < 0.25


def test_one_emitter_without_fresh_blood_is_one_family(problem):
    config = problem.config("cma_mae", preset="paper", prior_starts=64)
    _, progress = finished(problem.begin(config))
    assert progress[-1].lineages == 1


@pytest.mark.parametrize("algorithm", ["map_elites", "map_elites_line"])
def test_children_have_their_parent_s_lineage(problem, algorithm):
    """With tiny steps a child is next to its parent, which alone has its lineage among the starts."""
    tiny = {"sigma0": 1e-4, "iso_sigma": 1e-4, "line_sigma": 0.0}
    search = problem.begin(problem.config(algorithm, prior_share=0.0, **tiny))
    starts = search.archive_frame()
    founders = dict(zip(starts["lineage"], starts.filter(like="latent_").to_numpy(), strict=True))
    list(illuminate(search))
    later = search.archive_frame()
    distances = [
        np.abs(founders[row.lineage] - latent).max()
        for row, latent in zip(later.itertuples(), later.filter(like="latent_").to_numpy(), strict=True)
    ]
    assert max(distances) < 0.01


def test_samples_that_calibrated_are_the_first_starts_at_no_further_cost(problem):
    search = problem.begin(problem.config(range_samples=64, prior_starts=100))
    assert search.evaluations == 100
    assert search.progress().clipped_fraction < 0.1
    assert len(search.reservoir) > 0


def test_a_search_without_starts_begins_from_the_prior(problem):
    for algorithm in ALGORITHMS:
        config = problem.config(algorithm, prior_starts=0, evaluations=300)
        _, progress = finished(problem.begin(config))
        assert progress[-1].coverage > 0
