import torch

from qdgs.training.pixels import to_pixels, to_unit


def test_halving_averages_two_by_two_blocks():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    blocks = images.view(4, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    assert torch.equal(to_pixels(images, 4), (blocks * 255).round().to(torch.uint8))


def test_bytes_come_back_as_they_were():
    pixels = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    assert torch.equal(to_pixels(to_unit(pixels)), pixels)
    assert torch.equal(to_pixels(pixels, 5), pixels)


def test_bytes_and_floats_shrink_alike():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(to_pixels(pixels, 4), to_pixels(to_unit(pixels), 4))
