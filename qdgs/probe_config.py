"""What a configuration of `kind: probe` says: the model that is probed, and what it is probed with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from qdgs.config import RunConfig, audited_attributes, load_config, parse_config, plain, read_mapping
from qdgs.errors import ConfigError
from qdgs.files import yaml_text
from qdgs.mistakes import Mistake, sentence
from qdgs.overrides import override
from qdgs.registry import nearest
from qdgs.roles import Named
from qdgs.starter import STARTER
from qdgs.values import Integer, Model, Real

Positive = Annotated[Integer, Field(ge=1)]
Column = Annotated[Integer, Field(ge=0)]
Columns = Column | Annotated[list[Column], Field(min_length=1)]
Channels = tuple[Real, Real, Real]
Above = Annotated[Real, Field(gt=0.0)]
CONFIGS = (".yaml", ".yml")
EMBEDDED = "qdgs-mini"
"""The guide that needs no prompts of the user's: those of `qdgs init` are its words."""


class ProbedConfig(Model):
    """The model: a file or folder at `path`, a Python `target`, or a `judge` of qdgs.

    A path ends in .pt, .pth, .ts or .torchscript (TorchScript) or .onnx, or is a folder as transformers saves
    an image classifier. `answers` names the judged attribute that a classifier is to tell; the label's where
    it is not given. `values` are the answers in the order of its outputs, or answer → column or columns.
    Images come to the model in `range`, resized to `image_size` by averaging areas where that is given, and
    normalised with `mean` and `std`. A detector finds something from the score `threshold` on.
    """

    path: str | None = None
    target: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    judge: Named | None = None
    task: Literal["classifier", "detector", "restorer"] = "classifier"
    answers: str | None = None
    values: list[str] | dict[str, Columns] | None = None
    outputs: Literal["logits", "probabilities"] = "logits"
    threshold: Real = 0.5
    image_size: Positive | None = None
    range: tuple[Real, Real] = (0.0, 1.0)
    mean: Channels | None = None
    std: tuple[Above, Above, Above] | None = None
    batch_size: Annotated[Integer, Field(ge=1)] = 64

    @field_validator("judge", mode="before")
    @classmethod
    def _judge_by_name(cls, judge: Any) -> Any:
        return {"name": judge} if isinstance(judge, str) else judge

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = [name for name in ("path", "target", "judge") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of path, target and judge, got {' and '.join(given) or 'none'}")
        if self.options and self.target is None:
            raise Mistake("options", "expected none, as they are handed to a target")
        if self.values is not None and len(self.values) < 2:
            raise Mistake("values", f"expected at least two, got {len(self.values)}")
        twice = self._twice()
        if twice is not None:
            raise Mistake("values", f"expected every answer and every column once, got {twice!r} twice")
        if self.range[0] >= self.range[1]:
            raise Mistake("range", f"expected the lower end first, got {list(self.range)}")
        return self

    def _twice(self) -> str | int | None:
        """An answer, or a column, that is given twice."""
        if self.values is None:
            return None
        columns = self.values.values() if isinstance(self.values, dict) else ()
        every: list[str | int] = list(self.values) if isinstance(self.values, list) else []
        for column in columns:
            every.extend([column] if isinstance(column, int) else column)
        return next((name for name, count in Counter(every).items() if count > 1), None)

    @property
    def who(self) -> str:
        """Which model, in words."""
        return str(self.path or self.target or (self.judge and self.judge.who))


class SamplesConfig(Model):
    """The images that a model is probed with: as many of every group.

    `attributes`: those that groups are made of; by default every judged attribute that answers to a measure.
    `sampler`: any of `qdgs list`; `rejection` alone leaves the images of a group as the generator makes them.
    `pool`: random samples that the judges read beside them: how rare each group is, where attributes lie in
    the latents, how far apart images are.
    """

    images: Annotated[Integer, Field(ge=8)] = 800
    sampler: Named = Named(name="rejection")
    draws: Positive = 60_000
    pool: Annotated[Integer, Field(ge=200)] = 6000
    attributes: list[str] | None = None

    @field_validator("sampler", mode="before")
    @classmethod
    def _sampler_by_name(cls, sampler: Any) -> Any:
        return {"name": sampler} if isinstance(sampler, str) else sampler


class FindingsConfig(Model):
    """What counts as a finding: an effect above `margin`, at the `level`, over groups of `smallest` images.

    With thousands of images every difference is significant: what is tested is not whether there is any, but
    whether it is larger than one that matters.
    """

    margin: Annotated[Real, Field(ge=0.0, lt=1.0)] = 0.05
    level: Annotated[Real, Field(gt=0.0, lt=1.0)] = 0.05
    smallest: Annotated[Integer, Field(ge=4)] = 20


class PairsConfig(Model):
    """Matched pairs: of each attribute up to `images` pairs that differ in it alone.

    `method`: "directions" moves images along directions of the latents, "neighbours" matches images of either
    value and moves them towards each other; "auto" takes directions where at least a third of a few dozen
    images get a partner by them. A pair holds where the judges read every other attribute as before and no
    score of one moved by more than `tolerance` of its standard deviations among random samples.
    """

    images: Positive = 400
    method: Literal["auto", "directions", "neighbours"] = "auto"
    tolerance: Annotated[Real, Field(gt=0.0)] = 0.5


class FailuresConfig(Model):
    """A search for failures: `evaluations` images shown to the model, and as many random ones beside them.

    `search`: further keys of a search, over the run's own. `shown`: failures of each group on the page.
    """

    evaluations: Annotated[Integer, Field(ge=512)] = 4000
    search: dict[str, Any] = Field(default_factory=dict)
    shown: Annotated[Integer, Field(ge=1)] = 12


class ProbeConfig(Model):
    """A model probed with a generator's images, balanced over what a run's guide and judges tell of them.

    `run` is a configuration of a run, in full or as a path beside the file: its generator, guide, judges and
    groups are used, its dataset is not made. A file may give `judges` in place of the run's: a judge that is
    itself probed cannot tell what is right.
    """

    kind: Literal["probe"]
    seed: Annotated[Integer, Field(ge=0)] = 0
    run: RunConfig
    model: ProbedConfig
    samples: SamplesConfig = SamplesConfig()
    findings: FindingsConfig = FindingsConfig()
    pairs: PairsConfig | None = PairsConfig()
    failures: FailuresConfig | None = FailuresConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = list(dict.fromkeys(audited_attributes(self.run).values()))
        if not known:
            raise Mistake("run.dataset.groups", "expected a group with an attribute as `audit`, got none")
        if self.run.judges.auditor is None and self.run.judges.reader("teacher") is None:
            raise Mistake("run.judges", "expected an auditor, teacher or gate to read attributes, got none")
        if self.model.answers is not None and self.model.task != "classifier":
            raise Mistake(
                "model.answers", f"expected none of a {self.model.task}, got {self.model.answers!r}"
            )
        if self.model.judge is not None and self.model.judge.who in self._who_judges():
            raise Mistake("model.judge", f"expected a model that is no judge, got {self.model.judge.who!r}")
        for name in self.samples.attributes or ():
            if name not in known:
                raise Mistake("samples.attributes", f"unknown {name!r}{nearest(name, known)}")
        if self.answers is not None and self.answers not in known:
            raise Mistake(
                "model.answers", f"unknown attribute {self.answers!r}{nearest(self.answers, known)}"
            )
        return self

    def _who_judges(self) -> set[str]:
        return {named.who for _, named in self.run.judges.each()}

    @property
    def answers(self) -> str | None:
        """The judged attribute that a classifier is to tell; None of a detector or restorer."""
        if self.model.task != "classifier":
            return None
        return self.model.answers or self.run.dataset.groups[self.run.dataset.label].audit

    @property
    def attributes(self) -> tuple[str, ...]:
        """Judged attributes that groups are made of; what a classifier is to tell is always one."""
        names = self.samples.attributes or list(audited_attributes(self.run).values())
        asked = [self.answers] if self.answers else []
        return tuple(dict.fromkeys([*names, *asked]))

    @property
    def causes(self) -> tuple[str, ...]:
        """Attributes that should not matter."""
        return tuple(name for name in self.attributes if name != self.answers)


QUICK: dict[str, Any] = {
    "samples": {"images": 240, "draws": 20_000, "pool": 1000},
    "pairs": {"images": 60},
    "failures": {"evaluations": 768},
}
"""Sizes with which a probe does all that it does in seconds, and tells little."""


def parse_probe(data: Any) -> ProbeConfig:
    """Validate a configuration; `run` is in full.

    Raises:
        ConfigError: One sentence that names the place, what was expected and what came.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"configuration: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return ProbeConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(sentence(error, data, ProbeConfig)) from None


def load_probe(
    model: str | None = None,
    *,
    guide: str | Path | None = None,
    generator: str | None = None,
    overrides: Sequence[str] = (),
    quick: bool = False,
) -> ProbeConfig:
    """The configuration of a command: a file, or a model and where the rest comes from.

    Args:
        model: A YAML file of kind probe, or the model: a path, or "package.module:factory".
        guide: A YAML file of kind probe or run, whose guide, judges and groups are used; or "qdgs-mini",
            which stands for the prompts of `qdgs init`.
        generator: In place of the file's.
        overrides: `a.b=c` each, the run's keys as `run.a.b=c`.
        quick: Take tiny sizes.

    Raises:
        ConfigError: A file is missing or is not YAML, or a value does not hold.
    """
    if model is not None and Path(model).suffix in CONFIGS:
        if guide is not None:
            raise ConfigError(f"--guide: expected none beside the configuration {model}, got {guide}")
        data = _read(Path(model))
    else:
        data = _task(guide)
        if model is not None:
            kept = {key: value for key, value in (data.get("model") or {}).items() if key not in _PLACES}
            data["model"] = {**kept, **({"target": model} if _is_target(model) else {"path": model})}
    if generator is not None and isinstance(data.get("run"), dict):
        data["run"] = {**data["run"], "generator": generator}
    if quick:
        _shrink(data)
    for assignment in overrides:
        override(data, assignment)
    return parse_probe(data)


def plain_probe(config: ProbeConfig) -> dict[str, Any]:
    """The configuration in plain types, defaults filled in."""
    return {**config.model_dump(mode="json", exclude={"run"}), "run": plain(config.run)}


def dump_probe(config: ProbeConfig) -> str:
    """The configuration as YAML that `load_probe` reads to an equal object."""
    return yaml_text(plain_probe(config))


_PLACES = ("path", "target", "options", "judge")


def _is_target(model: str) -> bool:
    return ":" in model and not Path(model).exists()


def _task(guide: str | Path | None) -> dict[str, Any]:
    """Everything but the model."""
    if guide is None or str(guide) == EMBEDDED:
        return {"kind": "probe", "run": plain(parse_config(yaml.safe_load(STARTER)))}
    return _read(Path(guide))


def _read(path: Path) -> dict[str, Any]:
    data = read_mapping(path)
    kind = data.get("kind", "run")
    if kind == "run":
        return {"kind": "probe", "seed": data.get("seed", 0), "run": plain(load_config(path))}
    if kind != "probe":
        raise ConfigError(f"{path}: expected kind: probe or run, got {kind}")
    if isinstance(data.get("run"), str):
        data["run"] = plain(load_config(path.parent / data["run"]))
    if "judges" in data and isinstance(data.get("run"), dict):
        data["run"] = {**data["run"], "judges": data.pop("judges")}
    return data


def _shrink(data: dict[str, Any]) -> None:
    for key, value in QUICK.items():
        if key not in data or isinstance(data[key], Mapping):
            data[key] = {**(data.get(key) or {}), **value}
