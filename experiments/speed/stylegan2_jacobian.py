"""What gradients through a StyleGAN2 and a CLIP cost: seconds and memory, Jacobian batch after batch.

    python experiments/speed/stylegan2_jacobian.py --iterations 200 --out stylegan2_jacobian.csv

Objective and two measures of 8 points in W, at 256×256 under ViT-B-32. Both networks have random weights,
which cost what trained ones do; they are written to a temporary folder and loaded as anyone's are.
`--generator FOLDER` takes a converted StyleGAN2 instead, `--pretrained TAG` weights of open_clip, `--clip`
also a folder (`local-dir:FOLDER`). A row an iteration:

    seconds   of the Jacobian
    memory    GiB in use after it (of the process, or on the graphics card)
    peak      GiB, the most so far
    tensors   that were made since the beginning and are alive after it

It ends with 1 where the peak is above `--limit` GiB, or where tensors or memory grow.
"""

import argparse
import gc
import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

import qdgs
from qdgs.clip.sources import EMBEDDED
from qdgs.compat import import_open_clip
from qdgs.config import GuideConfig
from qdgs.errors import InputError, QdgsError
from qdgs.generators.stylegan2 import SPACES, StyleGAN2
from qdgs.generators.stylegan2_convert import LATENTS, SEED, mapped
from qdgs.generators.stylegan2_files import Source, Statistics, write_folder
from qdgs.generators.stylegan2_networks import Architecture, Network
from qdgs.search.evaluation import Evaluator

GIBIBYTE = 2**30
COLUMNS = ["iteration", "seconds", "memory", "peak", "tensors"]
ROUNDING = 0.02
"""Share by which memory in use may wander: what an allocator keeps is not all in use."""

MEASURES = [
    {"name": "skin", "low": "A person with dark skin.", "high": "A person with light skin."},
    {"name": "age", "low": "A person in their 20s.", "high": "A person in their 50s."},
]


def architecture_of(resolution: int, channel_base: int) -> Architecture:
    """The published shape: 32,768 / size channels at most 512 for 1024 pixels, half as many for 256."""
    sizes = [4 << index for index in range((resolution // 4).bit_length())]
    return Architecture(
        resolution=resolution,
        channels=tuple(min(channel_base // size, 512) for size in sizes),
        mapping=(512,) * 9,
        mapping_rate=0.01,
        clamp=256.0,
        half_blocks=4,
        noise=True,
    )


def random_weights(architecture: Architecture, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Weights of the sizes that training begins with, with statistics of w that fit them; and w."""
    random = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(value.shape, generator=random)
        for name, value in Network(architecture).state_dict().items()
    }
    for name, value in tensors.items():
        if name.startswith("mapping.fc"):
            value /= architecture.mapping_rate
        elif name.endswith("affine.bias"):
            value.fill_(1)
        elif name.endswith(("bias", "noise_strength")):
            value.mul_(0.1)
    w = mapped(architecture, tensors)
    return {**tensors, "mapping.w_avg": w.mean(dim=0), "w_std": w.std(dim=0)}, w


def random_generator(folder: Path, architecture: Architecture, seed: int) -> Path:
    """The folder of a StyleGAN2 of random weights."""
    tensors, w = random_weights(architecture, seed)
    norms = ((w - tensors["mapping.w_avg"]) / tensors["w_std"]).norm(dim=1)
    statistics = Statistics(latents=LATENTS, seed=SEED, norm=norms.mean().item())
    write_folder(folder, tensors, architecture, Source(file="random weights", sha256=""), statistics)
    return folder


def random_clip(folder: Path, model: str, seed: int) -> Path:
    """The folder of a CLIP of random weights, as open_clip's `local-dir:` reads it."""
    open_clip = import_open_clip()
    config = open_clip.get_model_config(model)
    if config is None:
        raise InputError(f"--clip: expected an architecture of open_clip, got {model!r}")
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    logging.getLogger().addFilter(lambda record: "random" not in record.getMessage())  # it is what is wanted
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = open_clip.create_model(model).state_dict()
    tensors = {name: value.contiguous() for name, value in state.items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


def scorer_of(args: argparse.Namespace, temporary: Path) -> qdgs.Scorer:
    """Generator and guide joined."""
    folder = args.generator
    if folder is None:
        shape = architecture_of(args.resolution, args.channel_base)
        folder = random_generator(temporary / "generator", shape, args.seed)
    clip = {"model": args.clip, "pretrained": args.pretrained}
    if args.pretrained is None and ":" not in args.clip and args.clip not in EMBEDDED:
        clip["model"] = f"local-dir:{random_clip(temporary / 'clip', args.clip, args.seed)}"
    config = GuideConfig.model_validate(
        {"clip": clip, "objective": {"positive": "A photo of a person."}, "measures": MEASURES}
    )
    generator = StyleGAN2(str(folder), space=args.space, device=args.device)
    return qdgs.Scorer(generator, qdgs.load_guide(config, device=args.device), seed=args.seed)


def iterations(scorer: qdgs.Scorer, args: argparse.Namespace) -> Iterator[dict[str, float]]:
    """A Jacobian batch after the other, and what it took."""
    evaluator = Evaluator(
        scorer,
        latent_dim=scorer.generator.latent_dim,
        measure_dim=len(MEASURES),
        micro_batch=args.batch,
        device=args.device,
    )
    gc.freeze()  # what is there already is not looked through again and again
    for iteration in range(args.iterations):
        rng = qdgs.stream(args.seed, qdgs.Stream.PRIOR, iteration)
        latents = scorer.generator.sample_latents(args.batch, rng).numpy()
        begun = time.monotonic()
        jacobian = evaluator.jacobians(latents).jacobian
        assert jacobian is not None
        assert np.abs(jacobian).max(axis=2).min() > 0, "a gradient is lost"
        row = {"iteration": iteration, "seconds": time.monotonic() - begun}
        yield row | memory(torch.device(args.device)) | {"tensors": alive()}
    gc.unfreeze()


def memory(device: torch.device) -> dict[str, float]:
    """GiB in use now, and at most so far."""
    if device.type == "cuda":
        used, most = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    else:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used, most = pages * resource.getpagesize(), 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory": used / GIBIBYTE, "peak": most / GIBIBYTE}


def alive() -> int:
    """Tensors that something holds, but for those that were there at the beginning."""
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def growth(rows: pd.DataFrame) -> dict[str, float]:
    """From the second quarter of the iterations to the last, by medians: GiB, and tensors."""
    quarter = max(len(rows) // 4, 1)
    early, late = rows[quarter : 2 * quarter], rows[-quarter:]
    early = early if len(early) else rows[:1]
    return {name: float(late[name].median() - early[name].median()) for name in ("memory", "tensors")}


def verdict(rows: pd.DataFrame, limit: float) -> list[str]:
    """What is wrong, in sentences."""
    grown, peak = growth(rows), rows["peak"].max()
    faults = [f"the peak of {peak:.2f} GiB is above {limit:g} GiB"] if peak > limit else []
    if grown["tensors"] > 0:
        faults.append(f"{grown['tensors']:.0f} more tensors are alive at the end")
    if grown["memory"] > ROUNDING * rows["memory"].median():
        faults.append(f"memory grew by {1024 * grown['memory']:.0f} MiB")
    return faults


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8, help="points of one Jacobian batch")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--channel-base", type=int, default=16384, help="16,384 as published at 256 pixels")
    parser.add_argument("--generator", help="folder that qdgs convert stylegan2 wrote")
    parser.add_argument("--space", choices=SPACES, default="w")
    parser.add_argument("--clip", default="ViT-B-32", help="architecture of open_clip")
    parser.add_argument("--pretrained", help="its tag of weights")
    parser.add_argument("--limit", type=float, default=24.0, help="GiB of memory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    for name in ("iterations", "batch", "channel_base", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(args, name)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Carry it out and write the table.

    Returns:
        The exit code.
    """
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for row in iterations(scorer_of(args, Path(temporary)), args):
            rows.append(row)
            pd.DataFrame(rows, columns=COLUMNS).to_csv(args.out, index=False, float_format="%.6g")
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(
        f"{args.out} · {table['seconds'].median():.2f} s a batch of {args.batch} · peak "
        f"{table['peak'].max():.2f} GiB · memory {1024 * growth(table)['memory']:+.0f} MiB"
    )
    faults = verdict(table, args.limit)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
