import pytest
import torch

from qdgs.training.group_weights import GroupDRO, Reweighting

GROUPS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])


def test_reweighting_gives_every_group_the_same_weight_in_all():
    weights = Reweighting(GROUPS)(torch.ones(8), torch.arange(8))
    assert weights[GROUPS == 0].sum() == pytest.approx(4)
    assert weights[GROUPS == 1].sum() == pytest.approx(4)
    assert weights.sum() == pytest.approx(8)


def test_group_dro_is_the_published_step():
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rows = torch.tensor([0, 1, 6, 7])
    advocate = GroupDRO(GROUPS, step=0.1)
    weights = advocate(losses, rows)
    raised = torch.tensor([0.5 * 2.718281828 ** (0.1 * 1.5), 0.5 * 2.718281828 ** (0.1 * 3.5)])
    q = raised / raised.sum()
    assert torch.allclose(advocate.shares, q)
    # the loop's mean over images is then Σ q_g · mean loss of g
    assert (weights * losses).mean() == pytest.approx(float(q[0] * 1.5 + q[1] * 3.5), rel=1e-5)


def test_group_dro_turns_to_the_group_that_is_bad():
    advocate = GroupDRO(GROUPS, step=1.0)
    for _ in range(20):
        advocate(torch.tensor([0.1, 2.0]), torch.tensor([0, 7]))
    assert advocate.shares[1] > 0.99


def test_a_group_that_is_not_at_hand_keeps_its_weight_relative_to_a_loss_of_nothing():
    advocate = GroupDRO(GROUPS, step=1.0)
    advocate(torch.tensor([0.0]), torch.tensor([0]))
    assert torch.allclose(advocate.shares, torch.tensor([0.5, 0.5]))
