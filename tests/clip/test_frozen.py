import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from qdgs.clip.frozen import PatchEmbedding, SelfAttention, quicken
from qdgs.compat import import_open_clip


class Operations(TorchDispatchMode):
    """Counts what torch is asked to do."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def towers() -> tuple[nn.Module, nn.Module]:
    """A small vision transformer as open_clip makes it, and a copy with the quicker way back."""
    config = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = import_open_clip().model.CLIP(16, config, text)
    tower = model.visual.eval().requires_grad_(False)
    quick = copy.deepcopy(tower)
    assert quicken(quick) == 3
    return tower, quick


def images(n: int = 5, size: int = 32) -> Tensor:
    return torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(1))


def gradient(tower: nn.Module, pixels: Tensor) -> Tensor:
    pixels = pixels.clone().requires_grad_()
    (found,) = torch.autograd.grad(tower(pixels).square().sum(), pixels)
    return found


def test_forward_passes_without_gradients_stay_bit_for_bit(towers):
    tower, quick = towers
    with torch.no_grad():
        assert torch.equal(tower(images()), quick(images()))


def test_features_and_gradients_are_those_of_torch(towers):
    tower, quick = towers
    pixels = images().requires_grad_()
    torch.testing.assert_close(quick(pixels), tower(pixels))
    torch.testing.assert_close(gradient(quick, images()), gradient(tower, images()))


def test_the_way_back_takes_neither_a_convolution_nor_a_product_a_token(towers):
    counts = []
    for one in towers:
        pixels = images().requires_grad_()
        total = one(pixels).sum()
        with Operations() as operations:
            torch.autograd.grad(total, pixels)
        counts.append(operations.counts)
    assert (counts[0]["convolution_backward"], counts[1].get("convolution_backward", 0)) == (1, 0)
    assert counts[0].get("bmm", 0) > 0
    assert counts[1].get("bmm", 0) == 0


def test_the_weights_keep_their_names_and_values(towers):
    tower, quick = towers
    before, after = tower.state_dict(), quick.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_image_whose_edge_fits_no_patch_has_no_gradient_there():
    plain = nn.Conv2d(3, 4, 8, stride=8).requires_grad_(False)
    quick = copy.deepcopy(plain)
    assert quicken(quick) == 1
    pixels = images(2, 21)
    torch.testing.assert_close(gradient(quick, pixels), gradient(plain, pixels))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 8, stride=4).requires_grad_(False),
        nn.Conv2d(3, 4, 8, stride=8),
        nn.Conv2d(4, 4, 2, stride=2, groups=2).requires_grad_(False),
        nn.Conv2d(3, 4, 8, stride=8, padding=1).requires_grad_(False),
        nn.MultiheadAttention(8, 2).eval().requires_grad_(False),
        nn.MultiheadAttention(8, 2, batch_first=True, kdim=4).eval().requires_grad_(False),
        nn.MultiheadAttention(8, 2, batch_first=True),
    ],
)
def test_layers_of_another_kind_are_left_alone(layer):
    assert quicken(layer) == 0


def test_a_masked_attention_is_torchs_own():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(False)
    quick = copy.deepcopy(attention)
    quicken(quick)
    assert isinstance(quick, SelfAttention)
    tokens = torch.rand((2, 5, 8), generator=torch.Generator().manual_seed(2)).requires_grad_()
    mask = torch.full((5, 5), -torch.inf).triu(1)
    found, expected = (
        one(tokens, tokens, tokens, need_weights=False, attn_mask=mask)[0] for one in (quick, attention)
    )
    torch.testing.assert_close(found, expected)


def test_a_tower_that_is_trained_keeps_its_own_way_back():
    layer = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8))
    assert quicken(layer) == 0
    assert not isinstance(layer[0], PatchEmbedding)
