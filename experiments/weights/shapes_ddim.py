"""Train the embedded generator `shapes-ddim`, a small diffusion model, on colour-biased drawings.

    python experiments/weights/shapes_ddim.py --out qdgs/weights/shapes-ddim

Drawings of 32×32 never repeat. The network predicts v (Salimans and Ho 2022) on a cosine schedule whose last
step is pure noise (Lin et al. 2024), so that ten steps of DDIM reach a white ground. What is kept is the
moving average of the weights, as `save_pretrained` writes it, and its card.

Resumable: `--work` keeps a checkpoint, replaced every minute, and a row every fifty steps in progress.csv.
The same seed, machine and thread count give the same weights, interrupted or not. `--seconds` stops early.
"""

import argparse
import copy
import csv
import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.compat import import_torchvision
from qdgs.datasets.drawing import BLUE, COLORS, RED, SHAPES, clean_figures, draw
from qdgs.judges.shape_cnn import ShapeCNN

import_torchvision()

from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel  # noqa: E402 -- after the guard of torchvision

SIZE = 32
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
CHECKPOINT_SECONDS = 60.0
JUDGED = 1000


def network() -> UNet2DModel:
    """A U-Net of a million parameters, most of them where the image is 8×8 and 4×4."""
    return UNet2DModel(
        sample_size=SIZE,
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=16,
    ).to(memory_format=torch.channels_last)


def scheduler() -> DDIMScheduler:
    """The schedule of training and of sampling."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=True,
    )


def drawings(n: int, bias: float, rng: np.random.Generator) -> Tensor:
    """Images `(n, 3, 32, 32)` in [-1, 1]; triangles are red and squares blue with probability `bias`."""
    shape = rng.integers(0, 2, n)
    color = np.where(rng.random(n) < bias, shape, 1 - shape)
    figures = clean_figures(shape, np.array([RED, BLUE])[color], rng, image_size=SIZE)
    return (2 * draw(figures, SIZE) - 1).contiguous(memory_format=torch.channels_last)


def loss_of(unet: nn.Module, schedule: DDIMScheduler, images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean squared error of v = α·noise − σ·images at noise levels spread evenly over the batch."""
    n, levels = len(images), schedule.config.num_train_timesteps
    noise = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
    noise = noise.contiguous(memory_format=torch.channels_last)
    spread = (np.arange(n) + rng.random(n)) / n
    level = torch.from_numpy((spread * levels).astype(np.int64)).clamp_max(levels - 1)
    noisy = schedule.add_noise(images, noise, level)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = unet(noisy, level).sample
    return functional.mse_loss(predicted.float(), schedule.get_velocity(images, noise, level))


def rate_of(step: int, args: argparse.Namespace) -> float:
    """Warm-up and cosine."""
    warm = min(1.0, (step + 1) / 200)
    return float(args.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)))


def blend(average: nn.Module, unet: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the weights, faster while there are few of them."""
    weight = 1 - min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        for kept, new in zip(average.parameters(), unet.parameters(), strict=True):
            kept.lerp_(new, weight)


class Training:
    """Everything that training is between two steps.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.args, self.step, self.seconds = args, 0, 0.0
        self.rng = np.random.default_rng(args.seed)
        self.unet, self.schedule = network(), scheduler()
        self.average = copy.deepcopy(self.unet).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.unet.parameters(), lr=args.learning_rate)
        self.path: Path = args.work / "checkpoint.pt"
        if self.path.exists():
            self._restore(torch.load(self.path, weights_only=False))

    def advance(self) -> float:
        """One step; its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_of(self.step, self.args)
        images = drawings(self.args.batch_size, self.args.bias, self.rng)
        loss = loss_of(self.unet, self.schedule, images, self.rng)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        blend(self.average, self.unet, self.step, self.args.decay)
        self.step += 1
        return float(loss.detach())

    def save(self) -> None:
        """Replace the checkpoint."""
        temporary = self.path.with_suffix(".tmp")
        torch.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "rng": self.rng.bit_generator.state,
                "unet": self.unet.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            temporary,
        )
        os.replace(temporary, self.path)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.rng.bit_generator.state = state["rng"]
        self.unet.load_state_dict(state["unet"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def pipeline(self) -> DDIMPipeline:
        """What is kept."""
        return DDIMPipeline(unet=self.average.eval(), scheduler=self.schedule)


def train(args: argparse.Namespace) -> Training:
    """Train until all steps are done or the time is up."""
    training = Training(args)
    began = saved = time.monotonic()
    before, losses = training.seconds, []
    with (args.work / "progress.csv").open("a", newline="") as file:
        log = csv.writer(file)
        while training.step < args.steps:
            losses.append(training.advance())
            now = time.monotonic()
            training.seconds = before + now - began
            if training.step % 50 == 0:
                row = [training.step, round(training.seconds), round(float(np.mean(losses)), 5)]
                log.writerow(row)
                file.flush()
                print(f"step {row[0]} of {args.steps}, {row[1]} s, loss {row[2]}", flush=True)
                losses = []
            if now - saved > CHECKPOINT_SECONDS:
                training.save()
                saved = now
            if args.seconds and now - began > args.seconds:
                break
    training.save()
    return training


def samples(pipeline: DDIMPipeline, n: int, seed: int) -> Tensor:
    """Images `(n, 3, 32, 32)` in [0, 1] of ten steps, by the pipeline itself."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    parts = [
        pipeline(
            batch_size=min(100, n - start), generator=generator, num_inference_steps=10, output_type="np"
        )
        for start in range(0, n, 100)
    ]
    return torch.cat([torch.from_numpy(part.images).permute(0, 3, 1, 2) for part in parts])


def figures_of(images: Tensor) -> dict[str, float]:
    """What the auditor reads: whole figures, and the share of each group among them."""
    read = ShapeCNN().judge(functional.interpolate(images, scale_factor=4, mode="bicubic").clamp(0, 1))
    whole = read[read["accepted"]].dropna(subset=["color", "shape"])
    shares = {
        f"{color} {shape}": float(((whole["color"] == color) & (whole["shape"] == shape)).mean())
        for color in COLORS
        for shape in SHAPES
    }
    return {"whole figures": len(whole) / len(read), **shares}


def sheet(images: Tensor, path: Path) -> None:
    """A picture of the first hundred, ten a row, each pixel doubled."""
    from PIL import Image

    tiles = images[:100].unflatten(0, (-1, 10)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    pixels = (tiles * 255).round().byte().numpy()
    Image.fromarray(pixels).resize((640, 2 * pixels.shape[0]), Image.Resampling.NEAREST).save(path)


def save(pipeline: DDIMPipeline, args: argparse.Namespace, figures: dict[str, float]) -> None:
    """Write the pipeline as `from_pretrained` reads it, and its card."""
    pipeline.save_pretrained(args.out)
    command = (
        f"python experiments/weights/shapes_ddim.py --out qdgs/weights/shapes-ddim --seed {args.seed} "
        f"--bias {args.bias} --steps {args.steps} --batch-size {args.batch_size} "
        f"--learning-rate {args.learning_rate} --decay {args.decay} --threads {args.threads}"
    )
    card = {
        "command": command,
        "licence": "MIT",
        "source": "trained by this project on its own drawings (qdgs.datasets.drawing)",
        "seed": args.seed,
        "bias": f"triangles are red and squares blue in {args.bias:.0%} of what it was trained on",
        "limits": "knows clean triangles and squares of two colours on white, at 32×32, and nothing else",
        f"of {JUDGED} random samples, as shape-cnn reads them": figures,
        "sha256": hashlib.sha256((args.out / WEIGHTS).read_bytes()).hexdigest(),
    }
    (args.out / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    """Parse arguments, train, look, and save once all steps are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/shapes-ddim"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bias", type=float, default=0.95)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.999)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="stop after so many, with a checkpoint")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    training = train(args)
    whole = training.step >= args.steps
    images = samples(training.pipeline(), JUDGED if whole else 100, args.seed)
    sheet(images, args.work / "samples.png")
    figures = {name: round(value, 4) for name, value in figures_of(images).items()}
    print(json.dumps(figures), flush=True)
    if whole:
        save(training.pipeline(), args, figures)
    else:
        print(f"stopped at step {training.step} of {args.steps}; the same command goes on from there")


if __name__ == "__main__":
    main()
