"""The term of the objective that keeps latents where the generator was trained."""

from typing import Literal

import torch
from torch import Tensor


def norm_statistics(latents: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the norms of latents `(n, latent_dim)` drawn from the prior."""
    norms = torch.linalg.vector_norm(latents.double(), dim=1)
    return float(norms.mean()), float(norms.std(correction=0))


def latent_norm_loss(
    latents: Tensor,
    *,
    kind: Literal["shell", "hinge"],
    prior_norm: float,
    prior_norm_std: float = 0.0,
    width: float = 2.0,
) -> Tensor:
    """Latent norm loss L_reg(q), to be added to the loss with its weight b1: f = 100 − 50·(… + b1·L_reg).

    - "hinge", as published: (max(‖q‖, r) − r)² with r = 0.5 × the prior's mean norm. Free inside the ball
      of radius r, so it pulls latents towards the centre of the prior: truncation by another name.
    - "shell", our choice: the squared distance of ‖q‖ from the interval mean ± width × std. The norms of
      Gaussian latents gather in a thin shell; images are poor beyond it (where searches drift to exploit
      their guide) and uniform inside it (where variety is lost), so both sides cost.

    Gradients are finite everywhere, the origin included (there they are 0).

    Args:
        latents: `(batch_size, latent_dim)`.
        kind: Which of the two.
        prior_norm: Mean norm of latents drawn from the prior.
        prior_norm_std: Standard deviation of these norms ("shell" only).
        width: Standard deviations to either side of the mean that are free of charge ("shell" only).

    Returns:
        `(batch_size,)`.

    References:
        Chang et al., "Quality-Diversity Generative Sampling for Learning with Synthetic Data", AAAI 2024,
        arXiv 2312.14369 (the hinge).
    """
    norms: Tensor = torch.linalg.vector_norm(latents, dim=1)
    if kind == "hinge":
        return (norms - 0.5 * prior_norm).clamp(min=0).square()
    free = width * prior_norm_std
    return ((norms - prior_norm).abs() - free).clamp(min=0).square()
