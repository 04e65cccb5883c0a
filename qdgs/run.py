"""The run folder, and the stages chained over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qdgs.config import RunConfig, dump_config, load_config, parse_config, plain
from qdgs.errors import CorruptFileError, InputError
from qdgs.files import fingerprint, read_json, write_json, write_text
from qdgs.overrides import override
from qdgs.registry import nearest

if TYPE_CHECKING:
    from qdgs.report.views import Archive, Dataset

STAGES = ("search", "flatten", "render", "audit", "report", "export")

READS: dict[str, tuple[str, ...]] = {
    "search": ("seed", "generator", "guide", "search"),
    "flatten": ("dataset", "judges", "audit"),
    "render": (),
    "audit": (),
    "report": (),
    "export": (),
}
"""What each stage reads of the configuration, beside what the stages before it read."""

SPREAD = ("search", "render", "audit")
"""Stages that workers take part in."""

WRITES: dict[str, tuple[str, ...]] = {
    "search": (
        "evaluations",
        "search_seconds",
        "evaluations_per_second",
        "qd_score",
        "norm_qd_score",
        "coverage",
        "objective_mean",
        "clipped_fraction",
        "lineages",
        "candidates_guessed",
    ),
    "flatten": ("gate_acceptance", "images", "reference_evaluations"),
    "render": (),
    "audit": (
        "corrected_qd_score",
        "random_corrected_qd_score",
        "label_agreement",
        "random_label_agreement",
        "normalized_entropy",
        "random_normalized_entropy",
        "smallest_group_share",
        "random_smallest_group_share",
        "max_share_error",
        "random_max_share_error",
        "corrected_max_share_error",
        "fairness_discrepancy",
        "random_fairness_discrepancy",
        "group_diversity_ratio",
        "near_duplicates",
        "unreadable_share",
    ),
    "report": (),
    "export": (),
}
"""Keys of summary.json that each stage writes; null where something cannot be told."""

FREE = (
    "dataset.",
    "judges.",
    "audit.",
    "workers.",
    "search.evaluations",
    "search.seconds",
    "search.checkpoint_seconds",
)
"""What may change in a run that has been searched."""


THROUGH = "stages"
"""Unit of the last step of a stage."""


class Step(NamedTuple):
    """How far a stage is.

    Attributes:
        stage: Which one.
        done: Of `total`.
        total: Evaluations, images or whatever the stage counts.
        unit: What it counts.
        numbers: What is worth watching.
    """

    stage: str
    done: int
    total: int
    unit: str
    numbers: Mapping[str, float] = {}

    @property
    def through(self) -> bool:
        """Whether this tells that a stage is through: `numbers` are then its own of summary.json."""
        return self.unit == THROUGH


Watch = Callable[[Step], None]


def unwatched(step: Step) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Run:
    """A folder that holds everything that one configuration produced.

    Attributes:
        path: The folder.
        config: The configuration.
    """

    path: Path
    config: RunConfig
    _marks: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def create(cls, config: RunConfig | Path | str, path: Path | str) -> Run:
        """Begin a run in a new or empty folder, or take up the one of this configuration that is there.

        Raises:
            InputError: The folder holds another run, or files that are not a run's.
        """
        config = config if isinstance(config, RunConfig) else load_config(Path(config))
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: expected a folder, got a file; choose another")
        if (path / "config.yaml").exists():
            run = cls.open(path)
            _refuse_another(path, run.config, config)
            return run
        others = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        if others:
            shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise InputError(f"{path}: expected a new or empty folder, got one with {shown}; choose another")
        write_text(path / "config.yaml", dump_config(config))
        return cls(path, config)

    @classmethod
    def open(cls, path: Path | str, overrides: Sequence[str] = ()) -> Run:
        """Take up the run in a folder.

        Args:
            path: The folder.
            overrides: `a.b=value` over its configuration. What the search reads can no longer change once
                there is a search.

        Raises:
            InputError: There is no run in the folder, or an override is not allowed.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            what = "a folder without config.yaml" if path.is_dir() else "nothing"
            raise InputError(f"{path}: expected the folder of a run, got {what}; begin one with qdgs run")
        config = load_config(path / "config.yaml")
        run = cls(path, config, _read_marks(path))
        return run._changed(overrides) if overrides else run

    def _changed(self, overrides: Sequence[str]) -> Run:
        data = plain(self.config)
        for assignment in overrides:
            override(data, assignment)
        config = parse_config(data)
        for key in differences(self.config, config):
            if self.searched and not key.startswith(FREE):
                raise InputError(
                    f"{self.path}: {key} cannot change in a run that has been searched; begin another with "
                    "qdgs run --out"
                )
        write_text(self.path / "config.yaml", dump_config(config))
        return Run(self.path, config, self._marks)

    @property
    def searched(self) -> bool:
        """Whether a search has begun."""
        return (self.path / "search").exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json holds; empty before the first stage is through."""
        path = self.path / "summary.json"
        return read_json(path) if path.exists() else {}

    @property
    def archive(self) -> Archive:
        """What the search found; a notebook draws it.

        Raises:
            InputError: There is no archive yet.
        """
        from qdgs.report.views import archive_of

        return archive_of(self.path, self.config)

    @property
    def dataset(self) -> Dataset:
        """The images that were chosen; a notebook shows some of each group.

        Raises:
            InputError: Nothing is chosen yet.
        """
        from qdgs.report.views import dataset_of

        return dataset_of(self.path, self.config)

    def __repr__(self) -> str:
        through = [stage for stage in STAGES if self.finished(stage)]
        return f"Run({str(self.path)!r}, through with {', '.join(through) or 'nothing yet'})"

    def finished(self, stage: str) -> bool:
        """Whether a stage is through, for the configuration as it is now, and so are those before it."""
        before = STAGES[: STAGES.index(stage) + 1]
        return all(self._marks.get(name, {}).get("config") == self._fingerprint(name) for name in before)

    def warnings(self) -> list[str]:
        """What a reader of the numbers so far must know, a sentence each."""
        from qdgs.parts import judges_shared
        from qdgs.report.numbers import warnings_of

        through = [name for name in STAGES if self.finished(name)]
        kept = {key for name in through for key in WRITES[name] if key != "images" or "audit" in through}
        told = {key: value for key, value in self.summary.items() if key in kept and value is not None}
        left_out = _left_out(self.path) if "audit" in through else []
        return warnings_of(told, shared_judge=bool(judges_shared(self.config.judges)), left_out=left_out)

    def require(self, stage: str) -> None:
        """Refuse to go on where a stage is not through.

        Raises:
            InputError: Names the command to run first.
        """
        for name in STAGES[: STAGES.index(stage) + 1]:
            if not self.finished(name):
                raise InputError(
                    f"{self.path}: expected a run that is through with {name}; "
                    f"run qdgs {name} {self.path} first"
                )

    def do(self, stage: str, *, device: str = "cpu", watch: Watch = unwatched, **options: Any) -> None:
        """Do one stage, again where it was through already; the stages after it are to be done again.

        Args:
            stage: One of `STAGES`.
            device: Where models work.
            watch: Told how far the stage is.
            options: Of the stage.

        Raises:
            InputError: The stage is unknown, or one before it is not through.
        """
        from qdgs.memory import give_back

        position = _position(stage)
        if position and stage != "report":  # a report tells what is there, and what is not
            self.require(STAGES[position - 1])
        if options.get("shard") is None:  # a shard makes nothing else of a stage, and begins beside others
            self._forget(STAGES[position:])
        begun = time.monotonic()
        numbers = import_module(f"qdgs.stages.{stage}").perform(self, device=device, watch=watch, **options)
        if numbers is not None:
            self._mark(stage, numbers, time.monotonic() - begun)
            told = {key: value for key, value in numbers.items() if value is not None}
            watch(Step(stage, 1, 1, THROUGH, told))
        give_back()

    def complete(self, *, device: str = "cpu", watch: Watch = unwatched, until: str = STAGES[-1]) -> Run:
        """Do every stage that is not through yet, up to and including `until`.

        Raises:
            InputError: `until` is not a stage.
        """
        with self.workers(until):
            for stage in STAGES[: _position(until) + 1]:
                if not self.finished(stage):
                    self.do(stage, device=device, watch=watch)
        return self

    def workers(self, until: str = STAGES[-1]) -> AbstractContextManager[Any]:
        """Hold the workers of the configuration for all stages up to and including `until`."""
        from qdgs.cluster import held

        spread = [stage for stage in SPREAD if _position(stage) <= _position(until)]
        return nullcontext() if all(map(self.finished, spread)) else held(self.config.workers)

    def _fingerprint(self, stage: str) -> str:
        read = [key for name in STAGES[: STAGES.index(stage) + 1] for key in READS[name]]
        data = {key: value for key, value in plain(self.config).items() if key in read}
        data["search"].pop("checkpoint_seconds", None)
        return fingerprint(data)

    def _forget(self, stages: Sequence[str]) -> None:
        for stage in stages:
            self._marks.pop(stage, None)
        write_json(self.path / "stages.json", self._marks)

    def _mark(self, stage: str, numbers: Mapping[str, Any], seconds: float) -> None:
        later = STAGES[STAGES.index(stage) :]
        stale = {key for name in later for key in WRITES[name]}
        kept = {key: value for key, value in self.summary.items() if key not in stale}
        told = {key: numbers.get(key) for key in WRITES[stage]}
        write_json(self.path / "summary.json", {**kept, **told})
        self._marks[stage] = {"config": self._fingerprint(stage), "seconds": round(seconds, 3)}
        write_json(self.path / "stages.json", self._marks)


def _position(stage: str) -> int:
    if stage not in STAGES:
        raise InputError(f"stage: unknown {stage!r}{nearest(stage, STAGES)}")
    return STAGES.index(stage)


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """Keys, with dots, at which two configurations differ."""
    left, right = (dict(_leaves(plain(config))) for config in (one, other))
    return [key for key in {**left, **right} if left.get(key, ...) != right.get(key, ...)]


def _leaves(data: Any, place: str = "") -> list[tuple[str, Any]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if items is None:
        return [(place, data)]
    return [leaf for key, value in items for leaf in _leaves(value, f"{place}.{key}" if place else str(key))]


def _refuse_another(path: Path, there: RunConfig, wanted: RunConfig) -> None:
    keys = differences(there, wanted)
    if keys:
        more = f" and {len(keys) - 1} more keys" if len(keys) > 1 else ""
        raise InputError(
            f"{path}: expected a new folder or the run of this configuration, got a run that differs in "
            f"{keys[0]}{more}; choose another --out, or go on with qdgs resume {path}"
        )


def _left_out(path: Path) -> list[str]:
    """Groups whose diversity the audit could not compare."""
    with suppress(InputError):
        return list(read_json(path / "audit.json").get("diversity", {}).get("left_out", {}))
    return []


def _read_marks(path: Path) -> dict[str, Any]:
    # Losing the marks costs doing stages again, never data.
    with suppress(CorruptFileError, InputError):
        return read_json(path / "stages.json")
    return {}
