"""A guard on speed that no clock disturbs: how often the models are asked, and how much is copied."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qdgs.config import load_config
from qdgs.parts import load_generator, load_guide
from qdgs.search.loop import illuminate
from qdgs.search.state import Search
from qdgs.stages.scoring import Scorer

COPIES = ("clone", "copy_", "_to_copy", "cat")
MICRO_BATCH = 32


class Counting:
    """A generator or an image tower that counts passes and rows."""

    def __init__(self, inner: Any):
        self.inner, self.passes, self.rows = inner, 0, 0

    def __call__(self, rows: Tensor) -> Tensor:
        self.passes += 1
        self.rows += len(rows)
        return self.inner(rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Copied(TorchDispatchMode):
    """Bytes that torch was asked to copy."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in COPIES and isinstance(result, Tensor):
            self.bytes += result.numel() * result.element_size()
        return result


@pytest.fixture
def counted(tiny_config, monkeypatch):
    """A search that begins, and what it asks for."""

    def begin(algorithm: str) -> tuple[Search, Counting, Counting, Counter]:
        config = load_config(tiny_config)
        scorer = Scorer(load_generator(config.generator), load_guide(config.guide), seed=0)
        asked: Counter = Counter()
        gradient = torch.autograd.grad

        def counting(*args: Any, **options: Any) -> Any:
            asked["backward"] += 1
            return gradient(*args, **options)

        monkeypatch.setattr(torch.autograd, "grad", counting)
        generator = scorer.generator = Counting(scorer.generator)
        tower = Counting(scorer.guide.encoder.model.encode_image)
        monkeypatch.setattr(scorer.guide.encoder.model, "encode_image", tower)
        update = {"algorithm": algorithm, "emitters": 4, "micro_batch": MICRO_BATCH}
        search = Search.begin(
            config.search.model_copy(update=update),
            config.guide.measures,
            scorer,
            latent_dim=generator.latent_dim,
            differentiable=True,
            sample_prior=generator.sample_latents,
            seed=0,
        )
        return search, generator, tower, asked

    return begin


def steps(search: Search, n: int) -> None:
    loop = illuminate(search, 10**6)
    for _ in range(n):
        next(loop)


def test_an_evaluation_is_one_pass_through_generator_and_guide(counted):
    search, generator, tower, _ = counted("cma_mae")
    steps(search, 4)  # until the pace is found
    before = search.evaluations, generator.rows, tower.rows, generator.passes, tower.passes
    steps(search, 5)
    evaluations, made, seen, passes, looks = (
        after - one
        for after, one in zip(
            (search.evaluations, generator.rows, tower.rows, generator.passes, tower.passes),
            before,
            strict=True,
        )
    )
    assert evaluations == made == seen == 5 * 4 * 16
    assert passes == looks <= evaluations // 16


def test_what_is_tried_for_the_pace_is_little(counted):
    search, generator, _, _ = counted("cma_mae")
    steps(search, 12)
    assert generator.rows - search.evaluations <= 3 * MICRO_BATCH


def test_backward_passes_do_not_grow_with_emitters(counted):
    search, generator, _, asked = counted("cma_maega")
    steps(search, 1)
    before = asked["backward"], generator.rows, search.evaluations
    steps(search, 3)
    assert asked["backward"] - before[0] == 3 * (1 + len(search.measures))
    padding = 3 * (16 - 4)  # four points are done as sixteen
    assert generator.rows - before[1] <= search.evaluations - before[2] + padding


def test_little_is_copied_on_the_way_from_latents_to_scores(counted):
    search, generator, _, _ = counted("cma_mae")
    latents = generator.sample_latents(128, np.random.default_rng(0)).numpy()
    for _ in range(4):
        search.evaluator(latents)
    with Copied() as copied:
        search.evaluator(latents)
    image = 3 * generator.image_size**2 * 4
    assert copied.bytes / len(latents) < 3 * image
