"""The small classifier of the shapes study."""

import torch
from torch import Tensor, nn

from qdgs.errors import InputError
from qdgs.training.pixels import to_unit


class ShapeClassifier(nn.Module):
    """Triangle (negative logit) or square (positive logit).

    Convolutions 3-16-32-64 (kernel 3, padding 1), each with 2×2 max-pooling, then linear 64·(s/8)² → 128 → 1.
    The pooling comes before the ReLU: both are monotone, so the values are those of the usual order at a
    quarter of the work.

    Args:
        image_size: Height and width s of the images, a multiple of 8.
        generator: Draws the initial weights.

    References:
        Chang et al., "Quality-Diversity Generative Sampling for Learning with Synthetic Data", AAAI 2024,
        the shapes experiment (there at 128 pixels).
    """

    def __init__(self, image_size: int = 64, *, generator: torch.Generator) -> None:
        super().__init__()
        if image_size < 8 or image_size % 8:
            raise InputError(f"image_size: expected a multiple of 8, got {image_size}")
        self.image_size = image_size
        with torch.random.fork_rng(devices=[]):  # the layers draw weights of their own, from the global state
            self.features = nn.Sequential(
                *_block(3, 16),
                *_block(16, 32),
                *_block(32, 64),
                nn.Flatten(),
                nn.Linear(image_size**2, 128),
                nn.ReLU(),
            )
            self.head = nn.Linear(128, 1)
        _initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch_size,)` of images `(batch_size, 3, s, s)` in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits.squeeze(1)


def responding_share(classifier: ShapeClassifier, images: Tensor) -> float:
    """Share of the hidden units that at least one of the images `(n, 3, s, s)` activates, float or uint8.

    Adam now and then kills most units on images that are mostly white; a classifier with few left cannot be
    repaired, whatever it is tuned on.
    """
    with torch.no_grad():
        parts = [(classifier.features(to_unit(part)) > 0).any(dim=0) for part in torch.split(images, 500)]
    return float(torch.stack(parts).any(dim=0).float().mean())


def _block(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    # torch's own default for both kinds of layer, U(−1/√fan_in, 1/√fan_in), which takes no generator
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
