"""What is timed: a configuration's task with one guide, as it was loaded and as qdgs runs it.

The models as they were loaded are what the published loop, plain pyribs and the raw passes use.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from qdgs.clip.encoder import ClipEncoder
from qdgs.clip.sources import EMBEDDED
from qdgs.compat import import_open_clip
from qdgs.config import RunConfig, SpeedConfig, load_config
from qdgs.generators.base import Generator
from qdgs.guides.prompts import PromptGuide
from qdgs.parts import load_generator
from qdgs.randomness import Stream, stream
from qdgs.stages.scoring import Scorer

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "shapes.yaml"
MINI = "qdgs-mini"
RANDOM_WEIGHTS = ("ViT-B-32", "ViT-L-14")
"""Architectures of open_clip that are timed with random weights: no network is asked."""

GUIDES = (MINI, *RANDOM_WEIGHTS)
LAYOUTS: tuple[Literal["contiguous"], Literal["channels_last"]] = ("contiguous", "channels_last")
"""Of weights in memory: that of `Task.plain`, and that of `Task.swift`."""

ENGINES = "qdgs"
"""Models as qdgs runs them, in whatever layout."""


@dataclass(frozen=True)
class Task:
    """One generator and one guide.

    Attributes:
        guide: Name of the guide.
        config: The configuration of the run.
        plain: Latents to scores, with the models as they were loaded.
        swift: The same with channels-last weights.
        engine: Latents to scores, as qdgs runs them.
        device: Where they work.
        clock: Tells seconds; of the processor alone where the machine is busy.
    """

    guide: str
    config: RunConfig
    plain: Scorer
    swift: Scorer
    engine: Scorer
    device: str
    clock: Callable[[], float] = time.perf_counter

    @property
    def generator(self) -> Generator:
        """The generator as it was loaded."""
        return self.plain.generator

    def scorer(self, layout: str) -> Scorer:
        """Models as they were loaded in one of `LAYOUTS`, or as qdgs runs them."""
        if layout == ENGINES:
            return self.engine
        return self.plain if layout == LAYOUTS[0] else self.swift

    @property
    def measure_dim(self) -> int:
        """Number of measures."""
        return len(self.config.guide.measures)

    def latents(self, n: int, index: int = 0) -> torch.Tensor:
        """Random latents on the device."""
        return self.generator.sample_latents(n, stream(0, Stream.PRIOR, 900 + index)).to(self.device)

    def wait(self) -> None:
        """Until the device has done what it was told to."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()


def load_task(
    guide: str,
    *,
    path: Path = CONFIG,
    device: str = "cpu",
    overrides: tuple[str, ...] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Task:
    """Load generator and guide: as they are, with channels-last weights, and as qdgs runs them.

    Args:
        guide: One of `GUIDES`, or another embedded one.
        path: The configuration; prompts, measures and judges are its own.
        device: Where they work.
        overrides: `a.b=c` over the configuration.
        clock: Tells seconds.
    """
    config = load_config(path, overrides)
    speeds = [SpeedConfig(rows_at_once=2**20, layout=layout) for layout in LAYOUTS]
    scorers = [
        Scorer(load_generator(config.generator, device=device), one, seed=config.seed, speed=speed)
        for one, speed in zip(_guides(guide, config, device), [*speeds, config.search.speed], strict=True)
    ]
    return Task(guide, config, *scorers, device, clock)


class _Tower(nn.Module):
    """An image tower with open_clip's modules as they are."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.visual(images)
        return features


def _guides(name: str, config: RunConfig, device: str) -> tuple[PromptGuide, PromptGuide, PromptGuide]:
    """Guides of the same weights: twice as loaded, and as qdgs runs it; prompts are embedded once."""
    model, tokenizer = _model(name, device)
    towers = [_Tower(copy.deepcopy(model.visual)).float().eval().requires_grad_(False) for _ in LAYOUTS]
    encoder = ClipEncoder(model, tokenizer, name=name)
    guide = PromptGuide(encoder, config.guide)
    if name not in EMBEDDED:
        model.transformer = model.token_embedding = nn.Identity()  # the prompts are embedded
    as_loaded = []
    for tower in towers:
        as_loaded.append(copy.copy(guide))
        as_loaded[-1].encoder = copy.copy(encoder)
        as_loaded[-1].encoder.model = tower
    return as_loaded[0], as_loaded[1], guide


def _model(name: str, device: str) -> tuple[Any, Any]:
    """open_clip's own model, and its tokenizer; random weights are the same at every call."""
    open_clip = import_open_clip()
    if name in EMBEDDED:
        folder = f"local-dir:{EMBEDDED[name]}"
        return open_clip.create_model(folder, device=device), open_clip.get_tokenizer(folder)
    logging.disable(logging.WARNING)  # open_clip says that it loads no weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(name, pretrained=None)
    logging.disable(logging.NOTSET)
    return model.to(device), open_clip.get_tokenizer(name)
