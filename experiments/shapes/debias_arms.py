"""The training sets of the study that come out of the generator: a qdgs run's, and random samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from debias_protocol import Pictures
from qdgs.config import RunConfig, load_config
from qdgs.datasets.manifest import read_manifest
from qdgs.files import read_json
from qdgs.generators.base import generate
from qdgs.parts import load_generator, load_guide, load_judge
from qdgs.randomness import Stream, stream
from qdgs.run import Run
from qdgs.training.pixels import to_pixels, to_unit

RANDOM, RANDOM_GATED = range(2)


@dataclass(frozen=True)
class Source:
    """Where a seed's generated images come from.

    Attributes:
        config: The configuration of its run.
        folder: The folder of its run, made when it is first asked for.
        device: Where models work.
    """

    config: RunConfig
    folder: Path
    device: str = "cpu"

    def run(self) -> Run:
        """The run, searched and rendered; one that was interrupted goes on where it stopped."""
        return Run.create(self.config, self.folder).complete(device=self.device, until="render")


def study_config(path: Path, *, seed: int, images: int, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The configuration of a run for the study: that of the file, with so many images."""
    return load_config(path, [f"seed={seed}", f"dataset.images={images}", *overrides])


def dataset_pictures(run: Run, image_size: int) -> Pictures:
    """The images of a run's dataset, labelled by it."""
    rows, metadata = read_manifest(run.path / "dataset" / "manifest.parquet")
    names = metadata["values"][metadata["label"]]
    images = []
    for file in rows["file"]:
        with Image.open(run.path / "dataset" / file) as image:
            pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy())
        images.append(to_pixels(pixels.permute(2, 0, 1)[None], image_size))
    labels = torch.tensor([names.index(label) for label in rows["label"]])
    return Pictures(torch.cat(images), labels, torch.full_like(labels, -1))


def label_cut(run: Run) -> float:
    """The point of the label's measure at which the run divides triangles from squares."""
    cuts = read_json(run.path / "dataset" / "flatten.json")["cuts"]
    return float(cuts[run.config.dataset.label][0])


def random_pictures(source: Source, n: int, seed: int, image_size: int, *, gated: bool) -> Pictures:
    """Random samples of the generator, labelled by the guide at the run's own cut point.

    With `gated`, as many samples are drawn as the run's search evaluated, and the first n that the run's gate
    accepts are kept: their order is random, so those after the n-th need not be generated.

    Args:
        source: The run whose generator, guide, gate and cut point are taken.
        n: How many images.
        seed: Of the study.
        image_size: Pixels of the result.
        gated: Whether the gate chooses.
    """
    run = source.run()
    config, cut = run.config, label_cut(run)
    guide = load_guide(config.guide, device=source.device)
    column = guide.measure_names.index(config.dataset.label)
    limit = int(run.summary["evaluations"]) if gated else n
    pixels: list[Tensor] = []
    labels: list[Tensor] = []
    rng = stream(seed, Stream.RANDOM_SAMPLES, RANDOM_GATED if gated else RANDOM)
    for images in _samples(source, limit, rng, gated=gated):
        with torch.no_grad():
            measures = guide.score(images).measures[:, column]
        pixels.append(to_pixels(images, image_size).cpu())
        labels.append((measures >= cut).long().cpu())
        if sum(map(len, labels)) >= n:
            break
    kept = torch.cat(labels)[:n]
    return Pictures(torch.cat(pixels)[:n], kept, torch.full_like(kept, -1))


def _samples(source: Source, n: int, rng: np.random.Generator, *, gated: bool) -> Iterator[Tensor]:
    """Random samples as they would be stored, rejects of the gate left out."""
    generator = load_generator(source.config.generator, device=source.device)
    judge = source.config.judges.gate if gated else None
    gate = load_judge(judge, device=source.device, role="gate") if judge else None
    latents = generator.sample_latents(n, rng).to(source.device)
    for raw in generate(generator, latents):
        images = to_unit(to_pixels(raw))
        if gate is not None:
            images = images[torch.tensor(gate.judge(images)["accepted"].to_numpy(bool))]
        if len(images):
            yield images
