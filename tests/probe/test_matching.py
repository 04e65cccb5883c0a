import numpy as np
import pytest
import torch

from qdgs.probe.answers import Reader
from qdgs.probe.matching import between, in_turn, match_pairs
from qdgs.probe.models import load_probed
from qdgs.probe.pairs import pair_effect


@pytest.fixture(scope="module", params=["directions", "neighbours"])
def matched(request, config_of, parts, pool, probe_set):
    config = config_of("probed:ByShape", f"pairs.method={request.param}")
    other = type(parts)(**{**vars(parts), "config": config})
    return {pairs.attribute: pairs for pairs in match_pairs(other, pool, probe_set, seed=0)}


def test_the_judges_confirm_every_pair(matched, parts):
    for attribute, pairs in matched.items():
        low, high = parts.read(pairs.low), parts.read(pairs.high)
        values = parts.attributes[attribute]
        assert len(pairs) >= 10
        assert (low[attribute] == values[0]).all()
        assert (high[attribute] == values[1]).all()
        for other in set(parts.attributes) - {attribute}:
            assert (low[other] == high[other]).all()


def test_pairs_tell_what_moves_a_model(matched, parts, config_of):
    for model, flips in (
        ("probed:ByColor", {"color": 1, "shape": 0}),
        ("probed:ByShape", {"color": 0, "shape": 1}),
    ):
        config = config_of(model).model
        reader = Reader(load_probed(config), config, parts.attributes["shape"])
        for attribute, expected in flips.items():
            pairs = matched[attribute]
            sides = (reader.read(parts.images(latents)) for latents in (pairs.low, pairs.high))
            assert pair_effect(pairs, *sides).flips.value == pytest.approx(expected, abs=0.05)


def test_no_image_stands_in_two_pairs_of_neighbours(config_of, parts, pool, probe_set):
    config = config_of("probed:ByShape", "pairs.method=neighbours")
    (pairs, *_) = match_pairs(type(parts)(**{**vars(parts), "config": config}), pool, probe_set, seed=0)
    assert len(np.unique(pairs.low.numpy(), axis=0)) == len(pairs)


def test_between_two_latents_norms_lie_between_theirs():
    rng = torch.Generator().manual_seed(0)
    low, high = torch.randn(20, 8, generator=rng), torch.randn(20, 8, generator=rng)
    torch.testing.assert_close(
        between(low, high, 0.25).norm(dim=1), 0.75 * low.norm(dim=1) + 0.25 * high.norm(dim=1)
    )
    torch.testing.assert_close(between(low, high, 0.0), low)


def test_in_turn_the_first_rows_are_balanced():
    codes = np.array([0, 0, 0, 1, 2, 2])
    assert codes[in_turn(codes)].tolist() == [0, 1, 2, 0, 2, 0]
