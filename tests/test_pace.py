from threading import current_thread

import pytest
import torch
from torch import Tensor

from qdgs.memory import MemoryWarning
from qdgs.pace import Pace, Way


class Counter:
    """Sums rows, and counts how many it got at once."""

    def __init__(self, room: int = 10**6, whim: float = 0.0):
        self.sizes, self.room, self.whim = [], room, whim

    def __call__(self, rows: Tensor) -> tuple[Tensor]:
        self.sizes.append(len(rows))
        if len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return (rows.sum(dim=1) + self.whim * (len(rows) < 32),)


def rows(n: int = 64) -> Tensor:
    return torch.arange(2.0 * n).view(n, 2)


def settled(pace: Pace, n: int = 64) -> list[Tensor]:
    with torch.no_grad():
        return [pace(rows(n))[0] for _ in range(4)]


def test_results_are_the_functions_and_the_smallest_size_is_taken():
    pace = Pace(Counter(), rows)
    assert all(torch.equal(found, rows().sum(dim=1)) for found in settled(pace))
    assert list(pace.chosen.values()) == [Way(16)]


def test_trying_costs_two_further_passes_over_one_micro_batch_and_nothing_later():
    counter = Counter()
    found = settled(Pace(counter, rows))
    assert sum(counter.sizes) == 64 * (len(found) + 2)
    assert counter.sizes[-4:] == [16] * 4


def test_a_size_that_changes_a_bit_of_the_probes_is_not_taken():
    counter = Counter(whim=1e-3)
    assert all(torch.equal(found, rows().sum(dim=1)) for found in settled(Pace(counter, rows)))
    assert counter.sizes[-2:] == [32, 32]


def test_the_size_does_not_depend_on_what_comes_first():
    kinds = [lambda n: rows(n), lambda n: rows(n) + 1e7]
    first, second = (Pace(Counter(whim=1e-3), rows) for _ in kinds)
    with torch.no_grad():
        for pace, make in zip((first, second), kinds, strict=True):
            pace(make(64))
    assert first.chosen == second.chosen


def test_a_size_that_is_given_is_kept_to():
    counter = Counter()
    with torch.no_grad():
        Pace(counter, rows, 24)(rows())
    assert counter.sizes == [24, 24, 16]


@pytest.mark.parametrize("n", [1, 16, 31])
def test_little_is_done_at_once(n):
    counter = Counter()
    with torch.no_grad():
        Pace(counter, rows)(rows(n))
    assert counter.sizes == [n]


def test_with_gradients_the_whole_is_done_at_once():
    counter = Counter()
    Pace(counter, rows)(rows().requires_grad_())
    assert counter.sizes == [64]


def test_when_memory_runs_out_results_stay():
    pace = Pace(Counter(room=20), rows)
    with pytest.warns(MemoryWarning, match="64 at once do not fit"):
        assert all(torch.equal(found, rows().sum(dim=1)) for found in settled(pace))


@pytest.mark.usefixtures("two_threads")
def test_what_allows_threads_passes_side_by_side():
    pace = Pace(Counter(), rows, thread_safe=True)
    assert not pace.beside
    assert all(torch.equal(found, rows().sum(dim=1)) for found in settled(pace))
    assert pace.chosen == {(64, 2): Way(32, beside=True)}
    assert pace.beside


@pytest.mark.usefixtures("two_threads")
def test_portions_are_small_where_more_threads_want_one():
    torch.set_num_threads(7)
    pace = Pace(Counter(), rows, thread_safe=True)
    settled(pace)
    assert pace.chosen == {(64, 7): Way(16, beside=True)}


@pytest.mark.usefixtures("two_threads")
def test_portions_side_by_side_are_small_where_larger_ones_change_bits():
    def moody(rows: Tensor) -> tuple[Tensor]:
        return (rows.sum(dim=1) + (len(rows) == 32),)

    pace = Pace(moody, rows, thread_safe=True)
    settled(pace)
    assert list(pace.chosen.values()) == [Way(16, beside=True)]


@pytest.mark.usefixtures("two_threads")
def test_what_gives_other_bits_in_a_thread_does_not():
    main = current_thread()

    def moody(rows: Tensor) -> tuple[Tensor]:
        return (rows.sum(dim=1) + (current_thread() is not main),)

    pace = Pace(moody, rows, thread_safe=True)
    assert all(torch.equal(found, rows().sum(dim=1)) for found in settled(pace))
    assert list(pace.chosen.values()) == [Way(16)]


@pytest.mark.usefixtures("two_threads")
def test_memory_that_runs_out_side_by_side_halves_the_portions():
    pace = Pace(Counter(), rows, thread_safe=True)
    settled(pace)
    pace._function.room = 10
    with torch.no_grad(), pytest.warns(MemoryWarning, match="32 at once do not fit"):
        assert torch.equal(pace(rows())[0], rows().sum(dim=1))


def test_a_single_thread_has_nobody_beside_it():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pace = Pace(Counter(), rows, thread_safe=True)
        settled(pace)
    finally:
        torch.set_num_threads(before)
    assert list(pace.chosen.values()) == [Way(16)]


@pytest.mark.usefixtures("two_threads")
def test_another_number_of_threads_is_another_case():
    pace = Pace(Counter(), rows, thread_safe=True)
    settled(pace)
    torch.set_num_threads(3)
    assert not pace.beside
    settled(pace)
    assert set(pace.chosen) == {(64, 2), (64, 3)}


def test_bits_are_those_of_what_is_probed_not_of_what_is_made_of_it():
    exact = Counter(whim=1e-6)
    pace = Pace(lambda rows: (exact(rows)[0].round(),), rows, probed=exact)
    settled(pace)
    assert list(pace.chosen.values()) == [Way(32)]
