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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from agreement import agreement
from captions import Facts, Fit, captions, vocabulary
from pools import SIZE, Pool, Pools, drawn_pool, facts_of, latents_pool, prior_pool
from qdgs.clip.encoder import ClipEncoder
from qdgs.compat import import_open_clip
from qdgs.config import RunConfig, SearchConfig, load_config
from qdgs.generators.shapes_vae import ShapesVAE
from qdgs.guides.prompts import PromptGuide
from qdgs.search.loop import illuminate
from qdgs.search.state import Search

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


SOURCE = (
    "trained by this project on its own drawings and on samples of shapes-vae, captioned by the judge "
    "shape-geometry, which therefore taught this guide its words"
)
HOW = "accuracies are balanced, at the best cut of the same pictures: upper bounds"
UNKNOWN = (
    "anything but triangles, squares and blots in red, blue, purple, green, yellow, orange, black and gray "
    "on white: no other shape, colour, texture, count, place or object"
)


@dataclass(frozen=True)
class Lesson:
    """A model, its captions, and which of them the configuration uses as prompts (always in a batch).

    Attributes:
        model: open_clip's CLIP.
        tokens: `(captions, context_length)`.
        fits: How well each caption fits a picture, given its facts.
        prompts: Rows of the captions that are prompts.
    """

    model: torch.nn.Module
    tokens: Tensor
    fits: tuple[Fit, ...]
    prompts: Tensor

    @classmethod
    def of(cls, config: RunConfig) -> "Lesson":
        """A fresh model and the captions; every prompt of the configuration must be among them."""
        open_clip = import_open_clip()
        phrases, fits = zip(*captions(), strict=True)
        prompts = [*config.guide.objective.positive, *config.guide.objective.negative]
        prompts += [prompt for measure in config.guide.measures for prompt in (*measure.low, *measure.high)]
        model = open_clip.model.CLIP(**CONFIG["model_cfg"])
        tokens = open_clip.SimpleTokenizer(context_length=32)(list(phrases))
        return cls(model, tokens, fits, torch.tensor([phrases.index(prompt) for prompt in prompts]))

    def train(
        self, pictures: Tensor, facts: Facts, weights: np.ndarray, *, steps: int, rate: float, seed: int
    ) -> None:
        """One round: sigmoid loss between pictures and captions, targets the captions' fit."""
        target = torch.tensor(np.stack([fit(facts) for fit in self.fits], axis=1), dtype=torch.float32)
        generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
        self.model.train()
        began = time.time()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate_of(step, steps, rate)
            rows = torch.from_numpy(rng.choice(len(pictures), 192, p=weights))
            chosen = torch.cat([self.prompts, torch.randperm(len(self.tokens), generator=generator)[:72]])
            images = turned(pictures[rows].float() / 255, rng)
            loss = self._loss(images, target[rows][:, chosen], chosen)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            if (step + 1) % 100 == 0:
                print(f"{step + 1} {time.time() - began:.0f}s loss {loss.item():.4f}", flush=True)
        self.model.eval()

    def _loss(self, images: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.encode_image((images - 0.5) / 0.5)
        image = functional.normalize(image.float(), dim=1)
        text = functional.normalize(self.model.encode_text(self.tokens[chosen]), dim=1)
        logits = self.model.logit_scale.exp() * image @ text.T + self.model.logit_bias
        loss = functional.binary_cross_entropy_with_logits(logits, target.clamp(0.02, 0.98), reduction="none")
        prompts = len(self.prompts)
        return loss[:, :prompts].mean() + loss[:, prompts:].mean()


def rate_of(step: int, steps: int, rate: float) -> float:
    """Warm-up and cosine."""
    return rate * min(1, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def turned(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The batch mirrored and turned by a quarter at random: no caption speaks of that."""
    images = images.rot90(int(rng.integers(0, 4)), (2, 3))
    return images.flip(3) if rng.random() < 0.5 else images


def save_model(model: torch.nn.Module, folder: Path, command: str, facts: dict) -> None:
    """The `local-dir:` layout of open_clip, weights in float16, with the card."""
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
        "how": HOW,
        "taught_by": "shape-geometry",
        **facts,
        "vocabulary": vocabulary(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def hunt(guide: PromptGuide, config: RunConfig, seed: int, evaluations: int) -> Tensor:
    """Latents that a search against the guide keeps, the prior's shell left out of its objective."""
    generator = ShapesVAE()
    search = Search.begin(
        SearchConfig(algorithm="cma_mae", emitters=8, batch_size=32, evaluations=evaluations, reservoir=4),
        config.guide.measures,
        lambda latents: tuple(guide.score(generator(latents))),
        latent_dim=generator.latent_dim,
        differentiable=True,
        sample_prior=generator.sample_latents,
        seed=seed,
    )
    *_, last = illuminate(search)
    print(last, flush=True)
    frame = search.reservoir_frame()
    columns = [name for name in frame if name.startswith("latent_")]
    return torch.tensor(frame[columns].to_numpy(np.float32))


def arguments() -> argparse.Namespace:
    """The command line."""
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
    return parser.parse_args()


def joined(pools: list[Pool]) -> tuple[Tensor, Facts, np.ndarray]:
    """All pictures, their facts and the probability of drawing each: what a search found weighs 30 %."""
    facts = [facts_of(frame) for _, frame in pools]
    columns = (np.concatenate([getattr(f, name) for f in facts]) for name in Facts.__dataclass_fields__)
    found = len(pools) - 2
    shares = [0.25, 0.45, *([0.3 / max(1, found)] * found)]
    weights = np.concatenate([np.full(len(p), s / len(p)) for (p, _), s in zip(pools, shares, strict=True)])
    pictures = torch.from_numpy(np.concatenate([pool[0] for pool in pools]))
    return pictures, Facts(*columns), weights / weights.sum()


def main() -> None:
    """Pools, rounds of training and searching, card."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    config = load_config(args.config)
    kept = Pools(args.work)

    def random(index: int) -> np.random.Generator:
        return np.random.default_rng([args.seed, index])

    pools = [
        kept.get("drawn", lambda: drawn_pool(args.drawings, np.random.default_rng(args.seed))),
        kept.get("prior", lambda: prior_pool(args.samples, random(1))),
    ]
    held_out = {
        "held_out_samples": kept.get("held_out", lambda: prior_pool(3000, random(2))),
        "held_out_drawings": kept.get("held_drawn", lambda: drawn_pool(2000, random(3))),
    }
    lesson = Lesson.of(config)
    command = "python experiments/weights/qdgs_mini.py --out qdgs/weights/qdgs-mini "
    command += f"--seed {args.seed} --steps {' '.join(map(str, args.steps))}"
    rounds = []
    for index, steps in enumerate(args.steps):
        folder = args.work / f"round{index}"
        if (folder / "state.pt").exists():
            lesson.model.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
        else:
            rate = 2e-3 if index == 0 else 1e-3
            lesson.train(*joined(pools), steps=steps, rate=rate, seed=args.seed + index)
            save_model(lesson.model, folder, command, {})
            torch.save(lesson.model.state_dict(), folder / "state.pt")
        guide = PromptGuide(ClipEncoder.load(f"local-dir:{folder}", device="cpu"), config.guide)
        found = partial(hunt, guide, config, args.seed + 10 + index, args.hunt)
        elites = kept.get(f"elites{index}", lambda found=found: latents_pool(found()))
        seen = {**held_out, "elites_of_a_search": elites}
        rounds.append({name: agreement(guide, *pool) for name, pool in seen.items()})
        print(json.dumps(rounds[-1]), flush=True)
        pools.append(elites)
    save_model(lesson.model, args.out, command, {"figures": rounds[-1], "rounds": rounds})


if __name__ == "__main__":
    main()
