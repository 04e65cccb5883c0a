import pickle
from collections import Counter

import numpy as np
import pytest
from ribs.archives import GridArchive

from qdgs.search.lineages import ArchiveView, FamilyView, FreshView, Prior


def make_prior() -> Prior:
    return Prior(lambda n, rng: rng.standard_normal((n, 3)), np.random.default_rng(0))


def make_archive(lineage: list[int]) -> GridArchive:
    n = len(lineage)
    archive = GridArchive(
        solution_dim=3, dims=[n], ranges=[(0, n)], extra_fields={"lineage": ((), np.int32)}, seed=0
    )
    places = np.arange(n) + 0.5
    archive.add(np.repeat(places[:, None], 3, axis=1), np.ones(n), places[:, None], lineage=np.array(lineage))
    return archive


def empty_archive() -> GridArchive:
    return GridArchive(solution_dim=3, dims=[4], ranges=[(0, 4)], extra_fields={"lineage": ((), np.int32)})


def test_every_sample_of_the_prior_founds_a_lineage_of_its_own():
    prior = make_prior()
    first, second = prior.draw(3), prior.draw(2)
    assert [*first[1], *second[1]] == [0, 1, 2, 3, 4]
    assert first[0].dtype == np.float32
    assert prior.founded == 5


def test_a_pickled_prior_goes_on_with_the_same_numbers():
    prior = make_prior()
    prior.draw(3)
    copy = pickle.loads(pickle.dumps(prior))
    copy.attach(lambda n, rng: rng.standard_normal((n, 3)))
    for expected, got in zip(prior.draw(4), copy.draw(4), strict=True):
        np.testing.assert_array_equal(expected, got)


def test_a_view_remembers_the_lineages_of_the_elites_it_handed_out():
    archive = make_archive([10, 11, 12, 13])
    view = ArchiveView(archive, make_prior())
    elites = view.sample_elites(6)
    positions = (elites["solution"][:, 0] - 0.5).astype(int)
    np.testing.assert_array_equal(view.lineages_of(6), positions + 10)
    np.testing.assert_array_equal(view.lineages_of(3), view.lineages_of(6)[:3])


def test_all_solutions_made_from_one_elite_have_its_lineage():
    view = ArchiveView(make_archive([7]), make_prior())
    view.sample_elites(1)
    assert view.lineages_of(5).tolist() == [7] * 5


def test_an_empty_archive_gives_fresh_samples_instead_of_an_error():
    view = ArchiveView(empty_archive(), make_prior())
    assert not view.empty
    assert view.sample_elites(2)["solution"].shape == (2, 3)
    assert view.lineages.tolist() == [0, 1]


def test_a_view_is_the_archive_in_everything_else():
    archive = make_archive([1, 2])
    view = ArchiveView(archive, make_prior())
    assert view.solution_dim == 3
    assert view.stats is archive.stats
    copy = pickle.loads(pickle.dumps(view))
    assert copy.stats == archive.stats


def test_restarts_give_every_family_the_same_chance():
    archive = make_archive([0] * 90 + [1] * 9 + [2])
    view = FamilyView(archive, make_prior(), fresh_share=0.0, rng=np.random.default_rng(0))
    counts = Counter(int(view.sample_elites(1)["lineage"][0]) for _ in range(3000))
    assert counts.keys() == {0, 1, 2}
    assert all(count == pytest.approx(1000, abs=120) for count in counts.values())


def test_restarts_hand_out_the_solution_that_belongs_to_the_lineage():
    archive = make_archive([5, 6, 7])
    view = FamilyView(archive, make_prior(), fresh_share=0.0, rng=np.random.default_rng(0))
    for _ in range(20):
        elite = view.sample_elites(1)
        assert elite["lineage"][0] == 5 + int(elite["solution"][0, 0])


def test_a_share_of_restarts_begins_from_the_prior():
    prior = make_prior()
    prior.found(1)
    view = FamilyView(make_archive([0]), prior, fresh_share=0.3, rng=np.random.default_rng(0))
    fresh = [view.sample_elites(1)["lineage"][0] > 0 for _ in range(2000)]
    assert np.mean(fresh) == pytest.approx(0.3, abs=0.04)


def test_a_fresh_view_never_hands_out_an_elite():
    prior = make_prior()
    prior.found(1)
    view = FreshView(make_archive([0]), prior)
    assert (view.sample_elites(50)["lineage"] > 0).all()
