"""Whether the identities that were pre-trained on hold, to embeddings that are not the guide's."""

from collections.abc import Sequence
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
    "pretraining", "seed", "embedding", "compared", "images", "identities", "nearest", "nearest_low",
    "nearest_high", "equal_error_rate",
]  # fmt: skip


def purities(out: Path, arms: Sequence[str]) -> pd.DataFrame:
    """A row for each set of a seed, embedding, and kind of comparison.

    Embeddings are pixels, and the recogniser that saw the real set alone, where it was trained. Compared are
    images of an identity, and of clusters also images of different latents of it alone. What was measured is
    kept beside the set.
    """
    rows = []
    for folder in sorted(out.glob("seed-*"), key=_seed):
        names = [PIXELS, RECOGNISER] if (folder / JUDGE / BACKBONE).is_file() else [PIXELS]
        for arm in arms:
            if not (folder / f"set-{arm}.json").is_file():
                continue
            several = (False, True) if arm.endswith("clusters") else (False,)
            rows += [
                {
                    "pretraining": arm,
                    "seed": _seed(folder),
                    "embedding": name,
                    "compared": "latents" if apart else "images",
                    **_kept(folder, arm, name, apart),
                }
                for name in names
                for apart in several
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _seed(folder: Path) -> int:
    return int(folder.name.removeprefix("seed-"))


def _kept(folder: Path, arm: str, embedding: str, apart: bool) -> dict[str, float]:
    path = folder / f"set-{arm}" / f"purity-{embedding}{'-latents' if apart else ''}.json"
    if not path.is_file():
        write_json(path, _measured(folder, arm, embedding, apart))
    return read_json(path)


def _measured(folder: Path, arm: str, embedding: str, apart: bool) -> dict[str, float]:
    images = read_identities(folder / f"set-{arm}")
    sources = np.array(read_json(folder / f"set-{arm}.json")["latents"]) if apart else None
    if embedding == PIXELS:
        embeddings = thumbnails(pixels_of(images.files, SIDE))
    else:
        judge = load_backbone(folder / JUDGE)
        embeddings = embed(judge, pixels_of(images.files, judge.image_size))
    rng = stream(_seed(folder), Stream.BOOTSTRAP)
    purity = identity_purity(embeddings, images.labels, rng, sources=sources)
    return {
        "images": purity.images,
        "identities": purity.identities,
        "nearest": purity.nearest.value,
        "nearest_low": purity.nearest.low,
        "nearest_high": purity.nearest.high,
        "equal_error_rate": purity.equal_error_rate,
    }


def pixels_of(files: tuple[str, ...], side: int) -> Pixels:
    """Images `(n, side, side, 3)` of files."""
    return np.stack([read_image(file, side) for file in files])
