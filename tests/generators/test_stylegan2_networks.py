import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from qdgs.generators.stylegan2_networks import Architecture, Network

# Of the published implementation (stylegan2-ada-pytorch d72cc7d and stylegan3 c233a91, reference operators,
# float32) with the weights of `stylegans.TINY`, ψ = 0.7: six pixels of four images, mean and deviation.
ROWS, CHANNELS = [0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 1, 2]
HEIGHTS, WIDTHS = [0, 7, 16, 31, 13, 30], [0, 9, 31, 4, 30, 17]
PUBLISHED = {
    True: ([-0.223837, -0.135305, -0.395108, -0.408786, -0.163489, -1.24379], -0.449834, 0.812566),
    False: ([-0.25719, -0.029247, -1.243045, -0.632616, -0.143017, -0.775787], -0.547527, 0.710851),
}


@pytest.fixture
def network(stylegans):
    return stylegans.network_of(stylegans.TINY)


def styles_of(network, n, seed=1):
    """One w for each layer."""
    rng = np.random.default_rng(seed)
    architecture = network.synthesis.architecture
    z = torch.tensor(rng.standard_normal((n * architecture.layers, architecture.z_dim)), dtype=torch.float32)
    return network.mapping(z).unflatten(0, (n, -1))


def mapping_by_formula(state, z, rate):
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for index in range(2):
        weight, bias = state[f"mapping.fc{index}.weight"], state[f"mapping.fc{index}.bias"]
        x = x @ (weight * rate / math.sqrt(weight.shape[1])).T + bias * rate
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x


def with_zeros_between(x):
    """Every pixel in the upper left corner of its own four."""
    spread = torch.zeros(*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1], dtype=x.dtype)
    spread[..., ::2, ::2] = x
    return spread


def filtered(x, before, after):
    """All 16 taps at once, four times their mean because of the zeros, around a border of zeros."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = 4 * taps.outer(taps) / 64
    x = functional.pad(x, (before, after, before, after))
    return torch.stack([functional.conv2d(channel[None, None], kernel[None, None])[0, 0] for channel in x])


def layer_by_formula(state, place, x, w, *, noise, demodulate=True):
    """One row: its own weights, modulated and demodulated, as in equations 1 to 3 of the paper."""
    affine = state[f"{place}.affine.weight"]
    style = affine @ w / math.sqrt(len(w)) + state[f"{place}.affine.bias"]
    weight = state[f"{place}.weight"]
    if not demodulate:
        style = style / math.sqrt(weight.shape[1])
    weight = weight * style[None, :, None, None]
    if demodulate:
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if place.endswith("conv0"):
        # a convolution proper, which flips its kernel, of the image with zeros between its pixels
        spread = functional.pad(with_zeros_between(x), (2, 2, 2, 2))
        x = filtered(functional.conv2d(spread[None], weight.flip(2, 3))[0], 1, 0)
    else:
        x = functional.conv2d(x[None], weight, padding=weight.shape[-1] // 2)[0]
    if noise:
        x = x + state[f"{place}.noise_const"] * state[f"{place}.noise_strength"]
    return x + state[f"{place}.bias"][:, None, None]


def image_by_formula(state, ws, clamp, *, noise):
    def active(x):
        return (torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)).clamp(-clamp, clamp)

    x = state["synthesis.b4.const"]
    x = active(layer_by_formula(state, "synthesis.b4.conv1", x, ws[0], noise=noise))
    image = layer_by_formula(state, "synthesis.b4.torgb", x, ws[1], noise=False, demodulate=False)
    image = image.clamp(-clamp, clamp)
    for index, size in enumerate((8, 16, 32)):
        place = f"synthesis.b{size}"
        x = active(layer_by_formula(state, f"{place}.conv0", x, ws[2 * index + 1], noise=noise))
        x = active(layer_by_formula(state, f"{place}.conv1", x, ws[2 * index + 2], noise=noise))
        rgb = layer_by_formula(state, f"{place}.torgb", x, ws[2 * index + 3], noise=False, demodulate=False)
        image = filtered(with_zeros_between(image), 2, 1) + rgb.clamp(-clamp, clamp)
    return image


@pytest.mark.parametrize("noise", [True, False])
def test_images_are_those_of_the_formula(stylegans, network, noise):
    ws = styles_of(network, 3)
    state = {name: value.double() for name, value in network.state_dict().items()}
    expected = [image_by_formula(state, row.double(), stylegans.TINY.clamp, noise=noise) for row in ws]
    found = network.synthesis(ws, noise=noise)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.stack(expected), atol=1e-5, rtol=0)


def test_styles_are_those_of_the_formula(stylegans, network):
    z = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    expected = mapping_by_formula(network.state_dict(), z, stylegans.TINY.mapping_rate)
    torch.testing.assert_close(network.mapping(z), expected)
    torch.testing.assert_close(network.mapping(3 * z), expected, msg="z is normalised")


@pytest.mark.parametrize("noise", [True, False])
def test_images_are_those_of_the_published_implementation(network, noise):
    z = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 16), dtype=np.float32))
    w_avg = network.mapping.w_avg
    w = w_avg + 0.7 * (network.mapping(z) - w_avg)
    images = network.synthesis(w[:, None].expand(-1, 8, -1), noise=noise)
    pixels, mean, deviation = PUBLISHED[noise]
    torch.testing.assert_close(
        images[ROWS, CHANNELS, HEIGHTS, WIDTHS], torch.tensor(pixels), atol=1e-5, rtol=0
    )
    assert images.mean().item() == pytest.approx(mean, abs=1e-5)
    assert images.std().item() == pytest.approx(deviation, abs=1e-5)


def test_the_clamp_bites(stylegans, network):
    free = stylegans.network_of(stylegans.TINY.model_copy(update={"clamp": None}))
    ws = styles_of(network, 2)
    assert (free.synthesis(ws) - network.synthesis(ws)).abs().max() > 0.1


def test_half_precision_is_close_to_full(network):
    ws = styles_of(network, 4)
    full, half = network.synthesis(ws, half=False), network.synthesis(ws, half=True)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.01
    assert torch.equal(network.synthesis(ws), full)


def test_half_precision_survives_large_weights_and_styles(stylegans):
    network = stylegans.network_of(stylegans.TINY)
    ws = styles_of(network, 4)
    expected = network.synthesis(ws, half=False)
    for size in (16, 32):
        for layer in (network.synthesis.get_submodule(f"b{size}.{name}") for name in ("conv0", "conv1")):
            layer.weight *= 1000
            layer.affine.weight *= 300
            layer.affine.bias *= 300
    found = network.synthesis(ws, half=True)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_a_row_depends_on_its_own_styles_alone(network):
    ws = styles_of(network, 32)
    changed = ws.clone()
    changed[:16] += 1
    assert torch.equal(network.synthesis(ws)[16:], network.synthesis(changed)[16:])


def test_gradients_are_those_of_finite_differences(network):
    ws, ways = styles_of(network, 6).double().chunk(2)
    weights = torch.linspace(-1, 1, 32, dtype=torch.float64)
    network = network.double()

    def along(steps):
        return (network.synthesis(ws + steps[:, None, None] * ways) * weights).mean((1, 2, 3))

    assert torch.autograd.gradcheck(along, (torch.zeros(3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize(("resolution", "layers"), [(32, 8), (64, 10), (256, 14), (1024, 18)])
def test_every_resolution_has_its_images(stylegans, resolution, layers):
    channels = (2,) * (layers // 2)
    changes = {"resolution": resolution, "channels": channels, "noise": False, "clamp": None}
    architecture = Architecture(**{**stylegans.TINY.model_dump(), **changes})
    assert architecture.layers == layers
    network = stylegans.network_of(architecture)
    images = network.synthesis(styles_of(network, 1))
    assert images.shape == (1, 3, resolution, resolution)
    assert images.isfinite().all()
    assert not [name for name in network.state_dict() if "noise" in name]


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 48},
        {"resolution": 16, "channels": (2, 2, 2)},
        {"resolution": 2048, "channels": (2,) * 10},
        {"channels": (2, 2)},
        {"channels": (2, 2, 2, 0)},
        {"mapping": (16,)},
        {"mapping_rate": 0},
        {"clamp": -1},
        {"half_blocks": -1},
        {"noise": "yes"},
        {"fused": True},
    ],
)
def test_an_architecture_that_cannot_be_is_refused(stylegans, change):
    with pytest.raises(ValidationError):
        Architecture(**{**stylegans.TINY.model_dump(), **change})


def test_an_architecture_takes_the_numbers_of_its_card(stylegans):
    assert Architecture.model_validate(stylegans.TINY.model_dump(mode="json")) == stylegans.TINY
    whole = Architecture(**{**stylegans.TINY.model_dump(), "clamp": 256, "mapping_rate": 1})
    assert Network(whole).synthesis.b4.torgb.clamp == 256
