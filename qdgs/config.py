"""Typed, validated configuration ⇄ YAML. Values are validated here and trusted everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from qdgs.dataset_config import DatasetConfig, GroupConfig, group_names, target_shares
from qdgs.errors import ConfigError, InputError
from qdgs.files import yaml_text
from qdgs.guide_config import PROMPTS, ClipConfig, GuideConfig, MeasureConfig, ObjectiveConfig, WeightsConfig
from qdgs.mistakes import Mistake, sentence
from qdgs.overrides import override
from qdgs.registry import nearest
from qdgs.roles import JudgesConfig, Named
from qdgs.search_config import ALGORITHMS, SearchConfig
from qdgs.speed_config import SpeedConfig
from qdgs.target_table import is_table
from qdgs.values import Integer, Model
from qdgs.workers_config import WorkersConfig

__all__ = [
    "ALGORITHMS",
    "PROMPTS",
    "AuditConfig",
    "ClipConfig",
    "DatasetConfig",
    "GroupConfig",
    "GuideConfig",
    "JudgesConfig",
    "MeasureConfig",
    "Named",
    "ObjectiveConfig",
    "RunConfig",
    "SearchConfig",
    "SpeedConfig",
    "WeightsConfig",
    "WorkersConfig",
    "audited_attributes",
    "dump_config",
    "group_names",
    "load_config",
    "parse_config",
    "plain",
    "read_mapping",
    "target_shares",
]


class AuditConfig(Model):
    """How much the audit looks at beside the dataset.

    `samples`: random samples for quantiles, rare groups and the yardstick of diversity.
    """

    samples: Annotated[Integer, Field(ge=64)] = 10_000


class RunConfig(Model):
    """A run: one generator, one guide, one search, one dataset."""

    kind: Literal["run"] = "run"
    seed: Annotated[Integer, Field(ge=0)] = 0
    generator: Named
    guide: GuideConfig
    search: SearchConfig = SearchConfig()
    dataset: DatasetConfig
    judges: JudgesConfig = JudgesConfig()
    audit: AuditConfig = AuditConfig()
    workers: WorkersConfig = WorkersConfig()

    @model_validator(mode="before")
    @classmethod
    def _generator_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("generator"), str):
            return {**data, "generator": {"name": data["generator"]}}
        return data

    @model_validator(mode="after")
    def _references(self) -> Self:
        measures = [measure.name for measure in self.guide.measures]
        for name in self.dataset.groups:
            if name not in measures:
                raise Mistake("dataset.groups", f"unknown measure {name!r}{nearest(name, measures)}")
        for measure in self.guide.measures:
            if measure.audit is not None and measure.name in self.dataset.groups:
                raise Mistake(
                    f"guide.measures.{measure.name}.audit",
                    f"groups are made of this measure; give dataset.groups.{measure.name}.audit alone",
                )
        if self.dataset.label not in self.dataset.groups:
            label = self.dataset.label
            raise Mistake("dataset.label", f"unknown group {label!r}{nearest(label, self.dataset.groups)}")
        if isinstance(self.dataset.target, dict):
            self._check_target(self.dataset.target)
        self._check_balance()
        self._check_columns(measures)
        self._check_judges()
        self._check_workers()
        return self

    def _check_judges(self) -> None:
        if self.guide.name == PROMPTS:
            for role, judge in self.judges.each():
                _refuse_the_clip(judge, self.guide.clip, f"judges.{role}.clip")

    def _check_workers(self) -> None:
        if self.workers.kind != "local" and self.guide.weights.uniqueness:
            raise Mistake(
                "workers.kind",
                "expected local where guide.weights.uniqueness is above 0, as each image's score then waits "
                f"for those before it, got {self.workers.kind}",
            )

    def _check_balance(self) -> None:
        for column, nuisance in self.dataset.balance.items():
            if self.judges.reader(nuisance.judge) is None:
                raise Mistake(
                    f"dataset.balance.{column}.judge",
                    f"expected a judge in the role of {nuisance.judge}, got none; name it in judges",
                )

    def _check_columns(self, measures: list[str]) -> None:
        taken = {"identity", "offset"} & set(measures)
        if self.dataset.identities and taken:
            raise Mistake(
                "guide.measures", f"{min(taken)!r} is a column of images with identities; take another name"
            )

    def _check_target(self, target: dict[str, float]) -> None:
        known = group_names(self.dataset.groups)
        for name in target:
            if name not in known:
                raise Mistake("dataset.target", f"unknown group {name!r}{nearest(name, known)}")
        if abs(sum(target.values()) - 1) > 1e-6:
            total = sum(target.values())
            raise Mistake("dataset.target", f"expected shares that sum to 1, got {total:g}")


def _refuse_the_clip(judge: Named, clip: ClipConfig, place: str) -> None:
    """Refuse a judge that is the guide by its name; models are compared where both are loaded."""
    if judge.options.get("clip") in (clip.model, clip.model_dump(exclude_none=True), clip.model_dump()):
        raise Mistake(
            place,
            f"expected another CLIP than the guide's, got {clip.model!r} for both; a guide cannot judge",
        )


def audited_attributes(config: RunConfig) -> dict[str, str]:
    """The judged attribute that answers to each measure, for the measures that have one."""
    groups = config.dataset.groups
    named = {
        measure.name: groups[measure.name].audit if measure.name in groups else measure.audit
        for measure in config.guide.measures
    }
    return {name: attribute for name, attribute in named.items() if attribute is not None}


def parse_config(data: Any) -> RunConfig:
    """Validate a configuration.

    Raises:
        ConfigError: One sentence that names the place, what was expected and what came.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"configuration: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(sentence(error, data, RunConfig)) from None


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply `a.b=c` overrides.

    A table that the file names as `dataset.target` is looked for beside the file, one that an override names
    in the working directory.

    Raises:
        ConfigError: The file is missing or is not YAML, or a value does not hold.
    """
    path = Path(path)
    data = read_mapping(path)
    _anchor(data, path.parent)
    for assignment in overrides:
        override(data, assignment)
    return parse_config(data)


def read_mapping(path: Path) -> dict[str, Any]:
    """What a YAML file of a configuration holds, of whatever kind it is.

    Raises:
        ConfigError: The file is missing, is not YAML, or holds something else.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(data).__name__}")
    return data


def check_out(out: Path, kind: str, called: str) -> None:
    """Refuse a folder that holds something else than what a command of a kind wrote.

    Args:
        out: The folder, which need not be there.
        kind: Of the configuration that such a folder holds.
        called: What is in such a folder, in words.

    Raises:
        InputError: It is a file, holds another kind's configuration, or files without one.
    """
    path = out / "config.yaml"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder, got a file; choose another --out")
    if path.is_file():
        found = read_mapping(path).get("kind", "run")
        if found != kind:
            raise InputError(f"{out}: expected the folder of a {called}, got that of a {found}")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: expected a new or empty folder, got one with files; choose another --out")


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Make the path of a target table one from here, instead of one from the folder of its file."""
    dataset = data.get("dataset")
    if isinstance(dataset, dict) and is_table(dataset.get("target")):
        dataset["target"] = str(folder / dataset["target"])


def plain(config: RunConfig) -> dict[str, Any]:
    """The configuration in plain types, defaults filled in.

    The search's are left out: what it settles depends on which of its keys were given.
    """
    data = config.model_dump(mode="json")
    if config.guide.name != PROMPTS:
        del data["guide"]["clip"]
    return {**data, "search": config.search.model_dump(mode="json", exclude_unset=True)}


def dump_config(config: RunConfig) -> str:
    """The configuration as YAML that `load_config` reads to an equal object."""
    return yaml_text(plain(config))
