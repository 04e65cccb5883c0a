from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.probe.answers import Answers
from qdgs.probe.pairs import KEPT, OTHERS, REJECTED, UNCHANGED, Confirmation, Pairs, pair_effect

VALUES = {"color": ("red", "blue"), "shape": ("tall", "wide")}


def rows(*told):
    names = ["color", "color_score", "shape", "shape_score", "accepted"]
    return pd.DataFrame([dict(zip(names, row, strict=True)) for row in told])


def answers(probabilities, reasons=None):
    wide = np.asarray(probabilities, dtype=float)
    told = np.full(len(wide), None, dtype=object) if reasons is None else np.array(reasons, dtype=object)
    return Answers(("tall", "wide"), np.stack([1 - wide, wide], axis=1), told)


def test_a_pair_differs_in_one_attribute_by_enough_and_in_no_other_by_too_much():
    confirmation = Confirmation(
        VALUES, {"color_score": 0.1, "shape_score": 1.0}, {"color_score": 0.5, "shape_score": 3.0}
    )
    before = rows(*[("red", 0.0, "tall", -4.0, True)] * 6)
    after = rows(
        ("blue", 0.9, "tall", -3.5, True),
        ("blue", 0.9, "tall", -3.5, False),
        ("red", 0.4, "tall", -4.0, True),
        ("blue", 0.4, "tall", -4.0, True),
        ("blue", 0.9, "wide", -3.5, True),
        ("blue", 0.9, "tall", -2.0, True),
    )
    outcomes = confirmation.outcomes("color", before, after).tolist()
    assert outcomes == [KEPT, REJECTED, UNCHANGED, UNCHANGED, OTHERS, OTHERS]


def test_tolerances_come_from_the_spread_within_values():
    read = rows(
        ("red", 0.0, "tall", -5.0, True),
        ("red", 0.2, "tall", -3.0, True),
        ("blue", 1.0, "wide", 3.0, True),
        ("blue", 1.2, "wide", 5.0, True),
    )
    confirmation = Confirmation.of_samples(VALUES, read, 0.5)
    assert confirmation.allowed == {"color_score": pytest.approx(0.05), "shape_score": pytest.approx(0.5)}
    assert confirmation.needed == {"color_score": pytest.approx(0.5), "shape_score": pytest.approx(4.0)}


def test_flips_and_changes_are_counted_over_pairs_that_the_model_answered():
    pairs = Pairs("color", torch.zeros(5, 2), torch.ones(5, 2), Counter({KEPT: 5, OTHERS: 3}), "neighbours")
    first = answers([0.1, 0.2, 0.6, 0.9, 0.5])
    second = answers([0.9, 0.4, 0.8, 0.3, np.nan], [None, None, None, None, "raised"])
    effect = pair_effect(pairs, first, second)
    assert (effect.sought, effect.kept) == (8, 4)
    assert effect.dropped == {OTHERS: 3, "the model failed": 1}
    assert effect.flips.value == 0.5
    assert (effect.answer, effect.change.value) == ("wide", pytest.approx(0.15))


def test_no_pair_is_no_number():
    pairs = Pairs("color", torch.zeros(0, 2), torch.zeros(0, 2), Counter({OTHERS: 3}), "neighbours")
    effect = pair_effect(pairs, answers([]), answers([]))
    assert effect.kept == 0
    assert np.isnan(effect.flips.value)
    assert np.isnan(effect.change.value)
    assert effect.p == 1.0


def test_pairs_that_all_change_alike_prove_no_more_than_their_number():
    pairs = Pairs("color", torch.zeros(3, 2), torch.ones(3, 2), Counter({KEPT: 3}), "neighbours")
    effect = pair_effect(pairs, answers([0.0, 0.0, 0.0]), answers([1.0, 1.0, 1.0]))
    assert effect.change.value == effect.change.high == 1.0
    assert effect.change.low < 0.5
    assert 0.001 < effect.p < 0.2
    alike = pair_effect(pairs, answers([0.7, 0.7, 0.7]), answers([0.7, 0.7, 0.7]))
    assert (alike.change.value, alike.p) == (0.0, 1.0)
    assert alike.change.low < 0 < alike.change.high


def test_the_answer_that_moves_most_by_chance_is_no_finding():
    rng, found = np.random.default_rng(0), 0
    pairs = Pairs("color", torch.zeros(40, 2), torch.ones(40, 2), Counter({KEPT: 40}), "neighbours")
    nothing = np.full(40, None, dtype=object)
    for _ in range(300):
        sides = [Answers(tuple("abcdef"), rng.dirichlet(np.ones(6), 40), nothing) for _ in range(2)]
        effect = pair_effect(pairs, *sides)
        found += effect.p < 0.05
        assert effect.change.excludes(0.0) == (effect.p < 0.05)
    assert found <= 0.05 * 300 + 2 * np.sqrt(0.05 * 0.95 * 300)
