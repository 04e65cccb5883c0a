"""The images that a model is probed with: as many of every group, read by judges that agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs.config import audited_attributes
from qdgs.datasets.manifest import latents_of
from qdgs.errors import ConfigError, InputError
from qdgs.generators.base import Generator
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_stored
from qdgs.judges.base import Judge
from qdgs.judges.panel import JudgePanel
from qdgs.parts import Device, load_generator, load_guide, load_judge, made_of
from qdgs.probe_config import ProbeConfig
from qdgs.randomness import Stream, stream
from qdgs.samplers.base import SAMPLERS, Problem, Sampler, sample_rows
from qdgs.samplers.rejection import RejectionSampler
from qdgs.stages.bank import BANK_SEED
from qdgs.stages.judged_bank import CARD, SHIPPED, JudgedBank, known_rows
from qdgs.stages.scoring import Scorer, scores_of

HALF = "half"
REJECTION = "rejection"
SAMPLING, HALVES, POOL, PAIRING, SEARCHING, RESAMPLING = range(6)
"""Indices of a probe's random streams."""


class Agreement:
    """All judges of a run as one: an attribute is told where all who read it tell the same.

    Accepted is what every one of them accepts; scores are those of the first that has them. So no single
    judge's mistake makes a group, and what they differ on is in none.

    Args:
        judges: Auditor first, then teacher and gate; one that holds several roles stands there once.
        attributes: Those that are told, each with its values.
    """

    def __init__(self, judges: Sequence[Judge], attributes: Mapping[str, tuple[str, ...]]) -> None:
        self.judges = tuple(judges)
        self.attributes = attributes

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        return self.joined([judge.judge(images) for judge in self.judges])

    def joined(self, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """The rows of `judges`, in their order, as one."""
        columns: dict[str, Any] = {}
        for name in self.attributes:
            told = [
                frame for judge, frame in zip(self.judges, frames, strict=True) if name in judge.attributes
            ]
            first = told[0][name].astype(object)
            same = np.logical_and.reduce([(frame[name].astype(object) == first).to_numpy() for frame in told])
            columns[name] = first.where(same, None)
            columns[f"{name}_score"] = told[0][f"{name}_score"]
        accepted = np.logical_and.reduce([frame["accepted"].to_numpy(bool) for frame in frames])
        return pd.DataFrame({**columns, "accepted": accepted, "quality": frames[-1]["quality"]})


@dataclass(frozen=True, eq=False)
class Parts:
    """Everything that a probe looks through, loaded once.

    Attributes:
        config: The probe.
        scorer: Generator, guide and prior.
        judge: All judges of the run, agreeing.
        auditor: The one whose own errors may be known.
        gate: Tells how whole an image is.
        device: Where they work.
    """

    config: ProbeConfig
    scorer: Scorer
    judge: Agreement
    auditor: Judge
    gate: Judge
    device: Device

    @property
    def generator(self) -> Generator:
        """Makes the images."""
        return self.scorer.generator

    @property
    def attributes(self) -> Mapping[str, tuple[str, ...]]:
        """Attributes that make up groups, with their values."""
        return self.judge.attributes

    def problem(self, counts: Mapping[str, int] | None = None) -> Problem:
        """What a sampler is given: as many images of every group, or so many of each."""
        config, names = self.config, group_names(self.attributes)
        images = config.samples.images if counts is None else sum(counts.values())
        shares = dict.fromkeys(names, 1 / len(names))
        if counts is not None:
            shares = {name: count / images for name, count in counts.items()}
        return Problem(
            generator=self.generator,
            judge=self.judge,
            attributes=self.attributes,
            label=config.answers or next(iter(self.attributes)),
            target=shares,
            images=images,
            draws=config.samples.draws,
            run=config.run,
            device=str(self.device),
        )

    def images(self, latents: Tensor) -> Iterator[Tensor]:
        """Images of latents `(n, latent_dim)` as 8-bit files keep them, micro-batch by micro-batch."""
        micro_batch = self.config.run.search.micro_batch
        return generate_quickly(self.generator, latents.to(self.device), micro_batch, as_stored)

    def read(self, latents: Tensor) -> pd.DataFrame:
        """What the judges agree on of the images of latents `(n, latent_dim)`."""
        return pd.concat([self.judge.judge(images) for images in self.images(latents)], ignore_index=True)


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Balanced images, as latents, and what is known of them.

    Attributes:
        rows: `id`, `group`, `group_<attribute>`, `half` (0 or 1), the guide's objective and measures.
        latents: `(n, latent_dim)`.
        read: What the judges read, with scores, one row an image.
        attributes: Attribute → its values; they make up the groups.
        notes: What a reader has to know, a sentence each.
    """

    rows: pd.DataFrame
    latents: Tensor
    read: pd.DataFrame
    attributes: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return group_names(self.attributes)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Position of each image's group in `groups`, `(n,)`."""
        return pd.Index(self.groups).get_indexer(pd.Index(self.rows["group"])).astype(np.int64)

    def places(self, attribute: str) -> NDArray[np.int64]:
        """Position of each image's value among those of an attribute, `(n,)`."""
        values = pd.Index(self.attributes[attribute])
        return values.get_indexer(pd.Index(self.rows[f"group_{attribute}"])).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Pool:
    """Random samples of the generator, and what the judges read.

    Attributes:
        latents: `(n, latent_dim)`.
        read: One row a sample.
    """

    latents: Tensor
    read: pd.DataFrame

    def __len__(self) -> int:
        return len(self.read)

    def codes(self, attributes: Mapping[str, tuple[str, ...]]) -> NDArray[np.int64]:
        """Position of each sample's group `(n,)`, −1 where the judges reject it or differ."""
        told = np.zeros(len(self), dtype=np.int64)
        known = self.read["accepted"].to_numpy(bool)
        for name, values in attributes.items():
            places = pd.Index(values).get_indexer(pd.Index(self.read[name], dtype=object))
            told, known = told * len(values) + places, known & (places >= 0)
        return np.where(known, told, -1)


def open_parts(config: ProbeConfig, *, device: Device = "cpu") -> Parts:
    """Load generator, guide and judges of a probe.

    Raises:
        ConfigError: One of them is unknown, or no judge tells an attribute.
        InputError: A file of theirs is missing or damaged.
    """
    run = config.run
    generator = load_generator(run.generator, device=device)
    scorer = Scorer(generator, load_guide(run.guide, device=device), seed=run.seed)
    made: dict[str, Judge] = {}
    for role in ("auditor", "teacher", "gate"):
        named = getattr(run.judges, role)
        if named is not None and repr(named) not in made:
            made[repr(named)] = load_judge(named, device=device, role=role)
    judges = list(made.values())
    attributes = {name: _values(config, name, judges) for name in config.attributes}
    gate = run.judges.gate
    return Parts(
        config=config,
        scorer=scorer,
        judge=Agreement(judges, attributes),
        auditor=judges[0],
        gate=judges[-1] if gate is None else made[repr(gate)],
        device=device,
    )


def draw_pool(parts: Parts) -> Pool:
    """Random samples, read by the judges: all of the shipped bank, where that holds them."""
    known = _shipped(parts)
    if known is not None:
        return Pool(JudgedBank.open().latents(parts.generator), known)
    rng = stream(parts.config.seed, Stream.PROBING, POOL)
    latents = parts.generator.sample_latents(parts.config.samples.pool, rng)
    return Pool(latents, parts.read(latents))


def draw_probe_set(parts: Parts, pool: Pool) -> ProbeSet:
    """Balanced images, scored by the guide.

    Of every group the images are halved at random: what is chosen on one half is told of the other.

    Args:
        parts: Generator, guide and judges.
        pool: Random samples: where the sampler is `rejection`, the first images come from it.

    Raises:
        InputError: Not a single image of any group was found.
    """
    config = parts.config
    named = config.samples.sampler
    rows, notes = _rejected(parts, pool) if named.name == REJECTION else _sampled(parts)
    if not len(rows):
        raise InputError(
            "samples: expected images of the groups, got none that the judges accept and agree on; raise "
            "samples.draws, or look at what the generator makes"
        )
    latents = latents_of(rows)
    scores = scores_of(parts.scorer, latents.to(parts.device), config.run.search.micro_batch)
    kept = rows.loc[:, [name for name in rows if not str(name).startswith("latent_")]]
    told = pd.concat([kept.reset_index(drop=True), scores], axis=1)
    told["id"] = [f"{number:06d}" for number in range(len(told))]
    told[HALF] = _halves(told["group"], stream(config.seed, Stream.PROBING, HALVES))
    return ProbeSet(told, latents, parts.read(latents), parts.attributes, notes)


def group_names(attributes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Every combination of values, joined with "/" in the order of the attributes."""
    names = [""]
    for values in attributes.values():
        names = [f"{name}/{value}" if name else value for name in names for value in values]
    return tuple(names)


def _rejected(parts: Parts, pool: Pool) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Random samples until every group is full, those of the pool first."""
    problem = parts.problem()
    codes, wanted = pool.codes(parts.attributes), problem.counts(problem.images)
    chosen = [np.flatnonzero(codes == group)[:count] for group, count in enumerate(wanted.values())]
    missing = {name: count - len(rows) for (name, count), rows in zip(wanted.items(), chosen, strict=True)}
    at = np.sort(np.concatenate(chosen))
    rows = sample_rows(problem, pool.latents[torch.from_numpy(at)], pool.read.iloc[at])
    if not any(missing.values()):
        return rows, ()
    sampler = RejectionSampler()
    sampler.fit(parts.problem(missing), rng := stream(parts.config.seed, Stream.PROBING, SAMPLING))
    further = sampler.sample(sum(missing.values()), rng)
    return pd.concat([rows, further], ignore_index=True), sampler.notes


def _sampled(parts: Parts) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """What another sampler gives, under the groups that the judges read, whatever it says of them itself."""
    named, problem = parts.config.samples.sampler, parts.problem()
    sampler: Sampler = made_of(SAMPLERS, named.name, named.options, "samples.sampler")
    rng = stream(parts.config.seed, Stream.PROBING, SAMPLING)
    sampler.fit(problem, rng)
    if sampler.own is not None:
        raise ConfigError(
            f"samples.sampler: expected one that samples the run's generator, got {named.name!r}, which "
            "brings one of its own"
        )
    drawn = sampler.sample(problem.images, rng)
    latents = latents_of(drawn)
    read = parts.read(latents)
    kept = read["accepted"].to_numpy(bool) & (problem.codes_of(read) >= 0)
    dropped = int((~kept).sum())
    told = (f"{dropped:,} sampled images were left out: the judges reject them or differ",) if dropped else ()
    return sample_rows(problem, latents[torch.from_numpy(kept)], read[kept]), (*sampler.notes, *told)


def _shipped(parts: Parts) -> pd.DataFrame | None:
    """What the judges say of the shipped bank of judged samples, where all of them have read it."""
    if not (SHIPPED / CARD).is_file():
        return None
    micro_batch, device = parts.config.run.search.micro_batch, torch.device(parts.device).type
    n = len(JudgedBank.open())
    frames = []
    for judge in parts.judge.judges:
        members = judge.judges if isinstance(judge, JudgePanel) else (judge,)
        read = [
            known_rows(parts.generator, member, n, seed=BANK_SEED, micro_batch=micro_batch, device=device)
            for member in members
        ]
        told = [frame for frame in read if frame is not None]
        if len(told) < len(members):
            return None
        frames.append(judge.joined(told) if isinstance(judge, JudgePanel) else told[0])
    return parts.judge.joined(frames)


def _values(config: ProbeConfig, name: str, judges: Sequence[Judge]) -> tuple[str, ...]:
    """Values of an attribute: those of the run's groups, or all that the judge tells."""
    known = next((tuple(judge.attributes[name]) for judge in judges if name in judge.attributes), None)
    if known is None:
        told = sorted({attribute for judge in judges for attribute in judge.attributes})
        raise ConfigError(
            f"run.judges: expected a judge that tells {name!r}, got judges that tell {', '.join(told)}"
        )
    measure = {told: of for of, told in audited_attributes(config.run).items()}[name]
    group = config.run.dataset.groups.get(measure)
    if group is None:
        return known
    unknown = [value for value in group.names if value not in known]
    if unknown:
        raise ConfigError(
            f"run.dataset.groups.{measure}: expected values that the judges tell of {name!r} "
            f"({', '.join(known)}), got {unknown[0]!r}"
        )
    return group.names


def _halves(groups: pd.Series, rng: np.random.Generator) -> NDArray[np.int64]:
    """0 or 1 for each row, as many of both in every group as can be."""
    halves = np.zeros(len(groups), dtype=np.int64)
    for _, rows in groups.reset_index(drop=True).groupby(groups.to_numpy()).groups.items():
        halves[rng.permutation(rows.to_numpy())[: len(rows) // 2]] = 1
    return halves
