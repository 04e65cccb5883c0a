"""A search for failures: images that the gate accepts and the model gets wrong, as different as can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from qdgs.config import SearchConfig
from qdgs.datasets.duplicates import DuplicateFilter, duplicate_distance
from qdgs.errors import ConfigError, InputError
from qdgs.fairness.diversity import DUPLICATE_QUANTILE, PixelEmbedding
from qdgs.fairness.intervals import Array
from qdgs.generators.base import check_images
from qdgs.generators.stored import as_stored
from qdgs.guides.prior import latent_norm_loss, norm_statistics
from qdgs.judges.base import Judge
from qdgs.mistakes import sentence
from qdgs.parts import load_judge
from qdgs.probe.answers import Answers, Reader
from qdgs.probe.samples import SEARCHING, Parts, Pool
from qdgs.randomness import Stream, integer_seed, stream
from qdgs.search.loop import illuminate
from qdgs.search.state import Search
from qdgs.stages.scoring import scores_of

FAILURE = 50.0
"""Objective from which on the model prefers a wrong answer."""

TEMPERATURE = 4.0
"""Of the log-odds against the right answer: a model that is sure of it still shows where it is least so."""

SHELL_WEIGHT = 5.0
SHELL_WIDTH = 2.0


@dataclass(frozen=True)
class Shell:
    """Where latents of the prior lie: their norms' mean ± 2 standard deviations.

    Attributes:
        norm: Mean norm of random latents.
        norm_std: Its standard deviation.
    """

    norm: float
    norm_std: float

    def distance(self, latents: Tensor) -> Tensor:
        """Squared distance `(n,)` of latents `(n, latent_dim)` from the shell, 0 on it."""
        return latent_norm_loss(
            latents, kind="shell", prior_norm=self.norm, prior_norm_std=self.norm_std, width=SHELL_WIDTH
        )

    def on(self, latents: Tensor) -> Tensor:
        """Those latents that lie on it."""
        return latents[self.distance(latents) == 0]


@dataclass(frozen=True, eq=False)
class Failures:
    """Images that the model got wrong and the judges accept.

    Attributes:
        latents: `(n, latent_dim)`.
        rows: `group`, `answer`, `loss`, whether it is `distinct` from those before it, the guide's measures.
        calls: Images that the model was shown to find them.
    """

    latents: Tensor
    rows: pd.DataFrame
    calls: int

    @property
    def distinct(self) -> int:
        """How many there are without near-duplicates."""
        return int(self.rows["distinct"].sum())


@dataclass(frozen=True, eq=False)
class Found:
    """What a search for failures found, beside random samples at as many calls of the model.

    Attributes:
        searched: By the search.
        random: Among random samples.
    """

    searched: Failures
    random: Failures

    @property
    def table(self) -> pd.DataFrame:
        """The content of failures.csv: failures and distinct ones by group, of the search and of chance."""
        parts = {"": self.searched.rows, "random_": self.random.rows}
        told = {}
        for prefix, rows in parts.items():
            by_group = rows.groupby("group")["distinct"]
            told[f"{prefix}failures"], told[f"{prefix}distinct"] = by_group.size(), by_group.sum()
        frame = pd.DataFrame(told).fillna(0).astype(int)
        return frame.rename_axis("group").reset_index()

    @property
    def summary(self) -> dict[str, Any]:
        """Keys of summary.json."""
        searched, chance = self.searched, self.random
        return {
            "model_calls": searched.calls,
            "failures": len(searched.rows),
            "distinct_failures": searched.distinct,
            "random_failures": len(chance.rows),
            "random_distinct_failures": chance.distinct,
            "failure_ratio": searched.distinct / chance.distinct if chance.distinct else None,
        }


class FailureScore:
    """Latents → how wrong the model is, and the guide's measures; remembers what it was shown.

        f = 50·(1 + tanh(log((1 − p)/p) / 4)) − 5·L_reg(z)

    p is the probability that the model gives the right answer, L_reg the distance from the prior's shell; off
    the shell f is below 50 whatever the model answers. What the gate rejects, or the teacher cannot read, is
    below 0: by how much its quality falls short of the least that the gate accepted among random samples. The
    auditor is not asked: it confirms what was found.

    Args:
        parts: Generator, guide and judges.
        reader: Asks the model.
        pool: Random samples, for the scale of quality.
        teacher: Tells what the right answer is.
    """

    def __init__(self, parts: Parts, reader: Reader, pool: Pool, teacher: Judge) -> None:
        assert parts.config.answers is not None
        self._parts, self._reader, self._teacher = parts, reader, teacher
        self._attribute = parts.config.answers
        quality = pool.read["quality"].to_numpy(float)
        accepted = pool.read["accepted"].to_numpy(bool)
        self._floor = float(quality[accepted].min()) if accepted.any() else float(quality.max())
        self._spread = float(quality.std()) or 1.0
        self._shell = Shell(*norm_statistics(pool.latents))
        self._last: tuple[Tensor, NDArray[np.bool_]] | None = None
        self.suspects: list[Tensor] = []

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Objective `(n,)` and measures `(n, measure_dim)` of latents `(n, latent_dim)`."""
        generator = self._parts.generator
        images = as_stored(check_images(generator(latents), len(latents), generator.image_size))
        measures = self._parts.scorer.guide.score(images).measures
        gate = self._parts.gate.judge(images)
        read = gate if self._teacher is self._parts.gate else self._teacher.judge(images)
        answers = self._reader.read([images])
        truth = pd.Index(answers.values).get_indexer(pd.Index(read[self._attribute], dtype=object))
        real = gate["accepted"].to_numpy(bool) & (truth >= 0) & ~answers.failed
        objective = np.where(real, _wrongness(answers, truth), self._shortfall(gate))
        off = self._shell.distance(latents).cpu()
        self._last = latents.detach().cpu(), real & (answers.given != truth)
        capped = torch.from_numpy(objective).float().clamp(max=FAILURE - 1)
        told = torch.where(off > 0, capped - SHELL_WEIGHT * off, torch.from_numpy(objective).float())
        return told.to(latents.device), measures

    def remember(self, rows: int) -> None:
        """Keep what looks like a failure among the first `rows` of the last call."""
        if self._last is not None:
            latents, wrong = self._last
            self.suspects.append(latents[:rows][torch.from_numpy(wrong[:rows])])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"suspects": self.suspects}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.suspects = state["suspects"]

    def _shortfall(self, gate: pd.DataFrame) -> Array:
        short = (self._floor - gate["quality"].to_numpy(float)) / self._spread
        below: Array = -1.0 - 10 * np.clip(np.nan_to_num(short, nan=4.0), 0, 4)
        return below


def check_failures(parts: Parts) -> None:
    """See that failures can be searched for, before anything is spent.

    Raises:
        ConfigError: No judge but the auditor tells the right answer, or a key of the search does not hold.
    """
    _teacher(parts)
    _search_config(parts)


def search_failures(parts: Parts, reader: Reader, pool: Pool) -> Found:
    """Search for failures, and look for them among as many random samples.

    Everything that the search shows the model counts, samples that it starts from included. Failures, of the
    search and of chance alike, lie on the prior's shell; all judges, the auditor among them, accept them and
    agree on what they are, and the model answers otherwise; of near-duplicates, as the audit counts them
    among as many random samples, the first counts.

    Args:
        parts: Generator, guide and judges.
        reader: Asks the model.
        pool: Random samples.

    Raises:
        ConfigError: No judge but the auditor tells the right answer, or the search cannot be carried out.
    """
    settings = parts.config.failures
    assert settings is not None
    score = FailureScore(parts, reader, pool, _teacher(parts))
    search, wasted = _begun(parts, score)
    for _ in illuminate(search, settings.evaluations - wasted):
        pass
    calls, shell = search.evaluations + wasted, Shell(*norm_statistics(pool.latents))
    suspects, chance = shell.on(torch.cat(score.suspects)), _random_latents(parts, pool, calls)
    embedding = PixelEmbedding.fit(parts.images(pool.latents))
    least = duplicate_distance(embedding.transform(parts.images(chance)), DUPLICATE_QUANTILE)
    chance = shell.on(chance)
    return Found(
        searched=_confirmed(parts, reader, suspects, embedding, least, calls),
        random=_confirmed(parts, reader, chance, embedding, least, calls),
    )


def _begun(parts: Parts, score: FailureScore) -> tuple[Search, int]:
    """A search whose archive takes failures alone, and the calls that it took to see that this cannot be.

    Where not one random start is a failure, there is nothing to start from but what the model gets right.
    """
    begun = _begin(parts, score, FAILURE)
    if begun is not None:
        return begun, 0
    again = _begin(parts, score, 0.0)
    if again is None:
        raise InputError(
            "failures: expected random samples that the gate accepts and the teacher reads, got none among "
            "the first few hundred; set failures to null, or look at what the generator makes"
        )
    return again, again.config.range_samples


def _begin(parts: Parts, score: FailureScore, least: float) -> Search | None:
    """None where no random start reaches the least objective."""
    config = _search_config(parts).model_copy(update={"threshold_min": least})
    try:
        return Search.begin(
            config,
            parts.config.run.guide.measures,
            score,
            latent_dim=parts.generator.latent_dim,
            differentiable=False,
            sample_prior=parts.generator.sample_latents,
            seed=integer_seed(parts.config.seed, Stream.PROBING, SEARCHING),
            device=parts.device,
        )
    except InputError as error:
        if not str(error).startswith("search.threshold_min"):
            raise
        return None


def _wrongness(answers: Answers, truth: NDArray[np.int64]) -> Array:
    right = np.clip(np.nan_to_num(answers.of_truth(truth), nan=1.0), 1e-6, 1 - 1e-6)
    wrongness: Array = 50 * (1 + np.tanh(np.log((1 - right) / right) / TEMPERATURE))
    return wrongness


def _confirmed(
    parts: Parts, reader: Reader, latents: Tensor, embedding: PixelEmbedding, least: float, calls: int
) -> Failures:
    """Of candidates those that are failures indeed, and which are distinct."""
    if not len(latents):
        return _nothing(parts, latents, calls)
    read, answers, embedded = _looked_at(parts, reader, latents, embedding)
    groups = parts.problem().group_of(read)
    assert parts.config.answers is not None
    truth = pd.Index(answers.values).get_indexer(pd.Index(read[parts.config.answers], dtype=object))
    known = read["accepted"].to_numpy(bool) & groups.notna().to_numpy() & ~answers.failed
    wrong = np.flatnonzero(known & (answers.given != truth))
    if not len(wrong):
        return _nothing(parts, latents, calls)
    rows = pd.DataFrame(
        {
            "group": groups.to_numpy()[wrong],
            "answer": np.array(answers.values, dtype=object)[answers.given[wrong]],
            "loss": answers.loss(truth)[wrong],
        }
    )
    at = torch.from_numpy(wrong)
    rows["distinct"] = DuplicateFilter(least).keep(embedded[wrong])
    measures = scores_of(parts.scorer, latents[at].to(parts.device), parts.config.run.search.micro_batch)
    told = rows.astype({"distinct": bool}).join(measures.drop(columns="objective"))
    return Failures(latents[at], told, calls)


def _nothing(parts: Parts, latents: Tensor, calls: int) -> Failures:
    names = ["group", "answer", "loss", *parts.scorer.guide.measure_names]
    rows = pd.DataFrame({name: pd.Series(dtype=object) for name in names})
    return Failures(latents[:0], rows.assign(distinct=np.zeros(0, dtype=bool)), calls)


def _looked_at(
    parts: Parts, reader: Reader, latents: Tensor, embedding: PixelEmbedding
) -> tuple[pd.DataFrame, Answers, Array]:
    """What the judges read, the model answers and the embedding is, batch by batch."""
    read, answers, embedded = [], [], []
    for images in parts.images(latents):
        read.append(parts.judge.judge(images))
        answers.append(reader.read([images]))
        embedded.append(embedding.transform(images))
    return pd.concat(read, ignore_index=True), Answers.joined(answers), np.concatenate(embedded)


def _random_latents(parts: Parts, pool: Pool, n: int) -> Tensor:
    """As many random samples, those of the pool first."""
    if n <= len(pool):
        return pool.latents[:n]
    rng = stream(parts.config.seed, Stream.PROBING, SEARCHING)
    return torch.cat([pool.latents, parts.generator.sample_latents(n - len(pool), rng)])


def _teacher(parts: Parts) -> Judge:
    """Who tells the right answer while the auditor must not."""
    named = parts.config.run.judges.reader("teacher")
    if named is None:
        raise ConfigError(
            "failures: expected a gate or teacher beside the auditor, got none; name one in run.judges, or "
            "set failures to null"
        )
    gate = parts.config.run.judges.gate
    teacher = parts.gate if named == gate else load_judge(named, device=parts.device, role="teacher")
    if parts.config.answers not in teacher.attributes:
        raise ConfigError(
            f"failures: expected a teacher that tells {parts.config.answers!r}, got {named.who}, which tells "
            f"{', '.join(teacher.attributes)}; set failures to null"
        )
    return teacher


def _search_config(parts: Parts) -> SearchConfig:
    settings = parts.config.failures
    assert settings is not None
    run = parts.config.run.search.model_dump(exclude_unset=True)
    samples = max(64, min(512, settings.evaluations // 4))
    own = {
        "algorithm": "cma_mae",
        "evaluations": settings.evaluations,
        "range_samples": samples,
        "prior_starts": samples,
        "calibrate_objective": False,
        "reservoir": 1,
        "seconds": None,
    }
    data = {**run, **own, **settings.search}
    try:
        return SearchConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"failures.search.{sentence(error, data, SearchConfig)}") from None
