import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdgs.guides.uniqueness import UniquenessMemory


def unit(n: int, seed: int = 0, dim: int = 8) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((n, dim))), dim=-1)


def brute_force(embeddings: Tensor, memory: list[Tensor]) -> list[float]:
    if not memory:
        return [0.0] * len(embeddings)
    angles = [[2 * np.arcsin(np.linalg.norm(e - m) / 2) for m in memory] for e in embeddings]
    return [1 - 100 * min(row) / len(memory) for row in angles]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batches=st.lists(st.integers(0, 9), max_size=5),
    capacity=st.integers(1, 12),
)
def test_it_equals_brute_force_over_the_last_embeddings(seed: int, batches: list[int], capacity: int) -> None:
    memory = UniquenessMemory(capacity)
    told: list[Tensor] = []
    for index, n in enumerate(batches):
        batch = unit(n, seed=seed + index)
        memory.remember(batch)
        told += list(batch)
    asked = unit(4, seed=seed + 99)
    np.testing.assert_allclose(memory.loss(asked), brute_force(asked, told[-capacity:]), rtol=1e-6)
    assert len(memory) == min(len(told), capacity)


def test_asking_does_not_change_it() -> None:
    memory = UniquenessMemory()
    memory.remember(unit(5))
    asked = unit(3, seed=1)
    assert torch.equal(memory.loss(asked), memory.loss(asked))
    assert len(memory) == 5


def test_gradients_flow_and_are_finite_at_a_remembered_embedding() -> None:
    memory = UniquenessMemory()
    raw = unit(3).requires_grad_()
    memory.remember(torch.nn.functional.normalize(raw))
    (gradient,) = torch.autograd.grad(memory.loss(torch.nn.functional.normalize(raw)).sum(), raw)
    assert gradient.isfinite().all()


def test_its_state_restores_it() -> None:
    memory, restored = UniquenessMemory(4), UniquenessMemory()
    memory.remember(unit(6))
    restored.load_state_dict(memory.state_dict())
    memory.remember(unit(2, seed=1))
    restored.remember(unit(2, seed=1))
    asked = unit(3, seed=2)
    assert torch.equal(memory.loss(asked), restored.loss(asked))
    assert len(restored) == 4
