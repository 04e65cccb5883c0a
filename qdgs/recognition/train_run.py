"""`qdgs recognition train`: a folder that holds one training of a recogniser.

RUN/
  config.yaml            the configuration, enough to repeat the training
  data/                  images by identity, where the configuration draws them from a generator
  metrics.csv            one row an epoch
  checkpoint.pt          to go on after an interruption; replaced atomically
  backbone.safetensors   the trained backbone, which `qdgs recognition verify` and `pretrained` read
  summary.json           what was trained on, how long it took, the last loss
  unreadable.txt         images that could not be read, where there were any
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qdgs.errors import CorruptFileError, InputError
from qdgs.files import fingerprint, read_json, write_json, write_text
from qdgs.parts import load_generator
from qdgs.randomness import Stream, stream
from qdgs.recognition.checkpoint import (
    BACKBONE,
    CHECKPOINT,
    begin_from,
    load_checkpoint,
    save_backbone,
    save_checkpoint,
)
from qdgs.recognition.images import (
    Batches,
    Faces,
    IdentityImages,
    left_out,
    load,
    read_identities,
    write_unreadable,
)
from qdgs.recognition.processes import Processes, joined
from qdgs.recognition.samples import rendered, variations, write_identities
from qdgs.recognition.training import Progress, Training, fit
from qdgs.recognition_config import RecognitionConfig, dump_recognition, load_recognition
from qdgs.run import THROUGH, Step, Watch, unwatched

CONFIG = "config.yaml"
SUMMARY = "summary.json"
METRICS = "metrics.csv"
DATA = "data"
FREE = {"training.workers", "training.checkpoint_seconds", "data.unreadable"}
"""Settings that a training goes on with whatever they were."""


def train_recogniser(
    config: RecognitionConfig, out: Path | str, *, device: str = "cpu", watch: Watch = unwatched
) -> dict[str, Any]:
    """Train a recogniser in a new folder, or go on with the training that is there.

    A training that was interrupted and goes on equals an unbroken one, bit for bit, on one machine with as
    many processes and threads. Started by torchrun, the processes train together.

    Args:
        config: What is trained, and how.
        out: The folder.
        device: Where; with several processes "cuda" means one GPU each.
        watch: Told after each step, and in the end of the numbers of summary.json.

    Returns:
        What summary.json holds; nothing is done where it is there already.

    Raises:
        InputError: The folder holds something else, or the images do not suffice.
    """
    out = Path(out)
    with joined(device) as processes:
        _check(config, processes)
        if processes.leads:
            _begin(out, config, device, watch)
        processes.wait()
        if (out / SUMMARY).is_file():
            return read_json(out / SUMMARY)
        images = read_identities(_folder(out, config), min_images=config.data.min_images)
        return _Run(config, out, images, processes).complete(watch if processes.leads else unwatched)


def warnings_of(summary: dict[str, Any]) -> Iterator[str]:
    """What a reader of a training's results has to know, a sentence each."""
    for key, what in (("left_out", "identities with too few images"), ("unreadable", "unreadable images")):
        names = summary.get(key) or []
        if names:
            yield left_out(names, what)


class _Run:
    """One process's part of a training."""

    def __init__(
        self, config: RecognitionConfig, out: Path, images: IdentityImages, processes: Processes
    ) -> None:
        batch_size = config.training.batch_size
        if len(images) < batch_size:
            raise InputError(
                f"training.batch_size: expected at most {len(images)}, as many as there are images, "
                f"got {batch_size}"
            )
        self._config, self._out, self._images, self._processes = config, out, images, processes
        self._training = Training(config, len(images.names), len(images) // batch_size, processes)
        self._rows: list[dict[str, float]] = []
        self._unreadable: set[str] = set()
        self._seconds = 0.0
        self._losses: list[float] = []
        if (out / CHECKPOINT).is_file():
            self._load()
        elif config.pretrained is not None:
            begin_from(self._training.backbone, self._training.head, Path(config.pretrained))

    def complete(self, watch: Watch) -> dict[str, Any]:
        """Train to the end, save, and say what was done."""
        saved = begun = time.monotonic()
        before = self._seconds
        total = self._training.steps * self._config.training.epochs
        for progress, batch in fit(self._training, self._batches()):
            self._note(progress, batch.unreadable)
            self._seconds = before + time.monotonic() - begun
            ended = progress.step % self._training.steps == 0
            if ended:
                self._end_epoch(progress)
            if ended or time.monotonic() - saved > self._config.training.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
            watch(Step("train", progress.step, total, "steps", {"loss": progress.loss}))
        summary = self._finish()
        numbers = {key: value for key, value in summary.items() if isinstance(value, int | float)}
        watch(Step("train", 1, 1, THROUGH, numbers))
        return summary

    def _batches(self) -> Any:
        schedule = self._config.training
        faces = Faces(
            self._images, self._config.image_size, self._config.augmentation, seed=self._config.seed
        )
        batches = Batches(
            len(faces),
            schedule.batch_size,
            schedule.epochs,
            seed=self._config.seed,
            first=self._training.step,
            rank=self._processes.rank,
            world=self._processes.world,
        )
        return load(faces, batches, workers=schedule.workers, device=self._processes.device)

    def _note(self, progress: Progress, unreadable: list[str]) -> None:
        if not np.isfinite(progress.loss):
            raise InputError(
                f"training: the loss is {progress.loss} at step {progress.step}; take a lower "
                "training.learning_rate, in a new folder"
            )
        self._losses.append(progress.loss)
        self._unreadable |= set(unreadable)
        self._check_readable()

    def _check_readable(self) -> None:
        allowed = self._config.data.unreadable * len(self._images)
        if len(self._unreadable) > allowed or len(self._unreadable) == len(self._images):
            raise InputError(
                f"data: expected at most {math.floor(allowed)} unreadable images of {len(self._images):,}, "
                f"got {len(self._unreadable)} so far ({min(self._unreadable)}); repair them, or raise "
                "data.unreadable"
            )

    def _end_epoch(self, progress: Progress) -> None:
        row = {**asdict(progress), "loss": float(np.mean(self._losses)), "seconds": self._seconds}
        self._rows.append(row)
        self._losses = []
        self._unreadable = set(self._processes.gathered(sorted(self._unreadable)))
        self._check_readable()
        if self._processes.leads:
            write_text(self._out / METRICS, pd.DataFrame(self._rows).to_csv(index=False))

    def _save(self) -> None:
        if not self._processes.leads:
            return
        state = {
            **self._training.state_dict(),
            "images": _told_apart(self._images),
            "rows": self._rows,
            "losses": self._losses,
            "unreadable": sorted(self._unreadable),
            "seconds": self._seconds,
        }
        save_checkpoint(self._out / CHECKPOINT, self._config, state)

    def _load(self) -> None:
        state = load_checkpoint(self._out / CHECKPOINT, self._config)
        if state.get("images") != _told_apart(self._images):
            raise InputError(
                f"{self._out}: expected the images that this training began with, got others, or other "
                f"identities, in {_folder(self._out, self._config)}; put them back, or choose another --out"
            )
        try:
            self._training.load_state_dict(state)
            self._rows, self._losses = state["rows"], state["losses"]
            self._unreadable, self._seconds = set(state["unreadable"]), state["seconds"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CorruptFileError(
                f"{self._out / CHECKPOINT}: expected a checkpoint of this version, cannot take it up: "
                f"{str(error).splitlines()[0]}; delete it to begin again"
            ) from None

    def _finish(self) -> dict[str, Any]:
        unreadable = self._processes.gathered(sorted(self._unreadable))
        trained = self._training.step * self._config.training.batch_size
        summary = {
            "images": len(self._images),
            "identities": len(self._images.names),
            "epochs": self._config.training.epochs,
            "steps": self._training.step,
            "loss": self._rows[-1]["loss"],
            "train_seconds": self._seconds,
            "images_per_second": trained / self._seconds if self._seconds else None,
            "processes": self._processes.world,
            "left_out": list(self._images.left_out),
            "unreadable": unreadable,
        }
        if self._processes.leads:
            save_backbone(self._out / BACKBONE, self._training.backbone, self._training.head.norms)
            write_unreadable(self._out, unreadable)
            write_json(self._out / SUMMARY, summary)
        return summary


def _told_apart(images: IdentityImages) -> str:
    """Which images of whom there are, wherever their folder lies."""
    files = [os.path.basename(file) for file in images.files]
    return fingerprint([files, images.labels.tolist(), images.names])


def _check(config: RecognitionConfig, processes: Processes) -> None:
    size, world = config.training.batch_size, processes.world
    if size % world or size // world < 2:
        raise InputError(
            f"training.batch_size: expected at least two images for each of {world} processes, as many for "
            f"each, got {size}"
        )
    if config.training.precision == "float16" and not processes.device.startswith("cuda"):
        raise InputError("training.precision: float16 is for GPUs, got a CPU; take bfloat16 or float32")


def _begin(out: Path, config: RecognitionConfig, device: str, watch: Watch) -> None:
    """Make the folder, or see that it is of this configuration."""
    begun = (out / CHECKPOINT).is_file() or (out / SUMMARY).is_file()
    if begun and (out / CONFIG).is_file():
        _refuse_another(out, load_recognition(out / CONFIG), config)
    elif (out / CONFIG).is_file():  # what was refused before its first step may be put right
        _take_another(out, load_recognition(out / CONFIG), config)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: expected a new or empty folder, got one that holds files; choose another")
    else:
        write_text(out / CONFIG, dump_recognition(config))
    if config.data.samples is not None and not (out / DATA).is_dir():
        _render(out / DATA, config, device, watch)


def _take_another(out: Path, old: RecognitionConfig, new: RecognitionConfig) -> None:
    if (old.data.samples, old.seed) != (new.data.samples, new.seed):
        shutil.rmtree(out / DATA, ignore_errors=True)
    write_text(out / CONFIG, dump_recognition(new))


def _refuse_another(out: Path, old: RecognitionConfig, new: RecognitionConfig) -> None:
    before, after = (_settings(config.model_dump(mode="json")) for config in (old, new))
    for key in [*before, *after]:
        if key not in FREE and before.get(key, ...) != after.get(key, ...):
            raise InputError(
                f"{out}: expected a new folder or one of this configuration, got a training with another "
                f"{key}; choose another --out"
            )


def _settings(data: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Each value by its dotted key."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            found |= _settings(value, f"{place}{key}.")
        else:
            found[f"{place}{key}"] = value
    return found


def _render(folder: Path, config: RecognitionConfig, device: str, watch: Watch) -> None:
    samples = config.data.samples
    assert samples is not None, "asked for with samples alone"
    generator = load_generator(samples.generator, device=device)
    rng = stream(config.seed, Stream.RANDOM_SAMPLES)
    latents = generator.sample_latents(samples.identities, rng)
    varied = variations(generator, latents, samples.images, samples.offset, rng)
    pixels = rendered(
        generator,
        varied,
        crop=samples.crop,
        device=device,
        progress=lambda done: watch(Step("render", done, len(varied), "images")),
    )
    write_identities(folder, pixels, np.repeat(np.arange(samples.identities), samples.images))


def _folder(out: Path, config: RecognitionConfig) -> Path:
    return out / DATA if config.data.folder is None else Path(config.data.folder)
