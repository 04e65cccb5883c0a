"""The small balanced reference set that some methods learn from."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import chisquare

from qdgs.errors import InputError
from qdgs.samplers.base import LabelledImages, Problem

SURPRISE = 0.01
"""Chance of shares so far from the target below which a reference set counts as unbalanced."""


class ReferenceWarning(UserWarning):
    """A reference set does not have the target's shares."""


def reference_of(problem: Problem, method: str) -> LabelledImages:
    """The problem's reference set; a warning with its shares where they are not the target's.

    Args:
        problem: What it belongs to.
        method: Who asks, for the error.

    Raises:
        InputError: There is none.
    """
    reference = problem.reference
    if reference is None or not len(reference):
        raise InputError(
            f"{method}: expected a reference set of labelled images with the target's shares, got none"
        )
    sentence = unbalanced(problem, reference)
    if sentence:
        warnings.warn(sentence, ReferenceWarning, stacklevel=2)
    return reference


def unbalanced(problem: Problem, reference: LabelledImages) -> str | None:
    """A sentence with the shares of a reference set whose groups are not the target's, else None.

    They are not where a χ² test of the counts against the target has a chance below 1 %.
    """
    codes = problem.codes_of(reference.values)
    counts = np.bincount(codes[codes >= 0], minlength=len(problem.groups))
    target = np.array(list(problem.shares.values()))
    wanted, known = target > 0, int(counts.sum())
    if known == 0:
        return "reference: none of its images has a group of the target; what it teaches is unknown"
    stray = int(counts[~wanted].sum())
    chance = 1.0
    if wanted.sum() > 1 and known > stray:
        observed = counts[wanted]
        chance = float(chisquare(observed, target[wanted] / target[wanted].sum() * observed.sum()).pvalue)
    if chance >= SURPRISE and not stray:
        return None
    shares = ", ".join(
        f"{name} {count / known:.3g} of {share:.3g}"
        for name, count, share in zip(problem.groups, counts, target, strict=True)
    )
    return f"reference: its shares are not the target's ({shares}); the method will learn them as they are"
