"""The loop."""

from __future__ import annotations

from collections.abc import Iterator

from qdgs.search.state import Progress, Search


def illuminate(
    search: Search, evaluations: int | None = None, seconds: float | None = None
) -> Iterator[Progress]:
    """Ask, evaluate, tell, until the budget is spent. Yields a Progress after each iteration.

    Between two iterations the search is whole: it can be saved, and goes on from there bit for bit. Progress
    bars, CSV rows and checkpoints are the caller's, who may also just stop asking.

    Args:
        search: What is driven.
        evaluations: Budget, everything that was scored before included; an iteration that would exceed it
            is not begun. By default the configuration's.
        seconds: Budget in time spent searching, checked between iterations; None is no limit, whatever the
            configuration says.

    References:
        Fontaine and Nikolaidis 2021, arXiv 2106.03894 (algorithm 1); 2023, arXiv 2205.10752 (algorithm 1).
    """
    evaluations = search.config.evaluations if evaluations is None else evaluations
    evaluate = search.evaluator
    while search.affords(evaluations, seconds):
        with search.clock():
            if search.uses_gradients:
                search.tell_dqd(evaluate.jacobians(search.ask_dqd()))
            search.tell(evaluate(search.ask()))
        yield search.progress()
