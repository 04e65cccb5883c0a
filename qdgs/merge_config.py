"""What the folder of a merged dataset says of itself (`kind: merge`): runs, target, number of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from qdgs.config import RunConfig, parse_config, plain, read_mapping
from qdgs.errors import ConfigError
from qdgs.files import yaml_text
from qdgs.mistakes import sentence
from qdgs.values import Integer, Model


class MergeConfig(Model):
    """A dataset put together from those of runs.

    `run` names groups, target and label as the first run does, and the auditor where all have the same; its
    generator, guide and search are the first run's, and merge.json tells those of the others.
    """

    kind: Literal["merge"]
    runs: Annotated[list[str], Field(min_length=1)]
    images: Annotated[Integer, Field(ge=1)] | None = None
    run: RunConfig


def load_merge(path: Path) -> MergeConfig:
    """Read the config.yaml of a merged dataset.

    Raises:
        ConfigError: It is missing, or does not hold.
    """
    data = read_mapping(path)
    try:
        return MergeConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {sentence(error, data, MergeConfig)}") from None


def dump_merge(config: MergeConfig) -> str:
    """The configuration as YAML that `load_merge` reads to an equal object."""
    data = {**config.model_dump(mode="json", exclude={"run"}), "run": plain(config.run)}
    return yaml_text(data)


def with_target(config: RunConfig, target: str) -> RunConfig:
    """A configuration with another target.

    Args:
        config: Of a run.
        target: "uniform", the path of a table, or `GROUP=SHARE,GROUP=SHARE`.

    Raises:
        ConfigError: It is of another form, or names no groups of the run.
    """
    data: dict[str, Any] = plain(config)
    data["dataset"]["target"] = _target(target)
    return parse_config(data)


def _target(text: str) -> Any:
    if "=" not in text:
        return text
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        return {name.strip(): float(share) for name, _, share in pairs}
    except ValueError:
        raise ConfigError(
            f"--target: expected uniform, a table, or GROUP=SHARE,GROUP=SHARE, got {text!r}"
        ) from None
