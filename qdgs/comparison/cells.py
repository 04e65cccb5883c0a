"""One cell of a comparison: a method or an arm, at one seed, measured and kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from qdgs.compare_config import CompareConfig, MethodConfig, plain_compare
from qdgs.comparison.data import TaskData, task_data
from qdgs.comparison.downstream import Task
from qdgs.comparison.measures import Grader, Number, Numbers, Yardstick
from qdgs.datasets.manifest import latents_of, write_parquet
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.audit import audited_groups, audited_targets
from qdgs.fairness.intervals import Estimate
from qdgs.files import fingerprint
from qdgs.generators.base import Generator, generate
from qdgs.generators.stored import as_stored
from qdgs.guides.base import SearchGuide
from qdgs.judges.base import Judge, judge_batches
from qdgs.parts import load_generator, load_guide, load_judge, made_of
from qdgs.randomness import Stream, stream
from qdgs.report.sheets import mosaic
from qdgs.run import Step, Watch, unwatched
from qdgs.samplers.base import SAMPLERS, Problem, Sampler
from qdgs.samplers.costs import Cost
from qdgs.stages.audit import known_confusion, shared_notes, taught_notes
from qdgs.stages.bank import Bank
from qdgs.training.pixels import to_pixels, unit_batches

FIT, SAMPLE, GRADE = range(3)
NO_GENERATOR = "none"
FIRST, TILE = 16, 56
UNLABELLED = "none of its images has a label: the biased classifier stays as it was"


@dataclass(frozen=True)
class Cell:
    """What is done at once: `method` is None for an arm."""

    title: str
    seed: int
    method: MethodConfig | None = None


@dataclass(frozen=True)
class Result:
    """What a cell found.

    Attributes:
        generator: Its name; "none" for an arm.
        rows: Metric → value, low, high, n.
        random: The same of random samples of the method's own generator, where it has one.
        notes: What a reader has to know.
    """

    generator: str
    rows: Mapping[str, Mapping[str, float]]
    random: Mapping[str, Mapping[str, float]] | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


class Bench:
    """Everything that the cells of one comparison share, made when it is first asked for.

    Args:
        config: The comparison.
        out: Its folder.
        device: Where models work.
        watch: Told how far a cell is.
    """

    def __init__(
        self, config: CompareConfig, out: Path, device: str = "cpu", watch: Watch = unwatched
    ) -> None:
        self.config, self.out, self.device, self._watch = config, out, device, watch
        self._tasks: dict[int, Task] = {}
        self._data: dict[int, TaskData] = {}

    def cells(self) -> list[Cell]:
        """Every cell, seed by seed, arms first: they are the cheapest."""
        return [
            cell
            for seed in self.config.every_seed
            for cell in (
                *(Cell(arm, seed) for arm in self.config.arms),
                *(Cell(method.title, seed, method) for method in self.config.methods),
            )
        ]

    def key(self, cell: Cell) -> str:
        """What a cell's result depends on."""
        data = plain_compare(self.config)
        for name in ("methods", "seeds", "first_seed", "endpoints"):
            del data[name]
        (data["downstream"] or {}).pop("arms", None)
        method = None if cell.method is None else [cell.method.name, cell.method.options]
        return fingerprint([data, method, cell.title if cell.method is None else None, cell.seed])

    def check(self) -> None:
        """Make every sampler once, and the problem: what is wrong is told before anything is spent.

        Raises:
            InputError: A method, an option, a judge or the data is not what it should be.
        """
        for method in self.config.methods:
            self.sampler(method)
        assert self._grader, "made of the problem and the auditor"
        if self.config.downstream is not None:
            self.task(self.config.first_seed)

    def sampler(self, method: MethodConfig) -> Sampler:
        """A sampler of a configuration; with `quick`, its quick options where none are given."""
        made: Sampler = made_of(SAMPLERS, method.name, method.options, "methods", quick=self.config.quick)
        return made

    def do(self, cell: Cell) -> Result:
        """Fit, sample, render, grade and train on one cell; or train one arm.

        Raises:
            InputError: The method finds the problem not to be what it needs.
        """
        if cell.method is None:
            return self._arm(cell)
        return self._method(cell, self.sampler(cell.method))

    def problem(self, cell: Cell) -> Problem:
        """What the method of a cell is given."""
        data = self.data(cell.seed)
        problem = replace(self._problem, work=self.work(cell), watch=self._within(cell))
        if data is None:
            return problem
        return replace(problem, reference=data.reference, training=data.training)

    def work(self, cell: Cell) -> Path:
        """Where a cell's method keeps what it made on the way."""
        return self._work(cell.seed) / f"{cell.title}-{self.key(cell)[:12]}"

    def data(self, seed: int) -> TaskData | None:
        """The images beside the generator."""
        if self.config.data is None:
            return None
        if seed not in self._data:
            downstream = self.config.downstream
            size = downstream.image_size if downstream else self._problem.generator.image_size
            self._data = {seed: task_data(self.config.data, self._problem, seed, size)}
        return self._data[seed]

    def task(self, seed: int) -> Task:
        """The downstream task of a seed."""
        data, config = self.data(seed), self.config
        assert data is not None, "the configuration was checked for it"
        assert config.downstream is not None, "asked for only where there is one"
        if seed not in self._tasks:
            drawn = config.data is not None and config.data.source == "drawn-shapes"
            plain = plain_compare(config)
            known = [plain["data"], plain["downstream"], plain["run"]["dataset"], plain["run"]["generator"]]
            biased = self._work(seed) / f"biased-{fingerprint([*known, seed])[:12]}.pt"
            task = Task(self._problem, data, config.downstream, seed, biased, drawn, config.resamples)
            self._tasks = {seed: task}
        return self._tasks[seed]

    def independence(self) -> tuple[str, ...]:
        """Which judges held two roles, and whose labels taught the guide, if it can be had."""
        judges = self.config.run.judges
        try:
            return (*shared_notes(judges), *taught_notes(self._guide, judges))
        except QdgsError:
            return tuple(shared_notes(judges))

    def _within(self, cell: Cell) -> Watch:
        """Tell how far a part of a cell is, under the cell's name."""

        def watch(step: Step) -> None:
            if not step.through:
                self._watch(step._replace(stage=f"{cell.title}, seed {cell.seed}: {step.stage}"))

        return watch

    def _work(self, seed: int) -> Path:
        return self.out / "work" / str(seed)

    @cached_property
    def _problem(self) -> Problem:
        run, config = self.config.run, self.config
        teacher = run.judges.reader("teacher")
        assert teacher is not None, "the configuration was checked for it"
        groups = audited_groups(run.dataset)
        label = run.dataset.groups[run.dataset.label].audit
        if label is None:
            raise InputError("run.dataset.groups: expected the label to be an attribute that is audited")
        judge = load_judge(teacher, device=self.device, role="teacher")
        gated = run.judges.gate is not None and run.judges.gate != teacher
        return Problem(
            generator=load_generator(run.generator, device=self.device),
            judge=judge,
            attributes={str(group.audit): tuple(group.names) for group in groups.values()},
            label=label,
            target=audited_targets(run.dataset),
            images=config.images,
            gate=load_judge(run.judges.gate, device=self.device, role="gate")
            if gated and run.judges.gate
            else None,
            draws=config.draws,
            run=run,
            device=self.device,
        )

    @cached_property
    def _auditor(self) -> Judge:
        named = self.config.run.judges.auditor
        assert named is not None, "the configuration was checked for it"
        return load_judge(named, device=self.device)

    @cached_property
    def _guide(self) -> SearchGuide:
        return load_guide(self.config.run.guide, device=self.device)

    @cached_property
    def _grader(self) -> Grader:
        confusion = known_confusion(self._auditor, self.config.run.dataset)
        return Grader(self._problem, self._auditor, confusion, self.config.resamples)

    @cached_property
    def _bank(self) -> Yardstick:
        samples = self.config.run.audit.samples
        bank = Bank(
            self._problem.generator,
            samples=samples,
            micro_batch=self.config.run.search.micro_batch,
            device=self.device,
        )
        read = bank.judged(self._auditor)
        return Yardstick(bank.embedding(), bank.embeddings(), self._grader.groups_of(read))

    def _with_real(self, yardstick: Yardstick, seed: int) -> Yardstick:
        data = self.data(seed)
        if data is None:
            return yardstick
        return replace(yardstick, real=yardstick.embedding.transform(unit_batches(data.test.images)))

    def _arm(self, cell: Cell) -> Result:
        task = self.task(cell.seed)
        task.prepare()
        numbers = task.arm(cell.title, lambda: self._guide, self._rng(cell.seed, GRADE))
        if numbers is None:
            raise InputError(f"downstream.arms: there is no arm {cell.title!r} for these data")
        costs = _costs(task.arm_cost(cell.title))
        del costs["seconds"]  # nothing but tuning was timed
        return Result(NO_GENERATOR, _rows(numbers | costs), None, ())

    def _method(self, cell: Cell, sampler: Sampler) -> Result:
        problem = self.problem(cell)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sampler.fit(problem, self._rng(cell.seed, FIT))
            once = sampler.cost
            rows = sampler.sample(problem.images, self._rng(cell.seed, SAMPLE))
        if not len(rows):
            raise InputError(f"{cell.title}: expected at least one image, got none")
        own = sampler.own
        generator = own.generator if own else problem.generator
        pixels = _pixels(generator, latents_of(rows, self.device))
        self._keep(cell, rows, pixels[:FIRST])
        random, yardstick = (None, self._bank) if own is None else self._own(own.before, cell.seed)
        numbers = self._graded(pixels, rows["label"], self._with_real(yardstick, cell.seed), cell.seed)
        labels = _label_codes(problem, rows["label"])
        unlabelled = () if (labels >= 0).any() else (UNLABELLED,)
        if self.config.downstream is not None:
            task, rng = self.task(cell.seed), self._rng(cell.seed, GRADE)
            numbers |= task.untuned(rng) if unlabelled else task.tuned_on(pixels, labels, rng)
        numbers |= _costs(sampler.cost) | _costs(once, "_once")
        numbers["images"] = Number(Estimate(float(len(rows))), problem.images)
        notes = (*unlabelled, *sampler.notes, *(str(item.message) for item in caught if _ours(item)))
        name = own.name if own else self.config.run.generator.name
        return Result(name, _rows(numbers), random, tuple(dict.fromkeys(notes)))

    def _graded(self, pixels: Tensor, labels: pd.Series, yardstick: Yardstick, seed: int) -> Numbers:
        read = self._grader.read(unit_batches(pixels))
        embeddings = yardstick.embedding.transform(unit_batches(pixels))
        return self._grader.numbers(read, embeddings, labels, yardstick, self._rng(seed, GRADE))

    def _own(
        self, before: Generator, seed: int
    ) -> tuple[Mapping[str, Mapping[str, float]] | None, Yardstick]:
        """Random samples of a method's own generator, graded, and as the yardstick of what it makes."""
        latents = before.sample_latents(self.config.images, self._rng(seed, SAMPLE)).to(self.device)
        pixels = _pixels(before, latents)
        groups = self._grader.groups_of(self._grader.read(unit_batches(pixels)))
        embeddings = self._bank.embedding.transform(unit_batches(pixels))
        yardstick = Yardstick(self._bank.embedding, embeddings, groups)
        labels = judge_batches(self._problem.judge, unit_batches(pixels))[self._problem.label]
        return _rows(self._graded(pixels, labels, self._with_real(yardstick, seed), seed)), yardstick

    def _keep(self, cell: Cell, rows: pd.DataFrame, first: Tensor) -> None:
        import pyarrow as pa

        path = self.out / "cells" / str(cell.seed) / f"{cell.title}.parquet"
        write_parquet(path, pa.Table.from_pandas(rows, preserve_index=False))
        tiles = first.permute(0, 2, 3, 1).numpy()
        sheet = mosaic(tiles, FIRST, min(TILE, tiles.shape[1]), gap=1)
        Image.fromarray(sheet).save(path.with_suffix(".png"))

    def _rng(self, seed: int, purpose: int) -> np.random.Generator:
        return stream(seed, Stream.SAMPLING, purpose)


def _pixels(generator: Generator, latents: Tensor) -> Tensor:
    """Images `(n, 3, height, width)` as 8-bit files keep them."""
    return torch.cat([to_pixels(as_stored(images)).cpu() for images in generate(generator, latents)])


def _label_codes(problem: Problem, labels: pd.Series) -> np.ndarray:
    names = list(problem.attributes[problem.label])
    codes: np.ndarray = labels.map({name: code for code, name in enumerate(names)}).fillna(-1).to_numpy(int)
    return codes


def _costs(cost: Cost, suffix: str = "") -> Numbers:
    return {f"{name}{suffix}": Number(Estimate(float(value)), 1) for name, value in asdict(cost).items()}


def _rows(numbers: Numbers) -> dict[str, dict[str, float]]:
    """Rows of what could be told: a number that is not one says nothing."""
    rows = {name: number.row() for name, number in numbers.items()}
    return {name: row for name, row in rows.items() if np.isfinite(list(row.values())).all()}


def _ours(item: warnings.WarningMessage) -> bool:
    return item.category.__module__.startswith("qdgs")
