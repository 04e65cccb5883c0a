"""Typed, validated configuration ⇄ YAML. Values are validated here and trusted everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from qdgs.dataset_config import DatasetConfig, GroupConfig, group_names, target_shares
from qdgs.errors import ConfigError
from qdgs.mistakes import Mistake, sentence
from qdgs.overrides import override
from qdgs.registry import nearest
from qdgs.roles import JudgesConfig, Named
from qdgs.target_table import is_table
from qdgs.values import ColumnName, Integer, Model, OptionalPrompts, Real, refuse_the_same
from qdgs.workers_config import WorkersConfig

__all__ = [
    "ALGORITHMS",
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

PROMPTS = "prompts"
ALGORITHMS = ("random", "map_elites", "map_elites_line", "cma_me", "cma_mae", "cma_mega", "cma_maega")
Algorithm = Literal[
    "auto", "random", "map_elites", "map_elites_line", "cma_me", "cma_mae", "cma_mega", "cma_maega"
]


class ClipConfig(Model):
    """Which CLIP guides: `qdgs-mini`, any open_clip architecture, `hf-hub:…` or `local-dir:…`."""

    model: str = "qdgs-mini"
    pretrained: str | None = None


class ObjectiveConfig(Model):
    """What a good image is, in words."""

    positive: OptionalPrompts = Field(default_factory=list)
    negative: OptionalPrompts = Field(default_factory=list)

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        refuse_the_same(self.positive, self.negative)
        return self


class MeasureConfig(Model):
    """A difference that matters: negative measures are closer to `low`, positive ones to `high`.

    `audit` names the judged attribute that answers to a measure of which no groups are made, and whose
    values run the same way, from low to high; where groups are made, they name it.

    A guide of the user's own needs no prompts: `low` and `high` then say in words what its ends are.
    """

    name: ColumnName
    low: OptionalPrompts = Field(default_factory=list)
    high: OptionalPrompts = Field(default_factory=list)
    cells: Annotated[Integer, Field(ge=1)] = 50
    range: Literal["auto"] | tuple[Real, Real] = "auto"
    audit: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_the_same(self.low, self.high)
        if self.range != "auto" and not self.range[0] < self.range[1]:
            raise Mistake("range", f"expected low < high, got [{self.range[0]:g}, {self.range[1]:g}]")
        return self

    @property
    def ends(self) -> tuple[str, str]:
        """Its two ends in a few words."""
        return (self.low or ["low"])[0], (self.high or ["high"])[0]


class WeightsConfig(Model):
    """Weights b of the losses, L = b0·L_txt + b1·L_reg + b2·L_unq (Chang et al. 2024)."""

    text: Real = 1.0
    latent_norm: Annotated[Real, Field(ge=0.0)] = 0.0
    uniqueness: Annotated[Real, Field(ge=0.0)] = 0.0


class GuideConfig(Model):
    """CLIP, prompts and the terms of the objective.

    `latent_norm` is "shell" (both sides of the prior's norm shell, width `shell_width` standard deviations
    free of charge) or "hinge" (Chang et al.: below half of the prior's mean norm).

    `name` is "prompts", or that of another guide (`qdgs.GUIDES`): it takes further keys as its options, and
    no `clip`; its `objective` and the `low` and `high` of measures are for readers alone.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())
    name: str = PROMPTS
    clip: ClipConfig = ClipConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    measures: Annotated[list[MeasureConfig], Field(min_length=1)]
    weights: WeightsConfig = WeightsConfig()
    latent_norm: Literal["shell", "hinge"] = "shell"
    shell_width: Annotated[Real, Field(ge=0.0)] = 2.0

    @property
    def options(self) -> dict[str, Any]:
        """Keys of a guide other than prompts."""
        return dict(self.model_extra or {})

    @property
    def who(self) -> str:
        """Which guide, in words."""
        if self.name != PROMPTS:
            return Named(name=self.name, **self.options).who
        return " ".join(part for part in (self.clip.model, self.clip.pretrained) if part)

    @model_validator(mode="after")
    def _fits_its_name(self) -> Self:
        if self.name == PROMPTS:
            self._check_prompts()
        elif "clip" in self.model_fields_set:
            raise Mistake("clip", f"expected none, as the guide {self.name!r} uses no prompts")
        elif self.weights.uniqueness:
            raise Mistake(
                "weights.uniqueness", f"expected 0 for the guide {self.name!r}, which embeds nothing"
            )
        return self

    def _check_prompts(self) -> None:
        for option in self.options:
            known = nearest(option, type(self).model_fields)
            raise Mistake(option, f"unknown key{known}")
        _given(self, "objective", "objective")
        _given(self.objective, "positive", "objective.positive")
        for index, measure in enumerate(self.measures):
            for side in ("low", "high"):
                _given(measure, side, f"measures.{index}.{side}")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [measure.name for measure in self.measures]
        reserved = {"cell", "rank", "objective", "lineage", "group", "label", "id", "index", "evaluation"}
        for name in names:
            if names.count(name) > 1:
                raise Mistake("measures", f"expected distinct names, got {name!r} twice")
            if name in reserved or name.startswith("latent_"):
                raise Mistake("measures", f"{name!r} is the name of a column of the archive; take another")
        return self


def _given(model: Model, field: str, place: str) -> None:
    """Refuse prompts that are not given, or none of them."""
    if field not in model.model_fields_set:
        raise Mistake(place, "expected a value, got none")
    if getattr(model, field) == []:
        raise Mistake(place, "expected at least one prompt, got none")


class SearchConfig(Model):
    """How the latents are searched. None and "auto" are settled before the search starts, and recorded.

    `preset: paper` takes the settings of the published run instead of ours, where a key is not given.
    """

    preset: Literal["tuned", "paper"] = "tuned"
    algorithm: Algorithm = "auto"
    archive: Literal["grid", "cvt"] = "grid"
    centroids: Annotated[Integer, Field(ge=1)] = 1000
    emitters: Annotated[Integer, Field(ge=1)] = 8
    batch_size: Annotated[Integer, Field(ge=1)] = 32
    evaluations: Annotated[Integer, Field(ge=1)] = 20_000
    seconds: Annotated[Real, Field(gt=0.0)] | None = None
    sigma0: Annotated[Real, Field(gt=0.0)] | None = None
    step_size: Annotated[Real, Field(gt=0.0)] | None = None
    iso_sigma: Annotated[Real, Field(gt=0.0)] | None = None
    line_sigma: Annotated[Real, Field(ge=0.0)] | None = None
    ranker: Literal["imp", "2imp", "rd", "2rd", "obj", "2obj"] | None = None
    selection_rule: Literal["mu", "filter"] | None = None
    restart_rule: Annotated[Integer, Field(ge=1)] | Literal["basic", "no_improvement"] | None = None
    learning_rate: Annotated[Real, Field(ge=0.0, le=1.0)] | None = None
    threshold_min: Real | None = None
    calibrate_objective: bool | None = None
    range_samples: Annotated[Integer, Field(ge=64)] = 1024
    prior_starts: Annotated[Integer, Field(ge=0)] = 1024
    prior_share: Annotated[Real, Field(ge=0.0, lt=1.0)] | None = None
    reservoir: Annotated[Integer, Field(ge=1)] = 4
    checkpoint_seconds: Annotated[Real, Field(ge=0.0)] = 30.0
    micro_batch: Annotated[Integer, Field(ge=16)] = 64

    @model_validator(mode="after")
    def _budget(self) -> Self:
        if self.preset == "paper":
            return self  # its emitters and batch depend on the algorithm: `settle` looks at the budget
        batch = self.emitters * self.batch_size
        if self.evaluations < batch:
            raise Mistake(
                "evaluations",
                f"expected at least one batch of {self.emitters} emitters × {self.batch_size} = {batch}, "
                f"got {self.evaluations}",
            )
        return self


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
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
