import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from qdgs.training.augmentation import rotate, rotate_randomly


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
