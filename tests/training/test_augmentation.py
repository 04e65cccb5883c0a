import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from qdgs.training.augmentation import (
    _hue_rotations,
    flip_randomly,
    rotate,
    rotate_hues,
    rotate_randomly,
    without_color,
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_are_exact_and_counter_clockwise(images, quarters):
    turned = rotate(images, torch.full((6,), quarters * math.pi / 2))
    torch.testing.assert_close(turned, torch.rot90(images, quarters, dims=(2, 3)), atol=1e-5, rtol=0)


def test_any_angle_equals_scipy_with_a_white_surrounding(images):
    angles = torch.tensor([0.1, 0.7, 1.3, 2.9, -0.4, 5.0])
    turned = rotate(images, angles)
    for image, angle, result in zip(images, angles, turned, strict=True):
        expected = scipy.ndimage.rotate(
            image.numpy(),
            math.degrees(angle),
            axes=(2, 1),
            reshape=False,
            order=1,
            mode="grid-constant",
            cval=1,
        )
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-4)


def test_corners_that_come_from_outside_are_white():
    black = torch.zeros(1, 3, 32, 32)
    turned = rotate(black, torch.tensor([math.pi / 4]))
    assert turned[0, :, 0, 0].tolist() == [1, 1, 1]
    assert turned[0, :, 16, 16].abs().max() < 1e-6


def test_a_white_image_stays_white_at_any_angle():
    turned = rotate_randomly(torch.ones(64, 3, 20, 20), torch.Generator().manual_seed(1))
    assert torch.equal(turned, torch.ones(64, 3, 20, 20))


def test_each_image_gets_its_own_angle_and_the_seed_settles_them(images):
    same = images[:1].expand(6, -1, -1, -1)
    first = rotate_randomly(same, torch.Generator().manual_seed(2))
    again = rotate_randomly(same, torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert all(not torch.equal(first[0], other) for other in first[1:])


def test_hues_turn_as_colorsys_turns_them_and_greys_stay():
    quarter = torch.tensor([2 * math.pi / 3])
    red = torch.tensor([0.8, 0.1, 0.1])[None, :, None, None]
    turned = torch.einsum("nij,njhw->nihw", _hue_rotations(quarter), red)
    torch.testing.assert_close(turned.flatten(), torch.tensor([0.1, 0.8, 0.1]))
    grey = torch.full((5, 3, 2, 2), 0.3)
    torch.testing.assert_close(rotate_hues(grey, torch.Generator().manual_seed(0)), grey)


def test_hues_keep_their_mean_where_nothing_is_clipped(images):
    muted = 0.4 + 0.1 * images
    turned = rotate_hues(muted, torch.Generator().manual_seed(1))
    torch.testing.assert_close(turned.mean(1), muted.mean(1))
    assert not torch.allclose(turned, muted)


def test_without_color_every_channel_is_the_mean(images):
    grey = without_color(images, torch.Generator())
    torch.testing.assert_close(grey, images.mean(1, keepdim=True).repeat(1, 3, 1, 1))


def test_flips_mirror_about_half_of_the_images():
    images = torch.rand(400, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    flipped = flip_randomly(images, torch.Generator().manual_seed(2))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 150 < int(mirrored.sum()) < 250
