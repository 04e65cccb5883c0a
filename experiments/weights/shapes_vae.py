"""Train the embedded generator `shapes-vae` on colour-biased drawings.

    python experiments/weights/shapes_vae.py --out qdgs/weights/shapes-vae

The late steps see a stronger bias than the rest: from the start it would leave the rare groups ugly, without
it they are too common in samples.

Resumable: `--work` keeps a checkpoint; the same seed, machine and thread count give the same weights.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qdgs.datasets.drawing import BLUE, RED, clean_figures, coverage
from qdgs.generators.shapes_vae import Decoder, Encoder
from qdgs.weights import write_weights

WHITE = 1.0


def covers(n: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """How much of each pixel n clean figures cover, uint8 `(n, 1, 128, 128)`, and their shapes."""
    shape = np.arange(n) % 2
    figures = clean_figures(shape, np.zeros((n, 3)), rng)
    parts = [(coverage(figures[i : i + 200], 128) * 255).round().byte() for i in range(0, n, 200)]
    return torch.cat(parts), shape


def batch_of(cover: Tensor, shape: np.ndarray, bias: float, size: int, rng: np.random.Generator) -> Tensor:
    """Random images `(size, 3, 128, 128)`, mirrored at random, colours biased."""
    rows = rng.integers(0, len(cover), size)
    color = np.where(rng.random(size) < bias, shape[rows], 1 - shape[rows])
    palette = torch.tensor(np.array([RED, BLUE])[color], dtype=torch.float32)[:, :, None, None]
    share = cover[torch.from_numpy(rows)].float() / 255
    if rng.random() < 0.5:
        share = share.flip(3)
    return (WHITE - share * (WHITE - palette)).contiguous(memory_format=torch.channels_last)


def loss_of(
    encoder: Encoder, decoder: Decoder, images: Tensor, noise: Tensor, beta: float
) -> tuple[Tensor, ...]:
    """Squared error summed over pixels, and KL divergence in nats, means over the batch."""
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = encoder(images)
    mean, log_variance = mean.float(), log_variance.float().clamp(-12, 6)
    latents = mean + noise * (0.5 * log_variance).exp()
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder.logits(latents)
    error = (logits.float().sigmoid() - images).square().sum((1, 2, 3)).mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return error + beta * divergence, error, divergence


def rate_of(step: int, args: argparse.Namespace) -> float:
    """Warm-up and cosine; a quarter of the rate and a cosine again for the late steps."""
    if step >= args.steps:
        return 0.125 * args.learning_rate * (1 + math.cos(math.pi * (step - args.steps) / args.late_steps))
    return args.learning_rate * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / args.steps))


def train(args: argparse.Namespace) -> Decoder:
    """The training loop: Adam, warm-up, cosine."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    cover, shape = covers(args.drawings, rng)
    encoder = Encoder().to(memory_format=torch.channels_last)
    decoder = Decoder().to(memory_format=torch.channels_last)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=args.learning_rate)
    start, began = 0, time.time()
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        encoder.load_state_dict(state["encoder"])
        decoder.load_state_dict(state["decoder"])
        optimizer.load_state_dict(state["optimizer"])
        rng.bit_generator.state = state["rng"]
        start = state["step"]
    for step in range(start, args.steps + args.late_steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_of(step, args)
        bias = args.bias if step < args.steps else args.late_bias
        images = batch_of(cover, shape, bias, args.batch_size, rng)
        noise = torch.from_numpy(rng.standard_normal((args.batch_size, 6), dtype=np.float32))
        loss, error, divergence = loss_of(encoder, decoder, images, noise, args.beta)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 50.0)
        optimizer.step()
        if (step + 1) % 250 == 0:
            print(
                f"{step + 1} {time.time() - began:.0f}s error {error.item():.1f} kl {divergence.item():.2f}",
                flush=True,
            )
            torch.save(
                {
                    "encoder": encoder.state_dict(),
                    "decoder": decoder.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "rng": rng.bit_generator.state,
                    "step": step + 1,
                },
                checkpoint,
            )
    return decoder


def main() -> None:
    """Parse arguments, train, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/shapes-vae"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bias", type=float, default=0.95)
    parser.add_argument("--beta", type=float, default=6.0)
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--late-steps", type=int, default=3_000)
    parser.add_argument("--late-bias", type=float, default=0.985)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--drawings", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    decoder = train(args)
    command = (
        f"python experiments/weights/shapes_vae.py --out qdgs/weights/shapes-vae --seed {args.seed} "
        f"--bias {args.bias} --beta {args.beta} --steps {args.steps} --batch-size {args.batch_size} "
        f"--late-steps {args.late_steps} --late-bias {args.late_bias}"
    )
    write_weights(
        args.out,
        decoder.state_dict(),
        command=command,
        licence="MIT",
        source="trained by this project on its own drawings (qdgs.datasets.drawing)",
        seed=args.seed,
    )


if __name__ == "__main__":
    main()
