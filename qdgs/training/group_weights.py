"""Weights of training images by group: constant ones, and those of the worst group's advocate."""

from __future__ import annotations

import torch
from torch import Tensor

STEP = 0.01


class Reweighting:
    """Every group weighs the same in all: an image of group g weighs n/(K·n_g).

    Args:
        groups: The group of each training image, `(n,)`, numbers from 0.

    References:
        Kamiran and Calders (2012), Data preprocessing techniques for classification without discrimination.
    """

    def __init__(self, groups: Tensor) -> None:
        counts = torch.bincount(groups)
        present = int((counts > 0).sum())
        self._weights = (len(groups) / (present * counts.clamp_min(1)))[groups]

    def __call__(self, losses: Tensor, rows: Tensor) -> Tensor:
        """Weights `(m,)` of the images of some rows."""
        return self._weights.to(losses)[rows]


class GroupDRO:
    """Weights q of groups that rise where the loss is high: q_g ∝ q_g·exp(η·loss_g), one step a call.

    The loss is Σ_g q_g·loss_g with loss_g the mean over the group's images at hand; groups that are not at
    hand keep their weight.

    Args:
        groups: The group of each training image, `(n,)`, numbers from 0.
        step: η.

    References:
        Sagawa, Koh, Hashimoto and Liang (2020), Distributionally robust neural networks for group shifts,
        algorithm 1.
    """

    def __init__(self, groups: Tensor, step: float = STEP) -> None:
        self._groups, self._step = groups, step
        self.shares = torch.full((int(groups.max()) + 1,), 1 / (int(groups.max()) + 1))

    def __call__(self, losses: Tensor, rows: Tensor) -> Tensor:
        """Weights `(m,)` of the images of some rows, after q has moved by their losses."""
        groups = self._groups.to(losses.device)[rows]
        counts = torch.bincount(groups, minlength=len(self.shares)).to(losses)
        means = torch.zeros_like(counts).index_add_(0, groups, losses) / counts.clamp_min(1)
        self.shares = torch.softmax(self.shares.to(losses).log() + self._step * means, dim=0)
        # the loop divides by all images at hand: q_g/n_g for each of them is what the mean over a group is
        weights: Tensor = (self.shares / counts.clamp_min(1))[groups] * len(losses)
        return weights
