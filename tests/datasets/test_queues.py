import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.datasets.queues import UNREAD, Queue


def anything(row: int) -> bool:
    return True


@given(order=st.permutations(range(12)), limits=st.lists(st.integers(0, 5), max_size=5))
def test_without_strata_it_is_the_order(order: list[int], limits: list[int]) -> None:
    queue = Queue(order)
    proposed = [row for limit in limits for row in queue.propose(limit, anything)]
    assert proposed == order[: sum(limits)]
    assert len(queue) == len(order) - len(proposed)


def test_what_is_not_free_keeps_its_place() -> None:
    queue = Queue([3, 1, 2, 0])
    assert queue.propose(2, lambda row: row < 2) == [1, 0]
    assert queue.propose(4, anything) == [3, 2]


def as_even_as_possible(available: np.ndarray, wanted: int) -> list[int]:
    """By brute force: one more to whatever stratum has the fewest, as long as it has any left."""
    filled = np.zeros(len(available), dtype=int)
    for _ in range(min(wanted, available.sum())):
        left = np.flatnonzero(filled < available)
        filled[left[np.argmin(filled[left])]] += 1
    return sorted(filled.tolist())


@settings(max_examples=200, deadline=None)
@given(
    strata=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    wanted=st.integers(1, 30),
    good=st.lists(st.booleans(), min_size=40, max_size=40),
    first=st.integers(0, 9),
)
def test_strata_end_as_even_as_the_good_candidates_allow(
    strata: list[int], wanted: int, good: list[bool], first: int
) -> None:
    """Whatever is turned down, and in however many rounds."""
    codes = np.array(strata)
    queue = Queue(range(len(strata)), codes, first)
    taken: list[int] = []
    while proposed := queue.propose(wanted - len(taken), anything):
        for row in proposed:
            if good[row]:
                taken.append(row)
            else:
                queue.turn_down(row)
    passing = np.array(good[: len(strata)])
    available = np.array([(passing & (codes == stratum)).sum() for stratum in range(4)])
    filled = np.bincount(codes[taken], minlength=4)
    assert sorted(filled.tolist()) == as_even_as_possible(available, wanted)
    assert len(set(taken)) == len(taken)


def test_within_a_stratum_the_order_stays_and_another_may_come_first() -> None:
    strata = np.array([0, 0, 0, 1, 1, 2])
    assert Queue(range(6), strata).propose(6, anything) == [0, 3, 5, 1, 4, 2]
    assert Queue(range(6), strata, first=1).propose(6, anything) == [3, 5, 0, 4, 1, 2]


def test_candidates_of_no_known_stratum_come_last() -> None:
    queue = Queue(range(5), np.array([UNREAD, 0, UNREAD, 0, 1]))
    assert queue.propose(5, anything) == [1, 4, 3, 0, 2]


def test_nobody_in_a_queue_is_nobody_proposed() -> None:
    assert Queue([], np.array([], dtype=np.int64), first=3).propose(3, anything) == []
