"""Train the guide `qdgs-faces`: a small CLIP that knows how light, feminine and old a rendered face looks.

    python experiments/weights/faces_bank.py --out qdgs/weights/faces-bank
    python experiments/weights/qdgs_faces.py --out qdgs/weights/qdgs-faces

Pictures are samples of `dcgan-digiface`, captioned by the teachers `faces-dlib` and `face-light`, latents
beyond its prior and between two images, and samples spoiled in six ways. After each round the search is run
against the guide; what it finds is judged, captioned and added (hard negatives). The shipped bank's first
rows are held out. Resumable: pools, finished rounds and the state of an unfinished one lie in `--work`.
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

from faces_agreement import agreement
from faces_captions import FaceFacts, Fit, captions, vocabulary
from faces_lot import Lot
from faces_pools import SIZE, Pools, bank_pool, beyond_pool, latents_pool, moved, spoiled
from qdgs.clip.encoder import ClipEncoder
from qdgs.compat import import_open_clip
from qdgs.config import RunConfig, load_config, plain
from qdgs.files import fingerprint
from qdgs.generators.base import Generator
from qdgs.guides.prompts import PromptGuide
from qdgs.parts import load_generator
from qdgs.search.loop import illuminate
from qdgs.search.state import Search
from qdgs.stages.judged_bank import SHIPPED, JudgedBank
from qdgs.stages.scoring import Scorer

CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 24, "patch_size": None},
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
    "trained by this project on samples of dcgan-digiface (renders made from the scans of consenting "
    "people), captioned by the judges faces-dlib (age, presentation, whether a face is found and sharp) and "
    "face-light (apparent lightness), which therefore taught this guide its words"
)
UNKNOWN = (
    "hair (its length was not labelled), expression, pose, glasses, origin, identity, and anything but small "
    "rendered faces; nobody's gender or age: its words say how images look to two networks; nor the tone of "
    "skin: `dark skin` and `light skin` are the lightness of skin-coloured pixels, which exposure moves too"
)
HOW = (
    "rank correlations (Spearman) of a guide's measure with a judge's score, over the images that the "
    "teacher accepts and the judge can read; quality_auc: the objective against whether the teacher accepts"
)
SPOILED = 0.15
"""Share of a batch that is spoiled on the way."""
SAVED_EVERY = 100
SETTINGS = ("seed", "held_out", "samples", "beyond", "batch", "balance", "decorrelation", "judged")
HUNTS = [Path(f"experiments/weights/faces_hunt_{name}.yaml") for name in ("near", "near", "far")]


@dataclass(frozen=True)
class Lesson:
    """A model, its captions, and which of them the configuration uses as prompts (always in a batch).

    Attributes:
        model: open_clip's CLIP.
        tokens: `(captions, context_length)`.
        fits: How well each caption fits a picture, given its facts.
        prompts: Rows of the captions that are prompts: the objective's two, then a low and a high one a
            measure, in the order of `FaceFacts.attributes`.
        decorrelation: Weight of what one measure may not tell of another's attribute.
    """

    model: torch.nn.Module
    tokens: Tensor
    fits: tuple[Fit, ...]
    prompts: Tensor
    decorrelation: float

    @classmethod
    def of(cls, config: RunConfig, decorrelation: float) -> "Lesson":
        """A fresh model and the captions; every prompt of the configuration must be among them."""
        open_clip = import_open_clip()
        phrases, fits = zip(*captions(), strict=True)
        prompts = [*config.guide.objective.positive, *config.guide.objective.negative]
        prompts += [prompt for measure in config.guide.measures for prompt in (*measure.low, *measure.high)]
        model = open_clip.model.CLIP(**CONFIG["model_cfg"])
        tokens = open_clip.SimpleTokenizer(context_length=32)(list(phrases))
        rows = torch.tensor([phrases.index(prompt) for prompt in prompts])
        return cls(model, tokens, fits, rows, decorrelation)

    def train(self, lot: Lot, state: Path, *, steps: int, batch: int, rate: float, seed: int) -> None:
        """One round, from where its state in a file says; every step has a seed of its own."""
        target = torch.tensor(
            np.stack([fit(lot.facts) for fit in self.fits], axis=1), dtype=torch.float16
        )  # NaN where nobody can tell
        attributes = torch.tensor(lot.facts.attributes, dtype=torch.float32)
        bad = torch.tensor([fit(_SPOILED)[0] for fit in self.fits], dtype=torch.float32)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
        first = self._resume(optimizer, state)
        self.model.train()
        began = time.time()
        for step in range(first, steps):
            rng = np.random.default_rng([seed, step])
            for group in optimizer.param_groups:
                group["lr"] = rate_of(step, steps, rate)
            rows = torch.from_numpy(np.sort(rng.choice(lot.size, batch, p=lot.weights)))
            images, known = lot.images(rows), attributes[rows]
            some = torch.from_numpy(rng.random(batch) < SPOILED)
            images[some] = spoiled(images[some], rng)
            known[some] = torch.nan
            chosen = torch.cat([self.prompts, torch.from_numpy(rng.permutation(len(self.tokens))[:72])])
            wanted = target[rows][:, chosen].float()
            wanted[some] = bad[chosen]
            loss = self._loss(moved(images, rng), wanted, known, chosen)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            if (step + 1) % SAVED_EVERY == 0:
                print(f"{step + 1} {time.time() - began:.0f}s loss {loss.item():.4f}", flush=True)
                self._save(optimizer, state, step + 1)
        self.model.eval()

    def _loss(self, images: Tensor, target: Tensor, known: Tensor, chosen: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.encode_image((images - 0.5) / 0.5)
        image = functional.normalize(image.float(), dim=1)
        text = functional.normalize(self.model.encode_text(self.tokens[chosen]), dim=1)
        fit = image @ text.T
        logits = self.model.logit_scale.exp() * fit + self.model.logit_bias
        told = ~target.isnan()
        wanted = target.nan_to_num().clamp(0.02, 0.98)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * told
        prompts = len(self.prompts)
        sides = (
            loss[:, :prompts].sum() / told[:, :prompts].sum(),
            loss[:, prompts:].sum() / told[:, prompts:].sum(),
        )
        measures = fit[:, 3:prompts:2] - fit[:, 2:prompts:2]
        return sides[0] + sides[1] + measure_loss(measures, known, self.decorrelation)

    def _resume(self, optimizer: torch.optim.Optimizer, path: Path) -> int:
        if not path.exists():
            return 0
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _save(self, optimizer: torch.optim.Optimizer, path: Path, step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".tmp")
        state = {"model": self.model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, partial_path)
        partial_path.replace(path)


_SPOILED = FaceFacts(*(np.array([value]) for value in (0.0, np.nan, np.nan, np.nan)))


def measure_loss(measures: Tensor, known: Tensor, decorrelation: float) -> Tensor:
    """How far measures `(n, 3)` are from telling their own attribute `(n, 3)`, and nothing of the others.

    Mean of 1 − correlation with the own attribute, plus the squared coefficients of the other attributes in
    the least-squares fit of the standardised measure by all attributes: what it tells of them beyond what
    its own attribute, correlated with them in the batch, tells already.
    """
    rows = ~known.isnan().any(dim=1)
    if int(rows.sum()) < 16:
        return measures.new_zeros(())
    facts, values = (_standardised(part[rows]) for part in (known, measures))
    own = (facts * values).mean(dim=0)
    coefficients = torch.linalg.pinv(facts) @ values
    others = coefficients - torch.diag(coefficients.diagonal())
    return (1 - own).mean() + decorrelation * others.square().sum() / 6


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)) / values.std(dim=0, correction=0).clamp_min(1e-4)


def rate_of(step: int, steps: int, rate: float) -> float:
    """Warm-up and cosine."""
    return rate * min(1, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def save_model(model: torch.nn.Module, folder: Path, command: str, facts: dict[str, object]) -> None:
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
        "taught_by": "faces-dlib and face-light",
        **facts,
        "vocabulary": vocabulary(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def hunt(guide: PromptGuide, config: RunConfig, generator: Generator, *, seed: int, most: int) -> Tensor:
    """Latents `(at most `most`, latent_dim)` that the configuration's search against the guide keeps."""
    search = Search.begin(
        config.search,
        config.guide.measures,
        Scorer(generator, guide, seed=seed),
        latent_dim=generator.latent_dim,
        differentiable=generator.differentiable,
        sample_prior=generator.sample_latents,
        seed=seed,
    )
    *_, last = illuminate(search)
    print(last, flush=True)
    frame = search.reservoir_frame()
    columns = [name for name in frame if name.startswith("latent_")]
    rows = np.random.default_rng(seed).permutation(len(frame))[:most]
    return torch.tensor(frame[columns].to_numpy(np.float32)[rows])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/qdgs-faces"))
    parser.add_argument("--bank", type=Path, default=SHIPPED)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=HUNTS,
        help="a round's search; the last goes on for the rest",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--held-out", type=int, default=10_000, help="first rows of the bank, never trained on"
    )
    parser.add_argument("--samples", type=int, default=50_000, help="rows of the bank after those")
    parser.add_argument("--beyond", type=int, default=6_000)
    parser.add_argument("--steps", type=int, nargs="+", default=[4000, 1200, 1200, 1200, 1200])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--balance", type=float, default=0.8)
    parser.add_argument("--decorrelation", type=float, default=1.0)
    parser.add_argument("--judged", type=int, default=3_000, help="of what it finds, that many are judged")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def command_of(args: argparse.Namespace) -> str:
    """What makes these weights again."""
    given = " ".join(f"--{key.replace('_', '-')} {getattr(args, key)}" for key in SETTINGS)
    steps, hunts = (" ".join(map(str, values)) for values in (args.steps, args.config))
    script = "python experiments/weights/qdgs_faces.py --out qdgs/weights/qdgs-faces"
    return f"{script} {given} --steps {steps} --config {hunts}"


def places(args: argparse.Namespace, made_of: list[object], configs: list[RunConfig]) -> list[Path]:
    """A folder a round, named by all that it rests on: further rounds leave earlier ones as they are."""
    key = fingerprint([made_of, [getattr(args, key) for key in SETTINGS], CONFIG])
    folders = []
    for index, steps in enumerate(args.steps):
        told = plain(configs[index])
        key = fingerprint([key, steps, told["guide"], told["search"]])
        folders.append(args.work / f"round{index}-{key[:12]}")
    return folders


def main() -> None:
    """Pools, rounds of training and searching, card."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    hunts = [load_config(args.config[min(index, len(args.config) - 1)]) for index in range(len(args.steps))]
    command = command_of(args)
    bank, generator = JudgedBank.open(args.bank), load_generator("dcgan-digiface")
    made_of = [bank.card["sha256"], args.seed, args.held_out, args.samples, args.beyond]
    kept = Pools(args.work / f"pools-{fingerprint(made_of)[:12]}")
    held, last = args.held_out, min(args.held_out + args.samples, len(bank))
    prior = kept.get("prior", lambda: bank_pool(bank, generator, range(held, last)))
    held_out = kept.get("held_out", lambda: bank_pool(bank, generator, range(held)))
    beyond = kept.get(
        "beyond", lambda: beyond_pool(generator, args.beyond, np.random.default_rng([args.seed, 1]))
    )
    lesson = Lesson.of(hunts[0], args.decorrelation)
    rounds, found = [], []
    for index, folder in enumerate(places(args, made_of, hunts)):
        config = hunts[index]
        if (folder / "state.pt").exists():
            lesson.model.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
            lesson.model.eval()
        else:
            lesson.train(
                Lot.of(prior, beyond, found, args.balance),
                folder / "unfinished.pt",
                steps=args.steps[index],
                batch=args.batch,
                rate=2e-3 if index == 0 else 1e-3,
                seed=args.seed + index,
            )
            save_model(lesson.model, folder, command, {})
            torch.save(lesson.model.state_dict(), folder / "state.pt")
        # the first hunt is not held by the prior's shell, so that it finds what lies beyond
        weights = config.guide.weights.model_copy(update={"latent_norm": 0.0} if index == 0 else {})
        guide = PromptGuide(
            ClipEncoder.load(f"local-dir:{folder}", device="cpu"),
            config.guide.model_copy(update={"weights": weights}),
        )
        seek = partial(hunt, seed=args.seed + 10 + index, most=args.judged)
        elites = Pools(folder).get(
            "elites",
            lambda guide=guide, seek=seek, config=config: latents_pool(
                generator, seek(guide, config, generator)
            ),
        )
        seen = {"held_out_samples": held_out, "elites_of_a_search": elites}
        rounds.append({name: agreement(guide, *pool) for name, pool in seen.items()})
        print(json.dumps(rounds[-1]), flush=True)
        found.append(elites)
    labelled = sum(len(pictures) for pictures, _ in (prior, held_out, beyond, *found))
    told = {"figures": rounds[-1], "rounds": rounds, "images_labelled_by_the_teachers": labelled}
    save_model(lesson.model, args.out, command, told)


if __name__ == "__main__":
    main()
