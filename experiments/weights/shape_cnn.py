"""Train the auditor `shape-cnn` on drawn figures only: clean, blurred, deformed, and what is no figure.

python experiments/weights/shape_cnn.py --out qdgs/weights/shape-cnn
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qdgs.datasets.drawing import clean_figures, deform, draw, mix_colors, splatters
from qdgs.judges.shape_cnn import INPUT_SIZE, ShapeNetwork
from qdgs.weights import write_weights

TRIANGLE, SQUARE, NEITHER = 0, 1, 2


def colors(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours `(n, 3)`, their place between red and blue, and whether they lie on that line at all."""
    place = np.where(rng.random(n) < 0.4, rng.integers(0, 2, n).astype(float), rng.random(n))
    on_line = rng.random(n) < 0.85
    line = np.clip(mix_colors(place) + rng.normal(0, 0.03, (n, 3)), 0, 1)
    other = rng.random((n, 3)) * 0.8
    far = np.linalg.norm(other[:, None] - mix_colors(np.linspace(0, 1, 21))[None], axis=2).min(1) > 0.3
    on_line = on_line | ~far
    return np.where(on_line[:, None], line, other), place, on_line


def examples(n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images `(n, 3, 64, 64)`, classes, places of colours, whether a colour lies on the line."""
    rgb, place, on_line = colors(n, rng)
    shape = rng.integers(0, 2, n)
    figures = clean_figures(shape, rgb, rng, image_size=INPUT_SIZE)
    figures = replace(
        figures,
        side=figures.side * torch.tensor(np.exp(rng.normal(0, 0.1, n)), dtype=torch.float32),
        center=figures.center + torch.tensor(rng.normal(0, 0.02, (n, 2)), dtype=torch.float32),
        softness=torch.tensor(rng.uniform(1, 3.2, n) / INPUT_SIZE, dtype=torch.float32),
        opacity=torch.tensor(rng.uniform(0.8, 1, n), dtype=torch.float32),
        wobble=torch.tensor(rng.uniform(0, 0.03, n), dtype=torch.float32),
        waves=torch.tensor(rng.integers(2, 8, n), dtype=torch.float32),
        stretch=torch.tensor(rng.uniform(0.95, 1.05, n), dtype=torch.float32),
        morph=(
            torch.tensor(shape - 0.5, dtype=torch.float32) * torch.tensor(rng.uniform(0.84, 1, n)) + 0.5
        ).float(),
        fade=torch.tensor(rng.uniform(0, 0.15, n), dtype=torch.float32),
    )
    kind = rng.random(n)
    bad = deform(figures, rng)
    images = draw(figures, INPUT_SIZE)
    spoiled = torch.tensor(kind < 0.35)
    images[spoiled] = draw(bad[spoiled], INPUT_SIZE)
    blots = torch.tensor((kind >= 0.35) & (kind < 0.45))
    images[blots] = splatters(int(blots.sum()), rng, image_size=INPUT_SIZE)
    other = torch.tensor((kind >= 0.45) & (kind < 0.5))
    images[other] = torch.minimum(images[other], images[other].roll((9, -7), (2, 3)).flip(0))
    label = torch.tensor(np.where(kind < 0.5, NEITHER, shape))
    noise = torch.from_numpy(rng.normal(0, 0.01, images.shape).astype(np.float32))
    return (images + noise).clamp(0, 1), label, torch.tensor(place).float(), torch.tensor(on_line).float()


def loss_of(outputs: Tensor, label: Tensor, place: Tensor, on_line: Tensor) -> Tensor:
    """Cross-entropy of the shape; of figures also the colour's squared error and validity."""
    figure = (label != NEITHER).float()
    color = ((outputs[:, 3] - place).square() * figure * on_line).sum() / (figure * on_line).sum()
    valid = functional.binary_cross_entropy_with_logits(outputs[:, 4], on_line, weight=figure)
    return functional.cross_entropy(outputs[:, :3], label) + 10 * color + valid


def main() -> None:
    """Parse arguments, train, measure on fresh drawings, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    network = ShapeNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    began = time.time()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        images, *targets = examples(args.batch_size, rng)
        loss = loss_of(network(images), *targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 250 == 0:
            print(f"{step + 1} {time.time() - began:.0f}s loss {loss.item():.4f}", flush=True)
    network.eval()
    with torch.no_grad():
        held = [examples(250, rng) for _ in range(8)]
        outputs = torch.cat([network(images) for images, *_ in held])
    label = torch.cat([row[1] for row in held])
    place, on_line = torch.cat([row[2] for row in held]), torch.cat([row[3] for row in held])
    use = (label != NEITHER) & (on_line > 0)
    figures = {
        "held_out_drawings": len(label),
        "shape_accuracy": round(float((outputs[:, :3].argmax(1) == label).float().mean()), 4),
        "color_rms_error": round(float((outputs[:, 3] - place)[use].square().mean().sqrt()), 4),
    }
    print(figures)
    command = "python experiments/weights/shape_cnn.py --out qdgs/weights/shape-cnn "
    command += f"--seed {args.seed} --steps {args.steps}"
    write_weights(
        args.out,
        network.state_dict(),
        command=command,
        licence="MIT",
        source="trained by this project on its own drawings only; "
        "it never saw the guide, the geometry judge or a generator's sample",
        seed=args.seed,
        held_out=figures,
    )


if __name__ == "__main__":
    main()
