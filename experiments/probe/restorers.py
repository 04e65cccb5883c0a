"""Restorers from 16 pixels to 64, and the images that they learn from."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.datasets.drawing import biased_shapes
from qdgs.errors import InputError
from qdgs.probe.samples import Parts, Pool, ProbeSet
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.training.pixels import to_pixels, to_unit

SMALL, LARGE = 16, 64
BATCH = 64
DRAWINGS, WEIGHTS, SAMPLED = 310, 311, 312


class Upscaling(nn.Module):
    """Images of 16 pixels → of 64 by bilinear interpolation: what can be had without learning."""

    def forward(self, images: Tensor) -> Tensor:
        """Images `(batch_size, 3, 64, 64)` of images `(batch_size, 3, 16, 16)` in [0, 1]."""
        return functional.interpolate(images, scale_factor=4.0, mode="bilinear")


class Restorer(nn.Module):
    """Images of 16 pixels → of 64: what bilinear interpolation gives, and what a few convolutions add to it.

    Before it has learned anything, they add nothing.

    Args:
        width: Channels.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.upscaling = Upscaling()
        last = nn.Conv2d(width, 3 * (LARGE // SMALL) ** 2, 3, padding=1)
        for weights in last.parameters():
            nn.init.zeros_(weights)
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 5, padding=2),
            nn.LeakyReLU(0.1),
            last,
            nn.PixelShuffle(LARGE // SMALL),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images `(batch_size, 3, 64, 64)` of images `(batch_size, 3, 16, 16)` in [0, 1]."""
        restored: Tensor = self.upscaling(images) + self.features(images)
        return restored


def train(images: Tensor, *, steps: int, seed: int) -> Restorer:
    """Adam on the mean absolute error; every other image is mirrored.

    Args:
        images: `(n, 3, 64, 64)`, uint8.
        steps: Batches of 64.
        seed: Of weights and order.
    """
    numbers = torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, WEIGHTS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(seed, Stream.TRAINING, WEIGHTS))
        restorer = Restorer()
    optimizer = torch.optim.Adam(restorer.parameters(), lr=1e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        large = to_unit(images[torch.randint(len(images), (BATCH,), generator=numbers)])
        large = torch.cat([large[: BATCH // 2].flip(-1), large[BATCH // 2 :]])
        small = functional.interpolate(large, size=SMALL, mode="area")
        loss = (restorer(small) - large).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return restorer.eval()


def save(restorer: nn.Module, path: Path) -> None:
    """As TorchScript; a file that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        torch.jit.script(restorer).save(str(unfinished))
    unfinished.replace(path)


def drawings(n: int, bias: float, seed: int) -> Tensor:
    """Drawings `(n, 3, 64, 64)`, uint8, of which a share `bias` has the usual colour of its shape."""
    rng = stream(seed, Stream.DRAWING, DRAWINGS)
    parts = [biased_shapes(min(500, n - start), bias, rng)[0] for start in range(0, n, 500)]
    return torch.cat([to_pixels(part, LARGE) for part in parts])


def samples(n: int, skew: int, seed: int, parts: Parts, pool: Pool, apart: ProbeSet) -> Tensor:
    """Random samples of the generator `(n, 3, 64, 64)`, uint8, groups as often as `group_sizes` says.

    A sample comes again where a group has too few; the images that restorers are probed with never come.

    Args:
        n: How many.
        skew: Images of any other value of an attribute for each of its rarest; 1 for as many of every group.
        seed: Of the choice.
        parts: Generator and judges.
        pool: Random samples that the judges read.
        apart: The images that restorers are probed with.
    """
    probed = {row.tobytes() for row in apart.latents.numpy()}
    free = np.array([row.tobytes() not in probed for row in pool.latents.numpy()])
    codes = np.where(free, pool.codes(parts.attributes), -1)
    rng = stream(seed, Stream.TRAINING, SAMPLED)
    chosen = []
    for place, count in enumerate(group_sizes(n, skew, parts.attributes, pool)):
        rows = np.flatnonzero(codes == place)
        if count and not len(rows):
            raise InputError(
                f"samples: expected a sample of {apart.groups[place]} to train on, got none beside the "
                "images that are kept to probe with; raise samples.pool"
            )
        chosen.append(rng.choice(rows, count, replace=count > len(rows)))
    latents = pool.latents[torch.from_numpy(np.concatenate(chosen))]
    return torch.cat([to_pixels(images, LARGE) for images in parts.images(latents)])


def group_sizes(n: int, skew: int, attributes: Mapping[str, tuple[str, ...]], pool: Pool) -> list[int]:
    """How many of n images are of each group, in the order of `group_names`; the largest takes what is over.

    Each attribute has a value that is rarest among random samples; a group weighs `skew` for every attribute
    of which it has another one.

    Args:
        n: Images.
        skew: Weight of every other value.
        attributes: Attribute → its values.
        pool: Random samples.
    """
    weights = np.ones(1)
    for name, values in attributes.items():
        counts = pool.read.loc[pool.read["accepted"].astype(bool), name].value_counts()
        rarest = int(counts.reindex(values, fill_value=0).to_numpy().argmin())
        own = np.where(np.arange(len(values)) == rarest, 1, skew)
        weights = np.outer(weights, own).reshape(-1)
    sizes = np.floor(n * weights / weights.sum()).astype(int)
    sizes[weights.argmax()] += n - sizes.sum()
    return [int(size) for size in sizes]
