import pytest
import torch
from torch import nn

from qdgs.errors import InputError
from qdgs.training.classifier import ShapeClassifier, responding_share


def plain(model: ShapeClassifier, images: torch.Tensor) -> torch.Tensor:
    """The published order of layers, ReLU before pooling, on the same weights."""
    values = images
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            values = nn.functional.max_pool2d(torch.relu(layer(values)), 2)
        elif isinstance(layer, nn.Linear):
            values = torch.relu(layer(values.flatten(1)))
    return model.head(values).squeeze(1)


def test_pooling_before_the_relu_changes_no_value():
    model = ShapeClassifier(16, generator=torch.Generator().manual_seed(0))
    images = torch.rand(8, 3, 16, 16)
    torch.testing.assert_close(model(images), plain(model, images))


@pytest.mark.parametrize(("image_size", "flattened"), [(128, 16384), (64, 64 * 8 * 8)])
def test_layers_are_those_of_the_published_study(image_size, flattened):
    model = ShapeClassifier(image_size, generator=torch.Generator())
    shapes = [tuple(layer.weight.shape) for layer in model.modules() if hasattr(layer, "weight")]
    assert shapes == [(16, 3, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (128, flattened), (1, 128)]


def test_one_logit_an_image():
    assert ShapeClassifier(32, generator=torch.Generator())(torch.rand(5, 3, 32, 32)).shape == (5,)


def test_the_generator_settles_the_weights_and_their_spread_is_torchs_own():
    first, again, other = (ShapeClassifier(64, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)
    linear = first.features[-2].weight
    assert linear.abs().max() <= 64**-1
    assert linear.std().item() == pytest.approx(3**-0.5 / 64, rel=0.02)


@pytest.mark.parametrize("image_size", [0, 12, -8])
def test_a_size_that_does_not_halve_three_times_is_refused(image_size):
    with pytest.raises(InputError, match=f"image_size: expected a multiple of 8, got {image_size}"):
        ShapeClassifier(image_size, generator=torch.Generator())


def test_a_unit_responds_if_any_image_activates_it():
    model = ShapeClassifier(16, generator=torch.Generator().manual_seed(0))
    hidden = model.features[-2]
    with torch.no_grad():
        hidden.weight.zero_()
        hidden.bias.copy_(torch.where(torch.arange(len(hidden.bias)) < 32, 1.0, -1.0))
    images = torch.randint(256, (600, 3, 16, 16), dtype=torch.uint8)
    assert responding_share(model, images) == 32 / len(hidden.bias)
