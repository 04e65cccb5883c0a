import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdgs.generators.diffusers_memory import Plan, Use, measure

THOUSAND = torch.ones(1000)  # 4,000 bytes


def test_what_is_alive_at_once_is_counted_and_what_was_there_is_not():
    use = measure(lambda: (THOUSAND * 2 + 1).sum(), lambda: THOUSAND, steps=3)
    assert use.step == 8000
    assert use.decoded == 0
    assert use.steps == 3


def test_views_and_changes_in_place_cost_nothing():
    use = measure(lambda: (THOUSAND * 2).view(10, 100).T.add_(1), lambda: THOUSAND.view(10, 100), steps=1)
    assert use.step == 4000


def test_what_a_backward_pass_needs_is_kept():
    wanted = torch.ones(1000, requires_grad=True)
    use = measure(lambda: wanted.exp().sin().sum(), lambda: wanted * 1, steps=1)
    # both exp and sin keep what exp gave; the sum keeps nothing but itself
    assert use.kept == 4000 + 4
    assert use.decoded == 4000


@given(st.integers(1, 200), st.integers(0, 10_000), st.booleans())
def test_a_plan_keeps_to_its_budget_where_one_row_does(rows, budget, gradients):
    use = Use(step=100, kept=300, decoded=200, steps=4)
    plan = use.plan(budget, rows, gradients)
    assert 1 <= plan.rows <= rows
    row = (300 if plan.recompute else 4 * 300 + 200) if gradients else 100
    assert plan.rows * row <= budget or plan.rows == 1
    assert not (plan.recompute and not gradients)


@pytest.mark.parametrize(
    ("budget", "gradients", "plan"),
    [
        (10_000, False, Plan(64, False)),
        (1600, False, Plan(16, False)),
        (1700, False, Plan(16, False)),
        (10, False, Plan(1, False)),
        (64 * 1400, True, Plan(64, False)),
        (64 * 1400 - 1, True, Plan(64, True)),
        (9600, True, Plan(32, True)),
    ],
)
def test_batches_are_as_few_as_can_be_and_of_one_size(budget, gradients, plan):
    assert Use(step=100, kept=300, decoded=200, steps=4).plan(budget, 64, gradients) == plan
