"""Train the embedded GAN `shapes-gan`, generator and discriminator, on colour-biased drawings of 64 pixels.

    python experiments/weights/shapes_gan.py --out qdgs/weights/shapes-gan

Hinge losses, and the reconstruction of an encoder's latents for the generator: with hinge losses alone it
made figures of one colour. Rates fall to nothing over the last half. What is kept of the generator is its
moving average. Every `--every` steps it writes a checkpoint, a row of `log.csv` and a sheet of samples into
`--work`; a second call goes on from the checkpoint. The same seed, machine and thread count give the same
weights.

The rows of the log are read by the judge of geometry, who takes no part in the training.

Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric" (a VAE whose decoder is the
generator of a GAN); the error here is of pixels.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import qdgs
from qdgs.datasets.drawing import biased_shapes
from qdgs.fairness.shares import normalize
from qdgs.generators.shapes_gan import (
    CHANNELS,
    IMAGE_SIZE,
    LATENT_DIM,
    GanDiscriminator,
    GanGenerator,
    NetworkGenerator,
    save_gan,
)
from qdgs.training.adversarial import GanSettings, GanTraining, Losses
from qdgs.training.initial import seeded
from qdgs.training.loop import Precision
from qdgs.training.pixels import to_pixels

GROUPS = ("red/triangle", "blue/triangle", "red/square", "blue/square")
ROWS = 8
TOLD = (
    "seed", "bias", "drawings", "steps", "batch_size", "generator_rate", "discriminator_rate",
    "discriminator_steps", "averaging", "reconstruction", "divergence", "precision", "threads",
)  # fmt: skip
"""Options that the weights depend on."""


class Reconstruction(nn.Module):
    """λ·(‖G(z) − x‖² + β·KL(q(z | x) ‖ N(0, I))) with z of an encoder's q, mean over a batch.

    Args:
        weight: λ.
        divergence: β.
    """

    def __init__(self, weight: float, divergence: float) -> None:
        super().__init__()
        self.weight, self.divergence = weight, divergence
        self.stages = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            for inputs, outputs in itertools.pairwise((3, *CHANNELS[::-1]))
        )
        self.head = nn.Linear(16 * CHANNELS[0], 2 * LATENT_DIM)

    def forward(self, generator: nn.Module, images: Tensor, random: torch.Generator) -> Tensor:
        """The loss of images `(batch_size, 3, 64, 64)` in [0, 1]."""
        features = 1 - images
        for stage in self.stages:
            features = functional.leaky_relu(stage(features), 0.2)
        mean, spread = self.head(features.flatten(1)).float().chunk(2, dim=1)
        log_variance = functional.logsigmoid(spread)  # no wider than the prior: unbounded, it ran away
        latents = mean + torch.randn(mean.shape, generator=random) * (log_variance / 2).exp()
        error = (generator(latents) - images).square().sum((1, 2, 3)).mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        loss: Tensor = self.weight * (error + self.divergence * divergence)
        return loss


def drawings(n: int, bias: float, seed: int) -> Tensor:
    """Biased drawings `(n, 3, 64, 64)`, uint8."""
    rng = qdgs.stream(seed, qdgs.Stream.DRAWING)
    return to_pixels(biased_shapes(n, bias, rng, image_size=IMAGE_SIZE)[0])


def new_training(args: argparse.Namespace) -> GanTraining:
    """A training at its first step, or where its checkpoint is."""
    random = torch.Generator().manual_seed(args.seed)
    training = GanTraining(
        seeded(GanGenerator, random),
        seeded(GanDiscriminator, random),
        drawings(args.drawings, args.bias, args.seed),
        GanSettings(
            batch_size=args.batch_size,
            generator_rate=args.generator_rate,
            discriminator_rate=args.discriminator_rate,
            averaging=args.averaging,
            betas=(0.0, 0.99),
            precision=args.precision,
            discriminator_steps=args.discriminator_steps,
        ),
        random,
        latent_dim=LATENT_DIM,
        anchor=seeded(lambda: Reconstruction(args.reconstruction, args.divergence), random),
    )
    if (args.work / "checkpoint.pt").exists():
        training.load_state_dict(torch.load(args.work / "checkpoint.pt", weights_only=True))
    return training


def samples(training: GanTraining, n: int, seed: int) -> Tensor:
    """Random samples `(n, 3, 64, 64)` of the moving average, the same latents every time."""
    generator = NetworkGenerator(training.averaged, LATENT_DIM, IMAGE_SIZE)
    latents = generator.sample_latents(n, qdgs.stream(seed, qdgs.Stream.RANDOM_SAMPLES))
    return torch.cat(list(qdgs.generate(generator, latents)))


def judged(images: Tensor) -> dict[str, float]:
    """What share of the images is whole, and of those the share of each group."""
    read = qdgs.load_judge("shape-geometry").judge(images)
    whole = read[read["accepted"]]
    groups = (whole["color"] + "/" + whole["shape"]).value_counts()
    counts = np.array([groups.get(name, 0) for name in GROUPS])
    shares = dict(zip(GROUPS, np.nan_to_num(normalize(counts)).round(4).tolist(), strict=True))
    return {"accepted": round(float(read["accepted"].mean()), 4), **shares}


def write_sheet(images: Tensor, path: Path) -> None:
    """A picture of the first 64 images, eight a row."""
    pixels = to_pixels(images[: ROWS * ROWS]).permute(0, 2, 3, 1).numpy()
    sheet = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=120)
    side = ROWS * sheet.shape[1]
    tiled = sheet.reshape(ROWS, ROWS, *sheet.shape[1:]).transpose(0, 2, 1, 3, 4).reshape(side, side, 3)
    Image.fromarray(tiled).save(path)


def record(training: GanTraining, losses: Losses, seconds: float, args: argparse.Namespace) -> None:
    """Checkpoint, row of the log, and sheet of samples."""
    images = samples(training, args.judged, args.seed)
    row: dict[str, Any] = {
        "step": training.steps,
        "seconds": round(seconds, 1),
        "generator_loss": round(losses.generator, 4),
        "discriminator_loss": round(losses.discriminator, 4),
        **judged(images),
    }
    write_sheet(images, args.work / "samples.png")
    log = args.work / "log.csv"
    pd.DataFrame([row]).to_csv(log, mode="a", header=not log.exists(), index=False)
    unfinished = args.work / "checkpoint.part"
    torch.save(training.state_dict(), unfinished)
    unfinished.replace(args.work / "checkpoint.pt")
    print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def set_rates(training: GanTraining, args: argparse.Namespace) -> None:
    """Rates as given for half of the steps, then falling to nothing."""
    share = min(1.0, 2 * (1 - training.steps / args.steps))
    rates = args.generator_rate, args.discriminator_rate
    for optimizer, rate in zip(training.optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = share * rate


def train(args: argparse.Namespace) -> GanTraining:
    """Every step that is missing."""
    training = new_training(args)
    begun = time.monotonic()
    while training.steps < args.steps:
        set_rates(training, args)
        losses = training.step()
        if training.steps % args.every == 0 or training.steps == args.steps:
            record(training, losses, time.monotonic() - begun, args)
    return training


def main() -> None:
    """Parse arguments, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/shapes-gan"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bias", type=float, default=0.95)
    parser.add_argument("--drawings", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--generator-rate", type=float, default=1e-3)
    parser.add_argument("--discriminator-rate", type=float, default=2e-4)
    parser.add_argument("--discriminator-steps", type=int, default=1)
    parser.add_argument("--reconstruction", type=float, default=0.3)
    parser.add_argument("--divergence", type=float, default=1.0)
    parser.add_argument("--averaging", type=float, default=0.999)
    parser.add_argument("--precision", choices=get_args(Precision), default="bfloat16")
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--judged", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    training = train(args)
    n = 4 * args.judged
    read = judged(samples(training, n, args.seed + 1))
    told = " ".join(f"--{name.replace('_', '-')} {getattr(args, name)}" for name in TOLD)
    save_gan(
        args.out,
        training.averaged,
        training.discriminator,
        command=f"python experiments/weights/shapes_gan.py --out qdgs/weights/shapes-gan {told}",
        licence="MIT",
        source="trained by this project on its own drawings (qdgs.datasets.drawing)",
        seed=args.seed,
        bias=f"triangles are red and squares blue in {args.bias:.0%} of what it was trained on",
        limits="knows triangles and squares of two colours on white, at 64×64, and nothing else; many of its "
        "figures have bent sides or rounded corners, above all those of the rare groups",
        **{f"of {n} random samples, as shape-geometry reads them": read},
    )


if __name__ == "__main__":
    main()
