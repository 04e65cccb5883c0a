"""The configuration of a comparison (`kind: compare`): methods, seeds, data, downstream arms, endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qdgs.compare_metrics import CORRECTED, COSTS, SHOWN, better
from qdgs.config import RunConfig, load_config, plain, read_mapping
from qdgs.errors import ConfigError
from qdgs.files import yaml_text
from qdgs.mistakes import Mistake, sentence
from qdgs.overrides import override
from qdgs.registry import nearest
from qdgs.values import Integer, Model, Real

Arm = Literal["biased", "reweighting", "group-dro", "color-jitter", "greyscale", "zero-shot", "drawn"]
ARMS: tuple[Arm, ...] = get_args(Arm)
"""Classifiers that need no generated image: what every set is to beat, or the ceiling."""

Positive = Annotated[Integer, Field(ge=1)]
Share = Annotated[Real, Field(gt=0.0, lt=1.0)]


class MethodConfig(BaseModel):
    """A sampler by name with options; `as` names it in the table, where one sampler stands there twice."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
    name: str
    as_: Annotated[str, Field(pattern=r"^[^\s./\\][^/\\]*$")] | None = Field(default=None, alias="as")

    @property
    def title(self) -> str:
        """What the table calls it."""
        return self.as_ or self.name

    @property
    def options(self) -> dict[str, Any]:
        """Options of the sampler."""
        return dict(self.model_extra or {})


class FolderAttribute(Model):
    """Where a folder of faces has a judged attribute: its column, and for each value the column's."""

    column: str
    values: dict[str, list[str]]

    @field_validator("values", mode="before")
    @classmethod
    def _lists(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: [value] if isinstance(value, str) else value for name, value in values.items()}


class DataConfig(Model):
    """Images beside the generator, for the downstream task and for methods that need some.

    `source` is "drawn-shapes", or the kind of a folder of faces at `path`. Of drawn shapes, `bias` is the
    share of usual colours in the training images and `test_bias` that in the images that AP, DEO, BA and KL
    are told on: on balanced ones there is no correlation to amplify. `reference` images are balanced. Of a
    folder the test split serves for everything and the reference is cut out of the training split;
    `attributes` says where the run's judged attributes stand in it, where not under their own names.
    """

    source: Literal["drawn-shapes", "celeba", "fairface", "utkface"] = "drawn-shapes"
    path: str | None = None
    attributes: dict[str, FolderAttribute] = Field(default_factory=dict)
    bias: Annotated[Real, Field(ge=0.5, le=1.0)] = 0.98
    training: Positive = 1000
    reference: Positive = 500
    test: Positive = 5000
    test_bias: Annotated[Real, Field(ge=0.5, le=1.0)] = 0.9

    @model_validator(mode="after")
    def _path(self) -> Self:
        if (self.source == "drawn-shapes") != (self.path is None):
            wanted = "no path of shapes that are drawn" if self.path else "the folder of the images"
            raise Mistake("path", f"expected {wanted}, got {self.path or 'none'}")
        if self.attributes and self.path is None:
            raise Mistake("attributes", "expected none of shapes that are drawn, got some")
        return self


class DownstreamConfig(Model):
    """The classifier that is trained on `data.training` and then tuned on each method's images.

    `epochs` and `batch_size` are of tuning, on as many images as are asked for: whoever has fewer gets as
    many steps from them. The biased classifier is trained with batches of 128. Scores are means over the last
    `last` epochs. `arms` need no generated image; there is no arm "drawn" where images come of a folder.
    """

    image_size: Annotated[Integer, Field(ge=8, multiple_of=8)] = 64
    biased_epochs: Positive = 20
    epochs: Positive = 30
    batch_size: Positive = 128
    last: Positive = 5
    precision: Literal["float32", "bfloat16"] = "float32"
    arms: list[Arm] = Field(default_factory=lambda: [*ARMS])

    @model_validator(mode="after")
    def _last(self) -> Self:
        if self.last > self.epochs:
            raise Mistake("last", f"expected at most the epochs there are, got {self.last}")
        return self


class EndpointConfig(Model):
    """What is to be decided by the comparison, named before it is run.

    Over the seeds, the paired difference of `method` to `against` ("best" is the best other method, "ungated"
    every method that the gate does not choose for): not worse by more than `margin`. With `at_most` the value
    of `method` itself is to be no larger than that, and `against` and `margin` say nothing.
    """

    metric: str
    method: str
    against: str = "best"
    margin: Annotated[Real, Field(ge=0.0)] = 0.0
    at_most: Real | None = None


class CompareConfig(Model):
    """Methods of balancing side by side: one generator, one judge, one number of images, several seeds.

    `run` is a configuration of a run, in full or as a path beside the file: it names generator, guide,
    judges, groups and target, and is what the method `qdgs` searches with. The gate labels for the methods
    unless the run has a teacher; the run's auditor grades.
    """

    kind: Literal["compare"]
    run: RunConfig
    seeds: Positive = 3
    first_seed: Annotated[Integer, Field(ge=0)] = 0
    images: Positive = 2000
    draws: Positive = 100_000
    methods: Annotated[list[MethodConfig], Field(min_length=1)]
    data: DataConfig | None = None
    downstream: DownstreamConfig | None = None
    endpoints: list[EndpointConfig] = Field(default_factory=list)
    resamples: Annotated[Integer, Field(ge=20)] = 500
    quick: bool = False

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, methods: Any) -> Any:
        if not isinstance(methods, list):
            return methods
        return [{"name": method} if isinstance(method, str) else method for method in methods]

    @model_validator(mode="after")
    def _check(self) -> Self:
        titles = [method.title for method in self.methods]
        for title in titles:
            if titles.count(title) > 1:
                raise Mistake("methods", f"expected different names, got {title!r} twice; add `as: NAME`")
            if title in ARMS:
                raise Mistake("methods", f"{title!r} is the name of a downstream arm; add `as: NAME`")
        if self.run.judges.reader("teacher") is None or self.run.judges.auditor is None:
            raise Mistake("run.judges", "expected an auditor and a gate or teacher, got fewer")
        if self.downstream is not None and self.data is None:
            raise Mistake("data", "expected images to train and test classifiers on, got none")
        if self.downstream is not None and len(self.run.dataset.groups) < 2:
            raise Mistake(
                "downstream",
                "expected groups of a label and another attribute to be fair about, got one alone",
            )
        for endpoint in self.endpoints:
            if better(endpoint.metric) is None:
                known = [*SHOWN, *COSTS, CORRECTED]
                raise Mistake(
                    "endpoints.metric", f"unknown {endpoint.metric!r}{nearest(endpoint.metric, known)}"
                )
            known = [*titles, "best", "ungated"]
            for name in (endpoint.method, endpoint.against):
                if name not in known:
                    raise Mistake("endpoints", f"unknown method {name!r}{nearest(name, known)}")
        return self

    @property
    def arms(self) -> list[Arm]:
        """The downstream arms that these data allow."""
        named = self.downstream.arms if self.downstream else []
        folder = self.data is not None and self.data.source != "drawn-shapes"
        return [arm for arm in named if not (folder and arm == "drawn")]

    @property
    def every_seed(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


QUICK: dict[str, Any] = {
    "images": 64,
    "draws": 3000,
    "resamples": 50,
    "data": {"training": 64, "reference": 60, "test": 80},
    "downstream": {"image_size": 32, "biased_epochs": 2, "epochs": 2, "last": 1},
}
"""Sizes with which a comparison does all that it does in seconds, and tells nothing."""


def parse_compare(data: Any) -> CompareConfig:
    """Validate a configuration; `run` is in full.

    Raises:
        ConfigError: One sentence that names the place, what was expected and what came.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"configuration: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return CompareConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(sentence(error, data, CompareConfig)) from None


def load_compare(path: Path | str, overrides: Sequence[str] = (), *, quick: bool = False) -> CompareConfig:
    """Read a YAML file and apply `a.b=c` overrides; a path of a run is looked for beside the file.

    Args:
        path: The file.
        overrides: `a.b=c` each, the run's keys as `run.a.b=c`.
        quick: Take tiny sizes.

    Raises:
        ConfigError: The file is missing or is not YAML, or a value does not hold.
    """
    path = Path(path)
    data = read_mapping(path)
    if data.get("kind") != "compare":
        raise ConfigError(f"{path}: expected kind: compare, got {data.get('kind', 'run')}; try qdgs run")
    if isinstance(data.get("run"), str):
        data["run"] = plain(load_config(path.parent / data["run"]))
    if quick or data.get("quick"):
        _shrink(data)
    for assignment in overrides:
        override(data, assignment)
    return parse_compare(data)


def _shrink(data: dict[str, Any]) -> None:
    data["quick"] = True
    for key, value in QUICK.items():
        if not isinstance(value, dict):
            data[key] = value
        elif isinstance(data.get(key), dict):
            data[key] = {**data[key], **value}
    if isinstance(data.get("run"), dict):
        data["run"]["audit"] = {"samples": 512}


def plain_compare(config: CompareConfig) -> dict[str, Any]:
    """The configuration in plain types, defaults filled in."""
    return {**config.model_dump(mode="json", by_alias=True, exclude={"run"}), "run": plain(config.run)}


def dump_compare(config: CompareConfig) -> str:
    """The configuration as YAML that `load_compare` reads to an equal object."""
    return yaml_text(plain_compare(config))
