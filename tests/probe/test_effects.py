import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_ind

from qdgs.probe.effects import RIGHT, effect_of, effects, findings, holm

VALUES = {"color": ("red", "blue"), "shape": ("tall", "wide")}
ANSWERS = ("tall", "wide")


def balanced(n, change, rng):
    """Images of four groups whose probability of "wide" moves with colour, and with shape."""
    color, shape = np.arange(n) % 2, (np.arange(n) // 2) % 2
    wide = np.clip(0.5 + change * (color - 0.5) + 0.3 * (shape - 0.5) + 0.05 * rng.standard_normal(n), 0, 1)
    return np.stack([1 - wide, wide], axis=1), {"color": color, "shape": shape}, shape


def test_one_stratum_is_the_difference_of_two_means():
    rng = np.random.default_rng(0)
    numbers, places = rng.random(80), np.arange(80) % 2
    effect = effect_of("color", places, ("red", "blue"), (0, 1), np.zeros(80, int), numbers, answer="wide")
    low, high = numbers[places == 0], numbers[places == 1]
    assert effect.change.value == pytest.approx(high.mean() - low.mean())
    welch = ttest_ind(high, low, equal_var=False)
    assert effect.change.value / effect.error == pytest.approx(welch.statistic)
    assert effect.p_value(0.0) == pytest.approx(welch.pvalue)
    interval = welch.confidence_interval(0.95)
    assert (effect.change.low, effect.change.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("saturated", [0.0, 1e-4])
def test_a_few_answers_that_are_all_alike_prove_little(saturated):
    numbers = np.abs(np.repeat([0.0, 1.0], 4) - saturated * np.arange(8))
    few = effect_of("a", np.repeat([0, 1], 4), ("x", "y"), (0, 1), np.zeros(8, int), numbers, answer="z")
    assert few.change.value == pytest.approx(1.0, abs=1e-2)
    assert few.change.low < 0.6
    assert few.change.high <= 1.0
    assert 1e-4 < few.p_value(0.05) < 0.05


def test_the_effect_of_an_attribute_on_answers_is_known_as_well_as_its_level_says():
    rng, held = np.random.default_rng(3), 0
    places, strata = np.tile([0, 1], 40), np.repeat([0, 1], 40)
    for _ in range(400):
        answered = (rng.random(80) < np.where(places == 1, 0.95, 0.9)).astype(float)
        effect = effect_of("a", places, ("x", "y"), (0, 1), strata, answered, answer="z")
        held += not effect.change.excludes(0.05)
    assert held >= 0.95 * 400 - 2 * np.sqrt(0.05 * 0.95 * 400)


def test_the_p_value_of_a_large_effect_is_small_and_no_zero():
    rng = np.random.default_rng(4)
    places = np.tile([0, 1], 80)
    numbers = np.where(places == 1, 0.98, 0.02) + 0.005 * rng.random(160)
    effect = effect_of("a", places, ("x", "y"), (0, 1), np.zeros(160, int), numbers, answer="z")
    assert 0 < effect.p_value(0.05) < 1e-30


def test_strata_count_the_same_whatever_their_sizes():
    numbers = np.array([0.0, 0.0, 1.0, 1.0] + [0.5] * 30 + [0.5] * 30, dtype=float)
    places = np.array([0, 0, 1, 1] + [0] * 30 + [1] * 30)
    strata = np.array([0] * 4 + [1] * 60)
    effect = effect_of("a", places, ("x", "y"), (0, 1), strata, numbers, answer="z", smallest=2)
    assert effect.change.value == pytest.approx(0.5)
    assert effect_of("a", places, ("x", "y"), (0, 1), strata, numbers, answer="z").missing == 1


@pytest.mark.parametrize("change", [0.6, -0.4])
def test_the_attribute_that_moves_the_model_is_found_on_the_other_half(change):
    rng = np.random.default_rng(1)
    told, places, truth = balanced(400, change, rng)
    halves = rng.permutation(np.arange(400) % 2)
    first, second = (
        effects(told, ANSWERS, truth, places, VALUES, ["color"], halves == half) for half in (0, 1)
    )
    (finding,) = findings(first, second, margin=0.05, level=0.05)
    assert (finding.effect.attribute, finding.effect.answer) == ("color", "wide")
    assert finding.significant
    assert finding.effect.change.value == pytest.approx(change, abs=0.03)


def test_an_attribute_that_makes_the_model_worse_without_a_direction_is_found_too():
    color, shape = np.arange(200) % 2, (np.arange(200) // 2) % 2
    right = np.where(color == 1, 0.5, 0.9)
    wide = np.where(shape == 1, right, 1 - right)
    told = effects(
        np.stack([1 - wide, wide], axis=1),
        ANSWERS,
        shape,
        {"color": color, "shape": shape},
        VALUES,
        ["color"],
    )
    changes = {effect.answer: effect.change.value for effect in told}
    assert changes == {"wide": pytest.approx(0.0), RIGHT: pytest.approx(-0.4)}


def test_what_is_below_the_margin_is_no_finding_in_nineteen_of_twenty():
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(200):
        told, places, truth = balanced(160, 0.05, rng)
        halves = rng.permutation(np.arange(160) % 2)
        first, second = (
            effects(told, ANSWERS, truth, places, VALUES, ["color"], halves == half) for half in (0, 1)
        )
        found += findings(first, second, margin=0.05, level=0.05)[0].significant
    assert found <= 0.05 * 200 + 2 * np.sqrt(0.05 * 0.95 * 200)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_never_below_benjamini_hochberg_nor_above_bonferroni(p_values):
    adjusted = np.array(holm(p_values))
    assert (adjusted <= np.minimum(1, len(p_values) * np.array(p_values)) + 1e-12).all()
    assert (adjusted >= false_discovery_control(p_values) - 1e-12).all()


def test_holm_of_a_known_table():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
