import time
import warnings
from threading import get_ident

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.errors import QdgsError
from qdgs.memory import MemoryWarning
from qdgs.search.workers import LocalWorkers, Task, micro_batches


def latents(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 5)).astype(np.float32)


def score(batch):
    return batch.square().sum(dim=1), batch[:, :2]


class Narrow:
    """A score on a device that holds few latents at a time."""

    def __init__(self, most, error=None):
        self.most, self.sizes = most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")

    def __call__(self, batch):
        if len(batch) > self.most:
            raise self.error
        self.sizes.append(len(batch))
        return score(batch)


class Remembering(Narrow):
    """Remembers the rows of its last call, as a score with a uniqueness term does."""

    def __init__(self, most):
        super().__init__(most)
        self.last, self.memory = None, []

    def __call__(self, batch):
        if batch.requires_grad and len(batch) > self.most:
            raise self.error
        self.last = batch.detach()
        return score(batch)

    def remember(self, rows):
        self.memory.append(self.last[:rows].numpy())

    def state_dict(self):
        return {"memory": self.memory}

    def load_state_dict(self, state):
        self.memory = state["memory"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.integers(1, 20))
def test_micro_batches_are_of_one_size_and_hold_every_row_once(n, size):
    rows = latents(n)
    batches = micro_batches(rows, size)
    assert all(batch.latents.shape == (size, 5) for batch in batches)
    kept = [batch.latents[: batch.rows] for batch in batches]
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 5)), *kept]), rows)


@pytest.mark.parametrize("gradients", [False, True])
def test_what_does_not_fit_into_memory_is_scored_in_parts_with_the_same_results(gradients):
    task, batches = Task(2, gradients=gradients), micro_batches(latents(40), 16)
    narrow = Narrow(most=5)
    with pytest.warns(MemoryWarning, match=": 16 at once do not fit into memory") as told:
        scored = list(LocalWorkers(narrow).work(task, batches))
    assert len(told) == 1
    assert set(narrow.sizes) == {4}
    for there, here in zip(scored, LocalWorkers(score).work(task, batches), strict=True):
        np.testing.assert_array_equal(there.scores, here.scores)
        assert (there.jacobian is None) == (here.jacobian is None) == (not gradients)
        if gradients:
            np.testing.assert_array_equal(there.jacobian, here.jacobian)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_on_a_cpu_is_seen_too(error):
    with pytest.warns(MemoryWarning):
        list(LocalWorkers(Narrow(8, error)).work(Task(2), micro_batches(latents(16), 16)))


def test_another_error_is_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="another"):
        list(LocalWorkers(Narrow(8, RuntimeError("another"))).work(Task(2), micro_batches(latents(9), 16)))


def test_not_even_one_latent_is_one_sentence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemoryWarning)
        with pytest.raises(QdgsError, match=r"^scores: there is no memory for a single one"):
            list(LocalWorkers(Narrow(0)).work(Task(2), micro_batches(latents(16), 16)))


def test_what_is_differentiated_in_parts_is_remembered_whole():
    remembering = Remembering(most=8)
    with pytest.warns(MemoryWarning, match="Jacobians: 16 at once"):
        list(LocalWorkers(remembering).work(Task(2, gradients=True), micro_batches(latents(20), 16)))
    np.testing.assert_array_equal(np.concatenate(remembering.memory), latents(20))


def test_a_score_that_remembers_is_never_given_a_part_without_gradients():
    class Strict(Remembering):
        __call__ = Narrow.__call__

    with pytest.raises(torch.OutOfMemoryError):
        list(LocalWorkers(Strict(most=8)).work(Task(2), micro_batches(latents(16), 16)))


class Slow:
    """Is through with early micro-batches last, and says that they may overlap."""

    def __init__(self, memory=None):
        self.memory, self.told = memory or {}, []

    def at_once(self):
        return 3

    def __call__(self, latents):
        time.sleep(0.02 if latents[0, 0] < 0 else 0.0)
        self.told.append((get_ident(), float(latents[0, 0])))
        return score(latents)

    def remember(self, rows):
        self.told.append(rows)

    def state_dict(self):
        return self.memory

    def load_state_dict(self, state):
        pass


def test_micro_batches_that_may_overlap_give_the_same_scores_in_the_same_order():
    batches, slow = micro_batches(latents(70), 16), Slow()
    overlapped = list(LocalWorkers(slow).work(Task(2), batches))
    assert {one[0] for one in slow.told if isinstance(one, tuple)}.isdisjoint({get_ident()})
    for one, other in zip(overlapped, LocalWorkers(score).work(Task(2), batches), strict=True):
        assert np.array_equal(one.scores, other.scores)


def test_a_score_with_a_memory_is_told_of_each_before_the_next_whatever_may_overlap():
    slow = Slow(memory={"rows": 0})
    list(LocalWorkers(slow).work(Task(2), micro_batches(latents(40), 16)))
    assert [type(one) for one in slow.told] == [tuple, int] * 3
    assert [one for one in slow.told if isinstance(one, int)] == [16, 16, 8]


@pytest.mark.usefixtures("two_threads")
def test_gradients_that_are_made_side_by_side_are_the_same():
    def safe(rows):
        return score(rows)

    safe.thread_safe = True
    task, batches = Task(2, gradients=True), micro_batches(latents(20), 16)
    pairs = zip(LocalWorkers(safe).work(task, batches), LocalWorkers(score).work(task, batches), strict=True)
    for one, other in pairs:
        assert np.array_equal(one.jacobian, other.jacobian)
