"""What a configuration of `kind: recognition` says: identities, backbone, head, training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from qdgs.config import read_mapping
from qdgs.errors import ConfigError
from qdgs.files import yaml_text
from qdgs.mistakes import Mistake, sentence
from qdgs.overrides import override
from qdgs.roles import Named
from qdgs.values import Integer, Model, Real

Probability = Annotated[Real, Field(ge=0.0, le=1.0)]

MARGINS = {"adaface": 0.4, "arcface": 0.5, "cosface": 0.35}
"""The margin m that each head was published with."""


class SamplesConfig(Model):
    """Identities drawn from a generator: random latents, each rendered at `images` random offsets of its own.

    An image has the latent √(1 − offset²)·z + offset·ε, which has the prior's own distribution where that is
    Gaussian: `offset` 0 is the same image every time, 1 an unrelated one. `crop`: side of the square in the
    middle of an image that is kept, all of it where it is not given.
    """

    generator: Named
    identities: Annotated[Integer, Field(ge=2)]
    images: Annotated[Integer, Field(ge=2)]
    offset: Annotated[Real, Field(gt=0.0, lt=1.0)] = 0.5
    crop: Annotated[Integer, Field(ge=16)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _generator_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("generator"), str):
            return {**data, "generator": {"name": data["generator"]}}
        return data


class DataConfig(Model):
    """Where the identities come from: a `folder`, or `samples` of a generator.

    A folder holds `index.csv` with columns file and identity, or is the run or dataset of a qdgs run with
    identities, or has one folder of images an identity. Identities with fewer than `min_images` are left
    out. Unreadable images are left out too, up to the share `unreadable` of all images.
    """

    folder: str | None = None
    samples: SamplesConfig | None = None
    min_images: Annotated[Integer, Field(ge=1)] = 2
    unreadable: Probability = 0.01

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.folder is None) == (self.samples is None):
            raise ValueError(f"expected either folder or samples, got {'both' if self.folder else 'neither'}")
        return self


class BackboneConfig(Model):
    """Which residual network; `width` channels in its first stage, 64 as published, 16 is the narrow one."""

    name: Literal["ir18", "ir50", "ir101"] = "ir101"
    width: Annotated[Integer, Field(ge=4)] = 64
    embedding: Annotated[Integer, Field(ge=2)] = 512
    dropout: Annotated[Real, Field(ge=0.0, lt=1.0)] = 0.4


class HeadConfig(Model):
    """The margin head; `margin` is the published one where it is not given, `h` is AdaFace's alone."""

    name: Literal["adaface", "arcface", "cosface"] = "adaface"
    margin: Annotated[Real, Field(ge=0.0)] | None = None
    h: Annotated[Real, Field(gt=0.0)] = 0.333
    scale: Annotated[Real, Field(gt=0.0)] = 64.0

    @model_validator(mode="before")
    @classmethod
    def _published_margin(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("margin") is None:
            return {**data, "margin": MARGINS.get(str(data.get("name", "adaface")))}
        return data


class AugmentationConfig(Model):
    """How often an image is made worse: the published probabilities."""

    low_resolution: Probability = 0.2
    crop: Probability = 0.2
    photometric: Probability = 0.2
    flip: Probability = 0.5


class ScheduleConfig(Model):
    """The published schedule: stochastic gradient descent, its rate divided by ten at the milestones.

    `batch_size` counts images over all processes. `clip_norm` bounds the gradient's norm. `precision` is that
    of the backbone's arithmetic, with "auto" bfloat16 where the device has instructions for it and float32
    elsewhere; margins, loss and weights stay in float32. `workers`: processes that read images, for each
    process that trains.
    """

    epochs: Annotated[Integer, Field(ge=1)] = 26
    batch_size: Annotated[Integer, Field(ge=2)] = 64
    learning_rate: Annotated[Real, Field(gt=0.0)] = 0.01
    milestones: list[Annotated[Integer, Field(ge=1)]] = Field(default_factory=lambda: [12, 20, 24])
    gamma: Annotated[Real, Field(gt=0.0, le=1.0)] = 0.1
    momentum: Annotated[Real, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: Annotated[Real, Field(ge=0.0)] = 5e-4
    clip_norm: Annotated[Real, Field(gt=0.0)] | None = 5.0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    workers: Annotated[Integer, Field(ge=0)] = 0
    checkpoint_seconds: Annotated[Real, Field(ge=0.0)] = 60.0

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.milestones != sorted(set(self.milestones)):
            raise Mistake("milestones", f"expected ascending epochs, got {self.milestones}")
        return self


class RecognitionConfig(Model):
    """Training of a face recogniser; `pretrained` is the run of another whose backbone it starts from."""

    kind: Literal["recognition"]
    seed: Annotated[Integer, Field(ge=0)] = 0
    data: DataConfig
    image_size: Annotated[Integer, Field(ge=32, multiple_of=16)] = 112
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = Field(default_factory=HeadConfig)
    augmentation: AugmentationConfig = AugmentationConfig()
    training: ScheduleConfig = ScheduleConfig()
    pretrained: str | None = None


def parse_recognition(data: Any) -> RecognitionConfig:
    """Validate a configuration.

    Raises:
        ConfigError: One sentence that names the place, what was expected and what came.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"configuration: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return RecognitionConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(sentence(error, data, RecognitionConfig)) from None


def load_recognition(path: Path | str, overrides: Sequence[str] = ()) -> RecognitionConfig:
    """Read a YAML file and apply `a.b=c` overrides; its paths are from the working directory.

    Raises:
        ConfigError: The file is missing or is not YAML, or a value does not hold.
    """
    path = Path(path)
    data = read_mapping(path)
    for assignment in overrides:
        override(data, assignment)
    return parse_recognition(data)


def dump_recognition(config: RecognitionConfig) -> str:
    """The configuration as YAML, defaults filled in, that `load_recognition` reads to an equal object."""
    return yaml_text(config.model_dump(mode="json"))
