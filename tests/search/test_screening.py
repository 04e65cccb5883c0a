import numpy as np
import pytest
from ribs.archives import GridArchive

from qdgs.search.loop import illuminate
from qdgs.search.screening import FIRST, Screen, Surrogate


def values(latents: np.ndarray) -> np.ndarray:
    objective = 50 - np.square(latents - 0.25).sum(axis=1)
    return np.column_stack([objective, latents[:, :2]])


def taught(n: int) -> Surrogate:
    rng = np.random.default_rng(0)
    surrogate = Surrogate(5, 3, rng)
    for _ in range(n // 64):
        latents = rng.standard_normal((64, 5)).astype(np.float32)
        surrogate.observe(latents, values(latents))
    return surrogate


def archive() -> GridArchive:
    return GridArchive(solution_dim=5, dims=[6, 6], ranges=[(-2, 2)] * 2, learning_rate=0.5, threshold_min=0)


def test_a_surrogate_learns_what_it_has_seen():
    fresh = np.random.default_rng(1).standard_normal((200, 5))
    guess, truth = taught(2048).predict(fresh), values(fresh)
    for column in range(3):
        assert np.corrcoef(guess[:, column], truth[:, column])[0, 1] > 0.95


def test_in_how_many_parts_it_learns_makes_no_difference():
    latents = np.random.default_rng(2).standard_normal((600, 5)).astype(np.float32)
    one, other = (Surrogate(5, 3, np.random.default_rng(0)) for _ in range(2))
    one.observe(latents, values(latents))
    for part in np.array_split(latents, 7):
        other.observe(part, values(part))
    np.testing.assert_allclose(one.predict(latents), other.predict(latents), rtol=1e-6, atol=1e-6)


def test_until_it_knows_enough_candidates_pass_as_they_come():
    screen = Screen(archive(), 4, taught(FIRST - 64))
    candidates = np.random.default_rng(3).standard_normal((40, 5))
    np.testing.assert_array_equal(screen.choose(candidates, 10), np.arange(10))
    assert screen.guessed == 0


def test_what_is_chosen_improves_an_archive_by_more_than_what_comes_first():
    rng = np.random.default_rng(4)
    held = rng.standard_normal((300, 5))
    chosen, first = archive(), archive()
    for one in (chosen, first):
        one.add(held, values(held)[:, 0], values(held)[:, 1:])
    candidates = 1.3 * rng.standard_normal((400, 5))
    screen = Screen(chosen, 10, taught(2048))
    for one, rows in ((chosen, screen.choose(candidates, 40)), (first, np.arange(40))):
        one.add(candidates[rows], values(candidates[rows])[:, 0], values(candidates[rows])[:, 1:])
    assert chosen.stats.qd_score > first.stats.qd_score
    assert screen.guessed == 400


def test_no_candidate_is_chosen_twice():
    chosen = Screen(archive(), 4, taught(1024)).choose(np.random.default_rng(5).standard_normal((80, 5)), 20)
    assert len(set(chosen)) == 20


@pytest.mark.parametrize("algorithm", ["random", "map_elites", "map_elites_line", "cma_mae"])
def test_what_is_screened_out_is_not_scored_and_not_counted(problem, algorithm):
    calls = []

    def counted(latents):
        calls.append(len(latents))
        return problem.score(latents)

    config = problem.config(algorithm, screen=4, evaluations=1200, batch_size=16, prior_share=0.25)
    search = problem.begin(config, score=counted)
    plain = problem.begin(config.model_copy(update={"screen": 1}))
    ends = [list(illuminate(one))[-1].evaluations for one in (search, plain)]
    assert ends[0] == ends[1] == search.evaluations
    assert sum(calls) - search.evaluations < 16 * (len(calls) + 1)  # padding alone
    assert search.screen.guessed > 0
