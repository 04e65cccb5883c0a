"""Train the embedded guide `qdgs-mini`: a small CLIP that knows coloured triangles, squares, and blots.

    python experiments/weights/qdgs_mini.py --out qdgs/weights/qdgs-mini

Pictures are drawings and samples of `shapes-vae` in and beyond its prior, captioned by the teacher judge
`shape-geometry`. After each round the search is run against the guide; what it finds is judged, captioned
and added (hard negatives). Resumable: finished pools and rounds lie in `--work`.
"""

import argparse
import hashlib
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn import functional

from captions import OTHER_COLORS, Facts, captions, vocabulary
from qdgs.compat import import_open_clip
from qdgs.config import load_config
from qdgs.datasets.drawing import clean_figures, deform, draw, mix_colors, splatters
from qdgs.generators.base import generate
from qdgs.generators.shapes_vae import ShapesVAE
from qdgs.guides.clip import ClipEncoder
from qdgs.guides.prompts import PromptGuide
from qdgs.judges.shape_geometry import ShapeGeometry
from qdgs.search.loop import illuminate
from qdgs.search.state import Search

SIZE = 64
CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 2},
        "init_logit_bias": -2.0,
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


def small(images: Tensor) -> np.ndarray:
    """The guide's own size, uint8."""
    resized = functional.interpolate(images, size=SIZE, mode="bicubic", antialias=True)
    return (resized.clamp(0, 1) * 255).round().byte().numpy()


def judged(images: Tensor) -> tuple[np.ndarray, pd.DataFrame]:
    """The pictures in the guide's size and what the teacher says of them."""
    return small(images), ShapeGeometry().judge(images)


def drawn_pool(n: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Drawings: half clean or slightly soft, a third spoiled, the rest splatters."""
    pictures, frames = [], []
    names = list(OTHER_COLORS)
    for _ in range(0, n, 200):
        place = np.where(rng.random(200) < 0.4, rng.integers(0, 2, 200).astype(float), rng.random(200))
        other = np.where(rng.random(200) < 0.2, rng.integers(0, len(names), 200), -1)
        palette = np.array([OTHER_COLORS[name] for name in names])
        rgb = np.where((other >= 0)[:, None], palette[other], mix_colors(place)) + rng.normal(
            0, 0.03, (200, 3)
        )
        figures = clean_figures(rng.integers(0, 2, 200), rgb.clip(0, 1), rng)
        soft = torch.tensor(rng.uniform(1, 5, 200) / 128, dtype=torch.float32)
        figures = replace(figures, softness=soft)
        images = draw(figures)
        images[100:170] = draw(deform(figures[100:170], rng))
        images[170:] = splatters(30, rng)
        picture, frame = judged(images)
        frame["other"] = np.where(np.arange(200) < 170, other, -1)
        pictures.append(picture)
        frames.append(frame)
    return np.concatenate(pictures), pd.concat(frames, ignore_index=True)


def latents_pool(latents: Tensor) -> tuple[np.ndarray, pd.DataFrame]:
    """The generator's pictures of latents."""
    pairs = [judged(images) for images in generate(ShapesVAE(), latents, 250)]
    frame = pd.concat([pair[1] for pair in pairs], ignore_index=True).assign(other=-1)
    return np.concatenate([pair[0] for pair in pairs]), frame


def prior_pool(n: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Samples of the generator: half from the prior, half up to twice as far out."""
    latents = ShapesVAE().sample_latents(n, rng)
    scale = np.where(np.arange(n) % 2, 1.0, rng.uniform(0.3, 2.0, n))
    return latents_pool(latents * torch.tensor(scale, dtype=torch.float32)[:, None])


def facts_of(frame: pd.DataFrame) -> Facts:
    """The teacher's opinion as facts that captions are written from."""
    good = expit((frame["quality"].to_numpy(float) - 0.05) / 0.05)
    score = np.nan_to_num(frame["shape_score"].to_numpy(float))
    other = frame["other"].to_numpy(int)
    blue = np.where(other >= 0, np.nan, frame["color_score"].to_numpy(float))
    return Facts(good, np.clip(score / 0.7 + 0.5, 0, 1), blue, other, frame["area"].to_numpy(float))


def train_round(model, tokens: Tensor, pool, steps: int, rate: float, seed: int, began: float) -> None:
    """One round: sigmoid loss between pictures and captions, targets the captions' fit."""
    pictures, fits, weights = pool
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    model.train()
    fixed = torch.tensor(PROMPT_ROWS)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = (
                rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            )
        rows = torch.from_numpy(rng.choice(len(pictures), 192, p=weights))
        chosen = torch.cat([fixed, torch.randperm(len(tokens), generator=generator)[:72]])
        images = turned(pictures[rows].float() / 255, rng)
        with torch.autocast("cpu", torch.bfloat16):
            image = model.encode_image((images - 0.5) / 0.5)
        image = functional.normalize(image.float(), dim=1)
        text = functional.normalize(model.encode_text(tokens[chosen]), dim=1)
        logits = model.logit_scale.exp() * image @ text.T + model.logit_bias
        target = fits[rows][:, chosen].clamp(0.02, 0.98)
        loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = loss[:, : len(fixed)].mean() + loss[:, len(fixed) :].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(
                f"{step + 1} {time.time() - began:.0f}s loss {loss.item():.4f} scale {model.logit_scale.exp().item():.1f}",
                flush=True,
            )
    model.eval()


def turned(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The batch mirrored and turned by a quarter at random: no caption speaks of that."""
    images = images.rot90(int(rng.integers(0, 4)), (2, 3))
    return images.flip(3) if rng.random() < 0.5 else images


PROMPT_ROWS: list[int] = []
SOURCE = (
    "trained by this project on its own drawings and on samples of shapes-vae, captioned by the judge "
    "shape-geometry, which therefore taught this guide its words"
)
UNKNOWN = (
    "anything but triangles, squares and blots in red, blue, purple, green, yellow, orange, black and gray on "
    "white: no other shape, colour, texture, count, place or object"
)


def save_model(model, folder: Path, command: str, facts: dict) -> None:
    """The `local-dir:` layout of open_clip, weights in float16, with the card."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    content = save(
        {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    )
    (folder / "open_clip_model.safetensors").write_bytes(content)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    card = {
        "command": command,
        "licence": "MIT",
        "source": SOURCE,
        "does_not_know": UNKNOWN,
        **facts,
        "vocabulary": vocabulary(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def hunt(folder: Path, config_path: Path, seed: int, evaluations: int) -> Tensor:
    """Latents that a search against the guide keeps: its reservoir, and steps around it."""
    config = load_config(config_path, [f"search.evaluations={evaluations}", "search.reservoir=4"])
    guide = PromptGuide(ClipEncoder.load(f"local-dir:{folder}", device="cpu"), config.guide)
    generator = ShapesVAE()
    search = Search.begin(
        config.search,
        config.guide.measures,
        lambda latents: tuple(guide.score(generator(latents))),
        latent_dim=6,
        differentiable=True,
        sample_prior=generator.sample_latents,
        seed=seed,
    )
    *_, last = illuminate(search)
    print(last, flush=True)
    frame = search.reservoir_frame()
    columns = [name for name in frame if name.startswith("latent_")]
    return torch.tensor(frame[columns].to_numpy(np.float32))


def correlation(guide: PromptGuide, pictures: np.ndarray, frame: pd.DataFrame) -> dict[str, float]:
    """Held-out figures: how guide and teacher agree."""
    with torch.no_grad():
        scores = [
            guide.score(torch.from_numpy(pictures[i : i + 256]).float() / 255)
            for i in range(0, len(pictures), 256)
        ]
    objective = torch.cat([s.objective for s in scores]).numpy()
    measures = torch.cat([s.measures for s in scores]).numpy()
    good = frame["accepted"].to_numpy(bool)
    from sklearn.metrics import roc_auc_score

    result = {"n": len(frame), "accepted": round(float(good.mean()), 4)}
    if 0 < good.mean() < 1:
        result["quality_auc"] = round(float(roc_auc_score(good, objective)), 4)
    color = frame["color"].isin(["red", "blue"]).to_numpy() & good
    result["color_accuracy"] = round(
        best_accuracy(measures[color, 0], (frame["color"] == "blue").to_numpy()[color]), 4
    )
    shape = frame["shape"].isin(["triangle", "square"]).to_numpy() & good
    result["shape_accuracy"] = round(
        best_accuracy(measures[shape, 1], (frame["shape"] == "square").to_numpy()[shape]), 4
    )
    return result


def best_accuracy(values: np.ndarray, high: np.ndarray) -> float:
    """Balanced accuracy at the best cut."""
    order = np.argsort(values)
    high = high[order]
    below = np.concatenate([[0], np.cumsum(~high)]) / max((~high).sum(), 1)
    above = 1 - np.concatenate([[0], np.cumsum(high)]) / max(high.sum(), 1)
    return float((0.5 * (below + above)).max())


def main() -> None:
    """Pools, rounds, card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/qdgs-mini"))
    parser.add_argument("--config", type=Path, default=Path("configs/shapes.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drawings", type=int, default=14_000)
    parser.add_argument("--samples", type=int, default=30_000)
    parser.add_argument("--steps", type=int, nargs="+", default=[2200, 800, 800])
    parser.add_argument("--hunt", type=int, default=15_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    began = time.time()

    def pooled(name: str, make) -> tuple[np.ndarray, pd.DataFrame]:
        path = args.work / name
        if not path.with_suffix(".npy").exists():
            pictures, frame = make()
            frame.to_parquet(path.with_suffix(".parquet"))
            np.save(path.with_suffix(".npy"), pictures)
        frame = pd.read_parquet(path.with_suffix(".parquet"))
        print(
            f"{time.time() - began:.0f}s pool {name}: {len(frame)}, accepted {frame['accepted'].mean():.3f}",
            flush=True,
        )
        return np.load(path.with_suffix(".npy")), frame

    open_clip = import_open_clip()
    phrases, fits = zip(*captions(), strict=True)
    config = load_config(args.config)
    prompts = [*config.guide.objective.positive, *config.guide.objective.negative]
    prompts += [p for measure in config.guide.measures for p in (*measure.low, *measure.high)]
    PROMPT_ROWS.extend(phrases.index(prompt) for prompt in prompts)
    pools = [pooled("drawn", lambda: drawn_pool(args.drawings, rng))]
    pools.append(pooled("prior", lambda: prior_pool(args.samples, np.random.default_rng([args.seed, 1]))))
    held_out = pooled("held_out", lambda: prior_pool(3000, np.random.default_rng([args.seed, 2])))
    held_drawn = pooled("held_drawn", lambda: drawn_pool(2000, np.random.default_rng([args.seed, 3])))
    model = open_clip.model.CLIP(**CONFIG["model_cfg"])
    tokens = open_clip.SimpleTokenizer(context_length=32)(list(phrases))
    command = f"python experiments/weights/qdgs_mini.py --out qdgs/weights/qdgs-mini --seed {args.seed} --steps {' '.join(map(str, args.steps))}"
    figures: dict = {"rounds": []}
    for index, steps in enumerate(args.steps):
        folder = args.work / f"round{index}"
        state = folder / "state.pt"
        if state.exists():
            model.load_state_dict(torch.load(state, weights_only=True))
        else:
            pictures = torch.from_numpy(np.concatenate([pool[0] for pool in pools]))
            facts = [facts_of(pool[1]) for pool in pools]
            joined = Facts(
                *(np.concatenate([getattr(f, name) for f in facts]) for name in Facts.__dataclass_fields__)
            )
            target = torch.tensor(np.stack([fit(joined) for fit in fits], axis=1), dtype=torch.float32)
            shares = [0.25, 0.45, *([0.3 / max(1, len(pools) - 2)] * (len(pools) - 2))]
            weights = np.concatenate(
                [np.full(len(p[0]), s / len(p[0])) for p, s in zip(pools, shares, strict=True)]
            )
            train_round(
                model,
                tokens,
                (pictures, target, weights / weights.sum()),
                steps,
                2e-3 if index == 0 else 1e-3,
                args.seed + index,
                began,
            )
            folder.mkdir(exist_ok=True)
            torch.save(model.state_dict(), state)
            save_model(model, folder, command, {})
        guide = PromptGuide(ClipEncoder.load(f"local-dir:{folder}", device="cpu"), config.guide)
        report = {
            "held_out_samples": correlation(guide, *held_out),
            "held_out_drawings": correlation(guide, *held_drawn),
        }
        elites = pooled(
            f"elites{index}",
            lambda i=index, f=folder: latents_pool(hunt(f, args.config, args.seed + 10 + i, args.hunt)),
        )
        report["elites_of_a_search"] = correlation(guide, *elites)
        print(json.dumps(report), flush=True)
        figures["rounds"].append(report)
        pools.append(elites)
    save_model(model, args.out, command, {"figures": figures["rounds"][-1], "rounds": figures["rounds"]})


if __name__ == "__main__":
    main()
