"""The distance between embeddings."""

import torch
from torch import Tensor


def angular_distance(u: Tensor, v: Tensor) -> Tensor:
    """Angle in radians between every unit vector of `u` and every one of `v`.

    d(u, v) = 2·arcsin(‖u − v‖ / 2), computed as 2·atan2(‖u − v‖, ‖u + v‖): equal for unit vectors, as
    ‖u − v‖² + ‖u + v‖² = 4, but with gradients that stay finite where the vectors are equal or opposite.

    Args:
        u: `(batch_size, embedding_dim)`.
        v: `(n, embedding_dim)`.

    Returns:
        `(batch_size, n)`, in [0, π].

    References:
        Kahan, "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?", 2006, §12.
    """
    difference = torch.linalg.vector_norm(u[:, None] - v[None], dim=-1)
    total = torch.linalg.vector_norm(u[:, None] + v[None], dim=-1)
    return 2 * torch.atan2(difference, total)
