import warnings

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
