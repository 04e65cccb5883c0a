import pickle

import pytest
from scipy.stats import binom, binomtest

from qdgs.datasets.shortage import PriorCounts, Shortage, ShortageError, mass_upper_bound
from qdgs.errors import InputError


def test_none_found_is_the_rule_of_three() -> None:
    assert mass_upper_bound(0, 1000) == 0.003
    assert mass_upper_bound(0, 1000) == pytest.approx(1 - 0.05 ** (1 / 1000), rel=0.01)


@pytest.mark.parametrize(("found", "samples"), [(1, 100), (3, 50), (40, 41)])
def test_some_found_is_clopper_pearsons_bound(found: int, samples: int) -> None:
    bound = mass_upper_bound(found, samples)
    assert binom.cdf(found, samples, bound) == pytest.approx(0.05)
    exact = binomtest(found, samples, alternative="less").proportion_ci(0.95, method="exact")
    assert bound == pytest.approx(exact.high)


def test_the_bound_never_passes_one() -> None:
    assert mass_upper_bound(0, 2) == 1
    assert mass_upper_bound(7, 7) == 1


def test_a_shortage_says_which_how_many_what_was_tried_and_what_random_samples_say() -> None:
    shortage = Shortage(
        group="blue/triangle",
        wanted=500,
        got=463,
        candidates=1200,
        cells=310,
        rejected=700,
        duplicates=37,
        left_by_cell_limit=0,
        evaluations=20_000,
        prior_count=0,
        prior_samples=10_000,
        prior_upper_bound=0.0003,
    )
    assert str(ShortageError([shortage])) == (
        "dataset: group 'blue/triangle' lacks 37 of 500 images after all 1,200 solutions of it in 310 cells "
        "that 20,000 evaluations found (700 rejected by the gate, 37 near-duplicates); of 10,000 random "
        "samples none are in it, so it holds at most 0.03% of the generator's prior (95 %); search longer, "
        "ask for fewer dataset.images, or set dataset.on_shortage to accept"
    )


def test_the_worst_of_several_groups_comes_first_and_the_others_are_named() -> None:
    mild = Shortage("a", 10, 9, 9, 9, 0, 0, 0)
    worst = Shortage("b", 10, 0, 0, 0, 0, 0, 0)
    message = str(ShortageError([mild, worst]))
    assert message.startswith("dataset: group 'b' lacks 10 of 10 images")
    assert "(and so do 'a')" in message
    assert "random samples" not in message


@pytest.mark.parametrize(("counts", "samples"), [({"a": 3}, 2), ({"a": -1}, 5), ({}, 0)])
def test_counts_that_cannot_be_are_refused(counts: dict[str, int], samples: int) -> None:
    with pytest.raises(InputError, match=r"^prior counts: expected"):
        PriorCounts(counts, samples)


def test_a_shortage_comes_back_whole_from_a_worker_process() -> None:
    shortage = Shortage(
        group="a", wanted=5, got=3, candidates=4, cells=2, rejected=1, duplicates=0, left_by_cell_limit=0
    )
    again = pickle.loads(pickle.dumps(ShortageError([shortage])))
    assert again.shortages == (shortage,)
    assert str(again) == str(ShortageError([shortage]))
