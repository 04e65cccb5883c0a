"""What does a restorer that learned from biased images make of what it has hardly seen?

A small network learns to turn drawings of 16 pixels into drawings of 64, from images of which a share `bias`
of the triangles is red and of the squares is blue. Then it is probed with a generator's figures of every
colour and shape: which of them are still what they were?

    DIR/restorer.pt       the network, as TorchScript
    DIR/probe/            what `qdgs probe` writes: probe.csv, changes.csv, report.html

    python experiments/probe/restoration.py --out DIR
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.config import load_config, plain
from qdgs.datasets.drawing import biased_shapes
from qdgs.errors import InputError, QdgsError
from qdgs.probe.carry_out import Probe, probe_model
from qdgs.probe_config import parse_probe
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.training.pixels import to_pixels, to_unit

HERE = Path(__file__).resolve().parent
SMALL, LARGE = 16, 64
DRAWINGS, WEIGHTS = 310, 311


class Restorer(nn.Module):
    """Images of 16 pixels → of 64: what bilinear interpolation gives, and what a few convolutions add to it.

    Args:
        width: Channels.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 3 * (LARGE // SMALL) ** 2, 3, padding=1),
            nn.PixelShuffle(LARGE // SMALL),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images `(batch_size, 3, 64, 64)` of images `(batch_size, 3, 16, 16)` in [0, 1]."""
        larger = functional.interpolate(images, scale_factor=4.0, mode="bilinear")
        restored: Tensor = larger + self.features(images)
        return restored


def train(images: Tensor, *, steps: int, seed: int) -> Restorer:
    """Adam on the mean absolute error.

    Args:
        images: `(n, 3, 64, 64)`, uint8.
        steps: Batches of 64.
        seed: Of weights and order.
    """
    numbers = torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, WEIGHTS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(seed, Stream.TRAINING, WEIGHTS))
        restorer = Restorer()
    optimizer = torch.optim.Adam(restorer.parameters(), lr=2e-3)
    for _ in range(steps):
        large = to_unit(images[torch.randint(len(images), (64,), generator=numbers)])
        small = functional.interpolate(large, size=SMALL, mode="area")
        loss = (restorer(small) - large).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return restorer.eval()


def save(restorer: Restorer, path: Path) -> None:
    """As TorchScript."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        torch.jit.script(restorer).save(str(path))


def drawings(n: int, bias: float, seed: int) -> Tensor:
    """Biased drawings `(n, 3, 64, 64)`, uint8."""
    rng: np.random.Generator = stream(seed, Stream.DRAWING, DRAWINGS)
    parts = [biased_shapes(min(500, n - start), bias, rng)[0] for start in range(0, n, 500)]
    return torch.cat([to_pixels(part, LARGE) for part in parts])


def probe(path: Path, out: Path, config: Path, *, quick: bool, seed: int) -> Probe:
    """Probe the restorer of a file."""
    samples = {"images": 240, "pool": 3000, "draws": 20_000}
    quickly = {"images": 32, "pool": 1000, "draws": 1024}
    data = {
        "kind": "probe",
        "seed": seed,
        "run": plain(load_config(config)),
        "model": {"path": str(path), "task": "restorer", "image_size": SMALL},
        "samples": {**(quickly if quick else samples), "attributes": ["color", "shape"]},
        "findings": {"smallest": 4 if quick else 20},
        "pairs": None,
        "failures": None,
    }
    return probe_model(parse_probe(data), out)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Probe a restorer that learned from biased drawings.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bias", type=float, default=0.98, help="share of usual colours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=HERE.parents[1] / "configs" / "shapes.yaml")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    given = parser.parse_args(argv)
    if not 0.5 <= given.bias <= 1:
        parser.error(f"--bias: expected a share from 0.5 to 1, got {given.bias:g}")
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Train where there is no restorer yet, probe it, and say what it changes."""
    given = arguments(argv)
    path = given.out / "restorer.pt"
    if not path.exists():
        images = drawings(64 if given.quick else 2000, given.bias, given.seed)
        save(train(images, steps=10 if given.quick else 600, seed=given.seed), path)
    found = probe(path, given.out / "probe", given.config, quick=given.quick, seed=given.seed)
    print(found.examined.probe_table.to_string(index=False, float_format="{:.3f}".format))
    print(f"{given.out / 'probe' / 'report.html'}")


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
