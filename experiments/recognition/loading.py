"""How many images a second reach a training, beside how many can merely be decoded.

    python experiments/recognition/loading.py --images 2000 --workers 0 1 2

Faces of 112 pixels as JPEG, augmented as published. Rates by clock and by this process's processor time,
which other programs on the machine do not change; of workers, the clock alone tells.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from qdgs.recognition.images import Batches, Faces, load, read_identities, read_image
from qdgs.recognition_config import AugmentationConfig

SIZE = 112


def write_faces(folder: Path, images: int) -> None:
    """Smooth pictures with some grain, which a JPEG codes in about as many bytes as a face."""
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).astype(float)
        pixels = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / f"{number // 10:05d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        path.write_bytes(buffer.getvalue())


def timed(name: str, images: int, work: Callable[[], object]) -> str:
    """Do the work and tell its rates."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return (
        f"{name:<24}{images / clock:10,.0f} a second {images / processor:10,.0f} a second of processor time"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description="Images a second of a recogniser's loader.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        write_faces(Path(name), given.images)
        images = read_identities(Path(name))
        faces = Faces(images, SIZE, AugmentationConfig(), seed=0)
        print(timed("decode alone", len(images), lambda: [read_image(file, SIZE) for file in images.files]))
        for workers in given.workers:
            batches = Batches(len(images), given.batch_size, 1, seed=0, rank=0, world=1)
            loader = load(faces, batches, workers=workers, device="cpu")
            told = len(batches) * given.batch_size
            print(timed(f"loader, {workers} workers", told, lambda loader=loader: list(loader)))


if __name__ == "__main__":
    main()
