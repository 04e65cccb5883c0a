"""Portions of a batch worked on by several threads at once, each with few of torch's own.

On a CPU one thread a portion beats all threads on one portion after another: nobody waits for the others
after each layer. What is done must allow it, as a network's forward pass in evaluation mode does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from threading import Barrier, Event, Lock
from typing import TypeVar

import torch

from qdgs.memory import share_heap

AT_ONCE = 3
"""Micro-batches in the making where each is made side by side: one is about to end, one to begin."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_STOPPED: ContextVar[Event | None] = ContextVar("stopped", default=None)
_POOLS = Lock()


def side_by_side(
    function: Callable[[Item], Result], portions: Sequence[Item], batches: int = 1
) -> Iterator[Result]:
    """Results of the function in the order of the portions, which carry no gradients.

    Args:
        function: Thread-safe.
        portions: What it is given, one after another.
        batches: How many of them may be at work at once, in other threads (see `overlapping`).
    """
    total = torch.get_num_threads()
    workers = min(total, batches * len(portions))
    if workers < 2 or len(portions) < 2:
        return map(function, portions)
    stopped = _STOPPED.get()

    def work(portion: Item) -> Result:
        if stopped is not None and stopped.is_set():
            raise CancelledError
        with torch.no_grad():  # of a thread, each has to say so
            return function(portion)

    with _POOLS:
        pool = _pool(workers, total // workers, total)
    return pool.map(work, portions)


def overlapping(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: Callable[[], int]
) -> Iterator[Result]:
    """Results in the order of the items, several in the making at once, each in a thread of its own.

    Where each is made side by side, one's last portions and the next one's first fill all threads. Whoever
    stops early waits for the portions in work.

    Args:
        function: Makes a result.
        items: Taken one by one, in the caller's thread.
        at_once: How many may be in the making as things stand; where fewer than two, the caller makes them.
    """
    share_heap()
    stopped = Event()
    waiting: deque[Future[Result]] = deque()

    def make(item: Item) -> Result:
        _STOPPED.set(stopped)
        with torch.no_grad():
            return function(item)

    with ThreadPoolExecutor() as pool:
        try:
            for item in items:
                while waiting and len(waiting) >= at_once():
                    yield waiting.popleft().result()
                if at_once() < 2:
                    yield function(item)
                else:
                    waiting.append(pool.submit(make, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


@cache
def _pool(workers: int, threads: int, total: int) -> ThreadPoolExecutor:
    """So many workers of so many threads each; those of the caller, `total`, stay."""
    share_heap()
    everybody = Barrier(workers, timeout=60)

    def begin() -> None:
        torch.get_num_threads()  # a thread asks once for the common number, and would do so later
        torch.set_num_threads(threads)  # its own, and the common one, which the caller puts right
        everybody.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="qdgs-portion", initializer=begin)
    try:
        for started in [pool.submit(torch.get_num_threads) for _ in range(workers)]:
            started.result()
    finally:
        torch.set_num_threads(total)
    return pool
