import numpy as np
import pytest

from qdgs.judges.processes import in_processes, processes


@pytest.mark.parametrize(("told", "count"), [("1", 1), ("3", 3), ("0", 1)])
def test_the_environment_says_how_many(monkeypatch, told, count):
    monkeypatch.setenv("QDGS_PROCESSES", told)
    assert processes() == count


def test_without_a_word_there_are_at_most_two(monkeypatch):
    monkeypatch.delenv("QDGS_PROCESSES", raising=False)
    assert processes() in (1, 2)


@pytest.mark.parametrize("count", ["1", "2"])
def test_rows_come_in_their_order(monkeypatch, count):
    monkeypatch.setenv("QDGS_PROCESSES", count)
    left, right = np.random.default_rng(0).random((2, 65, 3))
    assert np.array_equal(in_processes(np.maximum, left, right), np.maximum(left, right))
