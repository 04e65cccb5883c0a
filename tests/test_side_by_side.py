import time
from threading import current_thread, get_ident

import pytest
import torch
from torch import Tensor

from qdgs.side_by_side import overlapping, side_by_side


def squares(rows: Tensor) -> Tensor:
    return rows.square()


def portions(n: int = 8) -> list[Tensor]:
    return list(torch.arange(2.0 * n).split(2))


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_the_order_of_the_portions():
    for _ in range(20):
        assert torch.equal(torch.cat(list(side_by_side(squares, portions()))), torch.arange(16.0).square())


@pytest.mark.usefixtures("two_threads")
def test_workers_have_their_share_of_the_threads_and_the_caller_keeps_all():
    def told(rows: Tensor) -> tuple[int, str]:
        return torch.get_num_threads(), current_thread().name

    found = list(side_by_side(told, portions()))
    assert {threads for threads, _ in found} == {1}
    assert all(name.startswith("qdgs-portion") for _, name in found)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(4)
    assert {threads for threads, _ in side_by_side(told, portions(2))} == {2}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("two_threads")
def test_a_single_portion_and_a_single_thread_stay_with_the_caller():
    def where(rows: Tensor) -> int:
        return get_ident()

    assert list(side_by_side(where, portions(1))) == [get_ident()]
    torch.set_num_threads(1)
    assert set(side_by_side(where, portions())) == {get_ident()}


@pytest.mark.usefixtures("two_threads")
def test_no_gradients_are_kept_and_errors_arrive():
    weight = torch.ones(2, requires_grad=True)
    assert not any(made.requires_grad for made in side_by_side(lambda rows: rows * weight, portions()))

    def fails(rows: Tensor) -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(side_by_side(fails, portions()))


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
def test_overlapping_results_come_in_order_and_no_more_than_wanted_are_in_the_making(at_once: int):
    begun: list[int] = []
    done = 0

    def items():
        for item in range(12):
            begun.append(item)
            yield item

    for done, result in enumerate(overlapping(lambda item: item**2, items(), lambda: at_once), 1):
        assert result == (done - 1) ** 2
        assert len(begun) <= done + at_once
    assert done == 12


def test_one_at_a_time_is_made_by_the_caller_when_it_is_asked_for():
    made = []

    def make(item: int) -> int:
        made.append((item, get_ident()))
        return item

    results = overlapping(make, range(3), lambda: 1)
    assert (next(results), made) == (0, [(0, get_ident())])


def test_how_many_may_be_in_the_making_can_turn_out_on_the_way():
    where = []
    results = overlapping(lambda item: where.append(get_ident()), range(4), lambda: 1 if not where else 3)
    assert list(results) == [None] * 4
    assert where[0] == get_ident()
    assert get_ident() not in where[1:]


def test_an_error_appears_where_its_result_would_have_come():
    def make(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = overlapping(make, range(9), lambda: 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


@pytest.mark.usefixtures("two_threads")
def test_whoever_stops_early_does_not_wait_for_portions_that_were_not_begun():
    begun = []

    def slow(rows: Tensor) -> Tensor:
        begun.append(len(rows))
        time.sleep(0.05)
        return rows

    results = overlapping(lambda _: list(side_by_side(slow, portions(40))), range(9), lambda: 3)
    next(results)
    before = len(begun)
    results.close()
    assert len(begun) <= before + 2
