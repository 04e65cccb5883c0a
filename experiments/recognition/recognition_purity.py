"""Whether the identities that were pre-trained on hold, to embeddings that are not the guide's."""

from pathlib import Path

import numpy as np
import pandas as pd

from qdgs.files import read_json, write_json
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.checkpoint import BACKBONE, load_backbone
from qdgs.recognition.embedding import embed
from qdgs.recognition.images import read_identities, read_image
from qdgs.recognition.purity import identity_purity, thumbnails

PIXELS, RECOGNISER = "pixels", "recogniser"
SIDE = 64
JUDGE = "trained-none"
COLUMNS = [
    "pretraining", "seed", "embedding", "images", "identities", "nearest", "nearest_low", "nearest_high",
    "equal_error_rate",
]  # fmt: skip


def purities(out: Path, arms: list[str], seeds: range) -> pd.DataFrame:
    """A row for each set of a seed and embedding: pixels, and the recogniser that saw the real set alone.

    What was measured is kept beside the set; the recogniser is asked where it was trained.
    """
    rows = []
    for seed in seeds:
        folder = out / f"seed-{seed}"
        names = [PIXELS, RECOGNISER] if (folder / JUDGE / BACKBONE).is_file() else [PIXELS]
        for arm in arms:
            if (folder / f"set-{arm}.json").is_file():
                rows += [
                    {"pretraining": arm, "seed": seed, "embedding": name, **_kept(folder, arm, name, seed)}
                    for name in names
                ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _kept(folder: Path, arm: str, embedding: str, seed: int) -> dict[str, float]:
    path = folder / f"set-{arm}" / f"purity-{embedding}.json"
    if not path.is_file():
        write_json(path, _measured(folder, arm, embedding, seed))
    return read_json(path)


def _measured(folder: Path, arm: str, embedding: str, seed: int) -> dict[str, float]:
    images = read_identities(folder / f"set-{arm}")
    if embedding == PIXELS:
        embeddings = thumbnails(_pixels(images.files, SIDE))
    else:
        judge = load_backbone(folder / JUDGE)
        embeddings = embed(judge, _pixels(images.files, judge.image_size))
    purity = identity_purity(embeddings, images.labels, stream(seed, Stream.BOOTSTRAP))
    return {
        "images": purity.images,
        "identities": purity.identities,
        "nearest": purity.nearest.value,
        "nearest_low": purity.nearest.low,
        "nearest_high": purity.nearest.high,
        "equal_error_rate": purity.equal_error_rate,
    }


def _pixels(files: tuple[str, ...], side: int) -> Pixels:
    return np.stack([read_image(file, side) for file in files])
