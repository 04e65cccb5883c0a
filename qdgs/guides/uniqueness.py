"""The term of the objective that rewards images unlike the last ones."""

from typing import Any

import torch
from torch import Tensor

from qdgs.guides.angle import angular_distance


class UniquenessMemory:
    """The last embeddings, first in, first out.

    Asking for the loss changes nothing: what is remembered is told explicitly, so that gradient passes and
    a second scoring of the same images see the same memory. The objective drifts as the memory moves on.

    Args:
        capacity: Most embeddings that are kept.

    References:
        Chang et al., AAAI 2024, arXiv 2312.14369 (L_unq, with a memory of 100).
    """

    def __init__(self, capacity: int = 100) -> None:
        self.capacity = capacity
        self._embeddings: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self._embeddings is None else len(self._embeddings)

    def loss(self, embeddings: Tensor) -> Tensor:
        """L_unq(I) = 1 − 100·min_k d(I, mem_k) / |mem|, and 0 while the memory is empty.

        Args:
            embeddings: Unit vectors `(batch_size, embedding_dim)`.

        Returns:
            `(batch_size,)`; smaller is less like the memory.
        """
        if self._embeddings is None:
            return embeddings.new_zeros(len(embeddings))
        nearest = angular_distance(embeddings, self._embeddings.to(embeddings)).amin(dim=1)
        return 1 - 100 * nearest / len(self)

    def remember(self, embeddings: Tensor) -> None:
        """Append embeddings `(batch_size, embedding_dim)` in order and forget the oldest."""
        if not len(embeddings):
            return
        new = embeddings.detach()
        kept = new if self._embeddings is None else torch.cat([self._embeddings.to(new), new])
        self._embeddings = kept[-self.capacity :].clone()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        embeddings = None if self._embeddings is None else self._embeddings.cpu()
        return {"capacity": self.capacity, "embeddings": embeddings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the memory that `state_dict` gave."""
        self.capacity = state["capacity"]
        self._embeddings = state["embeddings"]
