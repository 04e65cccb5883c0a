import numpy as np
import pytest
import torch
from PIL import Image

from qdgs.clip.preprocessing import Preprocessing
from qdgs.compat import import_open_clip

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def figures(n: int, height: int, width: int) -> torch.Tensor:
    """Waves with a bright block, at the values of an 8-bit image."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    phase = rng.uniform(0, 6, (n, 3, 1, 1))
    waves = 0.5 + 0.4 * np.sin(9 * x / width + phase) * np.cos(7 * y / height - phase)
    waves[:, :, height // 4 : height // 2, width // 3 : width // 2] = 1
    return torch.from_numpy((waves * 255).round() / 255).float()


def by_pil(images: torch.Tensor, size: int | tuple[int, int], **options: object) -> torch.Tensor:
    transform = import_open_clip().image_transform(size, is_train=False, mean=MEAN, std=STD, **options)
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    return torch.stack([transform(Image.fromarray(image)) for image in pixels])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize(("height", "width"), [(96, 64), (61, 150), (80, 80), (20, 31)])
def test_every_way_of_resizing_matches_the_pil_pipeline(
    height: int, width: int, mode: str, interpolation: str
) -> None:
    images = figures(2, height, width)
    expected = by_pil(images, 48, resize_mode=mode, interpolation=interpolation, fill_color=64)
    preprocess = Preprocessing((48, 48), MEAN, STD, interpolation, mode, 64 / 255)
    assert (preprocess(images) - expected).abs().mean() <= 0.01


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
def test_towers_that_are_not_square_match_too(mode: str) -> None:
    images = figures(2, 70, 70)
    expected = by_pil(images, (48, 32), resize_mode=mode)
    difference = (Preprocessing((48, 32), MEAN, STD, resize_mode=mode)(images) - expected).abs()
    assert difference.mean() <= 0.01


def test_the_ways_of_resizing_differ_where_an_image_is_not_square() -> None:
    images = figures(1, 96, 64)
    made = [Preprocessing((32, 32), MEAN, STD, resize_mode=mode)(images) for mode in ("squash", "shortest")]
    assert (made[0] - made[1]).abs().mean() > 0.05


def test_gradients_flow_through_every_way_of_resizing() -> None:
    for mode in ("squash", "shortest", "longest"):
        images = figures(1, 40, 60).requires_grad_()
        Preprocessing((32, 32), MEAN, STD, resize_mode=mode)(images).sum().backward()
        assert images.grad is not None
        assert images.grad.abs().sum() > 0
