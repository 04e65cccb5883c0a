import threading

import pytest
import torch

from qdgs.ahead import ahead


def test_items_come_in_their_order():
    assert list(ahead(range(50))) == list(range(50))
    assert list(ahead([])) == []


def test_an_item_is_made_while_its_predecessor_is_used():
    made = threading.Semaphore(0)

    def items():
        for index in range(3):
            yield index
            made.release()

    for index in ahead(items()):
        if index < 2:
            assert made.acquire(timeout=30)  # without a thread it would wait for ever


def test_an_error_appears_where_its_item_would_have_come():
    def items():
        yield 1
        raise ValueError("the second one is broken")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="second one is broken"):
        next(coming)


def test_whoever_stops_early_is_not_held_up():
    asked = []

    def items():
        for index in range(1000):
            asked.append(index)
            yield index

    for item in ahead(items()):
        if item == 3:
            break
    assert len(asked) <= 6


def test_no_gradients_are_kept_in_the_thread_where_the_maker_says_so():
    weight = torch.ones(3, requires_grad=True)

    def items():
        for _ in range(2):
            with torch.no_grad():
                product = 2 * weight
            yield product

    assert not any(item.requires_grad for item in ahead(items()))
