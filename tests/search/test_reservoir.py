import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.search.reservoir import Reservoir

CELLS, CAPACITY = 4, 3


def brute_force(solutions):
    """The kept indices of each cell: best of each lineage first, then second bests…, one at a time."""
    kept = {}
    for cell in range(CELLS):
        seen, left = set(), []
        for index, (place, latent, _, _) in enumerate(solutions):
            if place == cell and latent not in seen:
                seen.add(latent)
                left.append(index)
        rank = {}
        for index in left:
            _, _, objective, lineage = solutions[index]
            better = [
                other
                for other in left
                if solutions[other][3] == lineage
                and (solutions[other][2] > objective or (solutions[other][2] == objective and other < index))
            ]
            rank[index] = len(better)
        kept[cell] = sorted(left, key=lambda index: (rank[index], -solutions[index][2], index))[:CAPACITY]
    return kept


def arrays(solutions):
    cells = np.array([s[0] for s in solutions], np.int64)
    latents = np.array([[s[1], -s[1]] for s in solutions], np.float32).reshape(-1, 2)
    objective = np.array([s[2] for s in solutions], np.float32)
    measures = np.array([[s[1] * 2.0] for s in solutions], np.float32).reshape(-1, 1)
    lineage = np.array([s[3] for s in solutions], np.int32)
    return cells, latents, objective, measures, lineage


# One latent always scores the same, as in a search: cell, objective and lineage follow from it.
solutions = st.lists(st.integers(0, 60), max_size=60).map(
    lambda latents: [(x * 7 % CELLS, float(x), float(x * 13 % 11), x % 5) for x in latents]
)


@settings(max_examples=100, deadline=None)
@given(solutions, st.lists(st.integers(0, 60), max_size=4))
def test_it_keeps_what_brute_force_keeps_however_solutions_are_grouped(offered, cuts):
    reservoir = Reservoir(CELLS, CAPACITY, latent_dim=2, measure_dim=1)
    columns = arrays(offered)
    bounds = [0, *sorted(min(cut, len(offered)) for cut in cuts), len(offered)]
    for start, end in itertools.pairwise(bounds):
        reservoir.add(*(column[start:end] for column in columns))
    rows = reservoir.rows()
    expected = brute_force(offered)
    assert len(reservoir) == sum(map(len, expected.values()))
    for cell, indices in expected.items():
        here = rows["cell"] == cell
        assert rows["rank"][here].tolist() == list(range(len(indices)))
        assert rows["latents"][here, 0].tolist() == [offered[index][1] for index in indices]
        assert rows["objective"][here].tolist() == [offered[index][2] for index in indices]
        assert rows["lineage"][here].tolist() == [offered[index][3] for index in indices]


@settings(max_examples=30, deadline=None)
@given(solutions, solutions)
def test_a_pickled_reservoir_goes_on_as_if_nothing_had_happened(before, after):
    reservoir = Reservoir(CELLS, CAPACITY, latent_dim=2, measure_dim=1)
    reservoir.add(*arrays(before))
    copy = pickle.loads(pickle.dumps(reservoir))
    for each in (reservoir, copy):
        each.add(*arrays(after))
    for name, values in reservoir.rows().items():
        np.testing.assert_array_equal(copy.rows()[name], values)


def test_rank_0_is_the_best_of_the_cell():
    rng = np.random.default_rng(0)
    reservoir = Reservoir(50, 4, latent_dim=3, measure_dim=2)
    cells = rng.integers(0, 50, 1000)
    objective = rng.standard_normal(1000).astype(np.float32)
    latents = rng.standard_normal((1000, 3)).astype(np.float32)
    reservoir.add(cells, latents, objective, latents[:, :2], rng.integers(0, 6, 1000))
    rows = reservoir.rows()
    best = rows["rank"] == 0
    expected = [objective[cells == cell].max() for cell in rows["cell"][best]]
    assert rows["objective"][best].tolist() == expected


def test_different_families_come_before_second_bests_of_one():
    reservoir = Reservoir(1, 3, latent_dim=1, measure_dim=1)
    latents = np.arange(4, dtype=np.float32)[:, None]
    objective = np.array([10, 9, 8, 1], np.float32)
    reservoir.add(np.zeros(4, np.int64), latents, objective, latents, np.array([7, 7, 7, 8]))
    assert reservoir.rows()["objective"].tolist() == [10, 1, 9]


def test_a_pickle_holds_only_what_was_filled():
    reservoir = Reservoir(100_000, 4, latent_dim=64, measure_dim=2)
    one = np.ones((1, 64), np.float32)
    reservoir.add(np.array([5]), one, np.ones(1, np.float32), one[:, :2], np.zeros(1, np.int32))
    assert len(pickle.dumps(reservoir)) < 2_000_000
    assert len(pickle.loads(pickle.dumps(reservoir))) == 1


@pytest.mark.parametrize("cells", [[], [0]])
def test_few_solutions_are_no_special_case(cells):
    reservoir = Reservoir(2, 2, latent_dim=1, measure_dim=1)
    n = len(cells)
    column = np.zeros((n, 1), np.float32)
    reservoir.add(np.array(cells, np.int64), column, column[:, 0], column, np.zeros(n, np.int32))
    assert len(reservoir) == n
