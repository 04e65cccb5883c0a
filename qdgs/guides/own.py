"""Guides that a user brings: an object made by Python code, or a TorchScript file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qdgs.config import GuideConfig
from qdgs.errors import ConfigError, QdgsError, is_out_of_memory
from qdgs.guides.base import Guide, Scores
from qdgs.scripted import Script
from qdgs.targets import Member, check_members, make_target, told_of

MEMBERS: dict[str, Member] = {
    "measure_names": (
        "a tuple of names",
        lambda value: isinstance(value, tuple | list) and all(isinstance(name, str) for name in value),
    ),
    "score": ("a method of images", callable),
}


def python_guide(
    target: str, *, measure_names: tuple[str, ...] = (), device: torch.device | str = "cpu", **options: Any
) -> Guide:
    """The guide that the user's code makes.

    Args:
        target: "package.module:factory".
        measure_names: Handed on where the factory takes them.
        device: Handed on where the factory takes it.
        options: Handed on.

    Raises:
        ConfigError: The target cannot be imported, fails, or makes no guide.
    """
    given = {"device": device, "measure_names": measure_names}
    guide: Guide = make_target(target, options, place="guide", given=given)
    check_guide(guide, f"guide.target ({target})")
    return guide


def check_guide(guide: object, place: str) -> None:
    """See that an object is a guide.

    Raises:
        ConfigError: Names what it lacks.
    """
    check_members(guide, MEMBERS, kind="a guide", place=place)


class TorchScriptGuide:
    """A TorchScript module from images to objective `(n,)` and measures `(n, measure_dim)`.

    Args:
        path: The file.
        measure_names: Names of its measures, in their order.
        device: Where it works.

    Raises:
        ConfigError: The path is no text.
        MissingModelError: There is no such file.
        CorruptFileError: The file is not TorchScript.
    """

    def __init__(
        self, path: str, *, measure_names: tuple[str, ...], device: torch.device | str = "cpu"
    ) -> None:
        self.script = Script(path, place="guide", device=device)
        self.measure_names = tuple(measure_names)
        self.image_size: int | None = getattr(self.script.module, "image_size", None)

    def score(self, images: Tensor) -> Scores:
        """Scores of images `(batch_size, 3, height, width)`; gradients flow to the images."""
        return _scores(self.script(images), len(images), len(self.measure_names), "guide.path")


class OwnGuide:
    """A user's guide as a search sees it: its measures in the configuration's order.

    Args:
        guide: The guide.
        config: Names its measures and holds the weight of the latent norm.

    Attributes:
        encoder: The guide: what tells it from another.
        image_size: The only size of images that it takes, where it tells one.
        differentiable: Whether gradients flow through it.
        thread_safe: Whether several threads may call it at once.
        measure_names: One name a measure.

    Raises:
        ConfigError: The configuration names a measure that the guide does not have.
    """

    def __init__(self, guide: Guide, config: GuideConfig) -> None:
        self.encoder = guide
        self.config = config
        self.measure_names = tuple(measure.name for measure in config.measures)
        known = tuple(guide.measure_names)
        for index, name in enumerate(self.measure_names):
            if name not in known:
                raise ConfigError(
                    f"guide.measures.{index}.name: expected a measure of {config.who} ({', '.join(known)}), "
                    f"got {name!r}"
                )
        self.image_size: int | None = getattr(guide, "image_size", None)
        self.differentiable: bool = getattr(guide, "differentiable", True)
        self.thread_safe: bool = getattr(guide, "thread_safe", False)
        self._columns = [known.index(name) for name in self.measure_names]
        self._measure_dim = len(known)

    def score(self, images: Tensor) -> Scores:
        """Scores of images `(batch_size, 3, height, width)`; gradients flow to the images."""
        place = f"guide ({self.config.who})"
        try:
            told = self.encoder.score(images)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            if isinstance(error, QdgsError) or is_out_of_memory(error):
                raise
            raise ConfigError(f"{place}: fails on images {tuple(images.shape)}: {told_of(error)}") from error
        scores = _scores(told, len(images), self._measure_dim, place)
        return Scores(scores.objective, scores.measures[:, self._columns])

    def embed(self, images: Tensor) -> Tensor:
        """The images: the guide keeps no embeddings of its own."""
        return images

    def score_embeddings(self, embeddings: Tensor) -> Scores:
        """Scores of what `embed` gave."""
        return self.score(embeddings)

    def remember(self, embeddings: Tensor) -> None:
        """Nothing is remembered."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is taken up."""


def _scores(told: object, batch_size: int, measure_dim: int, place: str) -> Scores:
    """Objective and measures, seen to be of the right shapes.

    Raises:
        ConfigError: They are not.
    """
    pair = tuple(told) if isinstance(told, tuple | list) else ()
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in pair]
    expected = [(batch_size,), (batch_size, measure_dim)]
    if shapes != expected:
        got = " and ".join(map(str, shapes)) if pair else f"a {type(told).__name__}"
        raise ConfigError(
            f"{place}: expected objective (batch_size,) = {expected[0]} and measures "
            f"(batch_size, measure_dim) = {expected[1]}, got {got}"
        )
    return Scores(*pair)
