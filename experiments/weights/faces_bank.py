"""Make the shipped bank of judged faces: random samples of `dcgan-digiface`, read once by three judges.

    python experiments/weights/faces_bank.py --out qdgs/weights/faces-bank

It takes the better part of an hour on two cores. Resumable: finished chunks lie in `--work`; killed, it goes
on with the next when it is called again. `qdgs.stages.judged_bank.JudgedBank` reads it.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from qdgs.generators.base import MICRO_BATCH, Generator, generate
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge, judge_batches
from qdgs.judges.face_light import FaceLight
from qdgs.parts import load_generator, load_judge
from qdgs.randomness import Stream, stream
from qdgs.stages.bank import BANK_SEED
from qdgs.stages.frames import read_frame, write_frame
from qdgs.stages.judged_bank import CARD, TABLE, group_counts, packed, sample_key

GENERATOR = "dcgan-digiface"
JUDGES = ("faces-dlib", "face-light", "faces-xception")
PACKAGES = ("numpy", "torch", "dlib-bin", "onnxruntime", "opencv-python-headless", "gan-face-generate")
READ_AT_ONCE = 256


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/faces-bank"))
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--chunk", type=int, default=960, help="rows that are read and kept together")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def read_chunk(generator: Generator, judges: Mapping[str, Judge], latents: Tensor) -> pd.DataFrame:
    """What every judge says of the samples of latents, columns `<judge>/<column>`."""
    images = torch.cat([as_stored(batch) for batch in generate(generator, latents, MICRO_BATCH)])
    frames = [
        judge_batches(judge, images.split(READ_AT_ONCE)).add_prefix(f"{name}/")
        for name, judge in judges.items()
    ]
    return pd.concat(frames, axis=1)


def make_chunks(args: argparse.Namespace, generator: Generator, judges: Mapping[str, Judge]) -> pd.DataFrame:
    """Every row, chunk by chunk; finished chunks are read from where they were kept."""
    latents = generator.sample_latents(args.rows, stream(BANK_SEED, Stream.BANK))
    chunks, began = [], time.time()
    for start in range(0, args.rows, args.chunk):
        rows = latents[start : start + args.chunk]
        path = args.work / f"rows-{start:06d}-{len(rows)}.parquet"
        if not path.is_file():
            write_frame(path, read_chunk(generator, judges, rows))
            print(f"{start + len(rows)} of {args.rows} rows, {time.time() - began:.0f}s", flush=True)
        chunks.append(read_frame(path, "faces_bank.py"))
    return pd.concat(chunks, ignore_index=True)


def figures(frames: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """What random samples are like: faces found, groups, and how much lightness follows exposure."""
    dlib, light, xception = (frames[name] for name in JUDGES)
    changes = FaceLight().exposure_changes(light)
    values = [light["lightness"], dlib["presentation"], dlib["age"]]
    both = dlib["accepted"] & xception["accepted"]
    agreement = {
        attribute: round(
            float(dlib[f"{attribute}_score"][both].corr(xception[f"{attribute}_score"][both], "spearman")), 4
        )
        for attribute in ("age", "presentation")
    }
    return {
        "face_found": {name: round(float(frames[name]["face_found"].mean()), 4) for name in JUDGES},
        "accepted": {name: round(float(frames[name]["accepted"].mean()), 4) for name in JUDGES},
        "groups": group_counts(values, dlib["accepted"]),
        "rank_correlation_of_dlib_and_xception": agreement,
        "another_lightness_class_at_one_stop": round(changes.lightness, 4),
        "another_tone_class_at_one_stop": round(changes.tone, 4),
    }


def write_bank(args: argparse.Namespace, rows: pd.DataFrame, keys: Mapping[str, str]) -> None:
    """The small table and its card."""
    frames = {
        name: rows[[column for column in rows if str(column).startswith(f"{name}/")]].rename(
            columns=lambda column: str(column).partition("/")[2]
        )
        for name in JUDGES
    }
    table, repeats = packed(frames)
    args.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), args.out / TABLE, compression="zstd")
    card = {
        "command": "python experiments/weights/faces_bank.py --out qdgs/weights/faces-bank "
        f"--rows {len(rows)}",
        "licence": "MIT",
        "source": f"random samples of {GENERATOR}, read by {', '.join(JUDGES)}; numbers, no images: latents "
        "are drawn again from the seed (qdgs.stages.judged_bank.JudgedBank)",
        "does_not_tell": "anyone's skin, gender or age: how rendered images look to two pairs of networks, "
        "and how light their skin-coloured pixels are",
        "generator": GENERATOR,
        "seed": BANK_SEED,
        "rows": len(rows),
        "micro_batch": MICRO_BATCH,
        "columns": {name: list(frame) for name, frame in frames.items()},
        "repeats": repeats,
        "keys": dict(keys),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "figures": figures(frames),
        "sha256": hashlib.sha256((args.out / TABLE).read_bytes()).hexdigest(),
    }
    (args.out / CARD).write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card["figures"], indent=2))


def main() -> None:
    """Read what was not read yet, and write the bank."""
    args = arguments()
    torch.set_num_threads(args.threads)
    generator = load_generator(GENERATOR)
    judges = {name: load_judge(name) for name in JUDGES}
    keys = {name: sample_key(generator, judge) for name, judge in judges.items()}
    args.work = args.work / hashlib.sha256(repr(keys).encode()).hexdigest()[:12]
    write_bank(args, make_chunks(args, generator, judges), keys)


if __name__ == "__main__":
    main()
