"""Paired latents: for every latent a partner with the same label and the opposite protected attribute."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from qdgs.errors import InputError
from qdgs.samplers.base import BaseSampler, Problem, judged_samples, sample_rows
from qdgs.samplers.hyperplanes import Array, Hyperplane, cosines, fit_hyperplane, moved

BATCH = 1024


def partner(
    latents: Array,
    label: Hyperplane,
    protected: Hyperplane | Sequence[Hyperplane],
    *,
    kept: Sequence[Hyperplane] = (),
    factor: float = 2.0,
    keep_label: bool = True,
) -> Array:
    """The partner z' of each latent z: the label's coordinate kept, the protected one reflected.

    z' = z − factor·(w_a·z + b_a)/(1 − (w_t·w_a)²) · (w_a − (w_t·w_a)·w_t)

    Then w_t·z' = w_t·z, and with the factor 2 w_a·z' + b_a = −(w_a·z + b_a). Several protected attributes are
    reflected at once, by the shortest way that does that for each of them.

    Args:
        latents: `(n, latent_dim)`.
        label: w_t, b_t.
        protected: w_a, b_a, of one attribute or several.
        kept: Of further attributes whose coordinates stay.
        factor: 2 reflects; 1 projects onto the boundary (an ablation of the paper).
        keep_label: False moves along w_a alone, whatever that does to the label (the other ablation).

    References:
        Ramaswamy, Kim and Russakovsky (2021), Fair attribute classification through latent space de-biasing,
        section 3.
    """
    planes = [protected] if isinstance(protected, Hyperplane) else list(protected)
    steps = [-factor * plane.distance(latents) for plane in planes]
    if not keep_label:
        pairs = zip(steps, planes, strict=True)
        return latents + sum(step[:, None] * plane.normal for step, plane in pairs)
    still = [label, *kept]
    changes = np.stack([*[np.zeros(len(latents))] * len(still), *steps], axis=1)
    return moved(latents, [plane.normal for plane in (*still, *planes)], changes)


class PairedLatentsSampler(BaseSampler):
    """Random samples, each with partners whose protected attributes are opposite, all under one label.

    Hyperplanes of the label's and of every other attribute are learned from judged samples. With one
    protected attribute every image has one partner; with k there are 2^k − 1, one for each set of attributes
    that are reflected while the others and the label keep their coordinates (our reading of the paper's
    extension). The images of a pair share their label; `pair` and `partner` tell who belongs together,
    partner 0 being the sample itself.

    The label's own shares stay those of the generator, as published; the labels are the judge's, where the
    paper has a classifier's at its best F1 threshold.

    Args:
        labelled: Samples to learn from.
        held_out: Of them, how many test the hyperplanes.
        factor: 2 reflects, 1 projects onto the boundary.
        keep_label: False moves along the protected normal alone.
        label_per_protected: A label's hyperplane for each protected value instead of one for all.

    References:
        Ramaswamy, Kim and Russakovsky (2021), Fair attribute classification through latent space de-biasing.
    """

    paper = "Ramaswamy et al. 2021"
    quick: ClassVar[Mapping[str, Any]] = {"labelled": 600, "held_out": 200}

    def __init__(
        self,
        *,
        labelled: int = 15_000,
        held_out: int = 5_000,
        factor: float = 2.0,
        keep_label: bool = True,
        label_per_protected: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= held_out < labelled:
            raise InputError(f"held_out: expected fewer than the {labelled} labelled samples, got {held_out}")
        self.labelled, self.held_out = labelled, held_out
        self.factor, self.keep_label = factor, keep_label
        self.label_per_protected = label_per_protected
        self.protected: dict[str, Hyperplane] = {}
        self.label: dict[str, Hyperplane] = {}

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Learn the hyperplanes.

        Raises:
            InputError: There is no protected attribute, an attribute has more than two values, or the judge
                labels all samples alike.
        """
        _check(problem)
        self._begin(problem)
        with self._meter.timed():
            latents = problem.generator.sample_latents(self.labelled, rng)
            read = judged_samples(problem, problem.generator, latents, self._meter)
            known = np.flatnonzero(problem.codes_of(read) >= 0)
            z, told = latents[known].double().numpy(), read.iloc[known].reset_index(drop=True)
            self._learn(z, told, seed=int(rng.integers(2**31)))
        self._meter.count(trained_on=self.labelled - self.held_out)
        self.notes = self._told()

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Whole pairs until there are n images; the last one may lack partners."""
        with self._meter.timed():
            wanted = -(-n // self._together)
            z, told = self._readable(wanted, rng)
            rows = self.pairs(z, told).iloc[:n]
            unseen = int((rows["partner"] > 0).sum())
            self._meter.count(generator_calls=unseen, forwards=unseen)
        short = f"{len(z):,} readable samples of {wanted:,} among {self.problem.draws:,} draws"
        self.notes = (*self._told(), *((short,) if len(z) < wanted else ()))
        return rows

    def pairs(self, latents: torch.Tensor, values: pd.DataFrame) -> pd.DataFrame:
        """Rows of a manifest for latents `(m, latent_dim)` of known values and all of their partners."""
        problem, z = self.problem, latents.double().numpy()
        members = [(z, values)]
        names = list(self.protected)
        for flipped in _subsets(names):
            members.append((self._partner(z, values, flipped), _flipped(values, flipped, problem)))
        order = np.arange(len(z) * len(members)).reshape(len(members), len(z)).T.ravel()
        together = np.concatenate([part for part, _ in members])[order]
        told = pd.concat([part for _, part in members], ignore_index=True).iloc[order]
        return sample_rows(
            problem,
            torch.from_numpy(together.astype(np.float32)),
            told,
            pair=np.repeat(np.arange(len(z)), len(members)),
            partner=np.tile(np.arange(len(members)), len(z)),
        )

    @property
    def _together(self) -> int:
        return int(2 ** len(self.protected))

    def _learn(self, z: Array, told: pd.DataFrame, seed: int) -> None:
        problem = self.problem
        training = len(z) * (self.labelled - self.held_out) // self.labelled

        def plane(attribute: str, rows: NDArray[np.bool_]) -> Hyperplane:
            second = (told[attribute] == problem.attributes[attribute][1]).to_numpy()
            count = int(rows[:training].sum())
            return fit_hyperplane(z[rows], second[rows], training=count, seed=seed, name=attribute)

        everywhere = np.ones(len(z), dtype=bool)
        names = [name for name in problem.attributes if name != problem.label]
        self.protected = {name: plane(name, everywhere) for name in names}
        self.label = {"": plane(problem.label, everywhere)}
        if self.label_per_protected:
            keys = _keys(told, names)
            self.label |= {key: plane(problem.label, keys == key) for key in sorted(set(keys))}

    def _partner(self, z: Array, values: pd.DataFrame, flipped: Sequence[str]) -> Array:
        keys = _keys(values, list(self.protected))
        result = np.empty_like(z)
        for key in sorted(set(keys)):
            rows = keys == key
            result[rows] = partner(
                z[rows],
                self.label.get(key, self.label[""]),
                [self.protected[name] for name in flipped],
                kept=[plane for name, plane in self.protected.items() if name not in flipped],
                factor=self.factor,
                keep_label=self.keep_label,
            )
        return result

    def _readable(self, wanted: int, rng: np.random.Generator) -> tuple[torch.Tensor, pd.DataFrame]:
        problem, drawn, found = self.problem, 0, 0
        latents: list[torch.Tensor] = []
        values: list[pd.DataFrame] = []
        while found < wanted and drawn < problem.draws:
            batch = problem.generator.sample_latents(min(BATCH, problem.draws - drawn), rng)
            read = judged_samples(problem, problem.generator, batch, self._meter)
            known = np.flatnonzero(problem.codes_of(read) >= 0)
            latents.append(batch[known])
            values.append(read.iloc[known])
            drawn, found = drawn + len(batch), found + len(known)
        told = pd.concat(values, ignore_index=True)
        return torch.cat(latents)[:wanted], told.iloc[:wanted]

    def _told(self) -> tuple[str, ...]:
        planes = {**self.protected, self.problem.label: self.label[""]}
        accuracies = (f"{name} {plane.accuracy:.1%}" for name, plane in planes.items())
        return (
            f"held-out accuracy of the hyperplanes: {', '.join(accuracies)}",
            *cosines(planes, "hyperplanes"),
        )


def _check(problem: Problem) -> None:
    if len(problem.attributes) < 2:
        raise InputError(
            "paired-latents: expected a label and at least one protected attribute, got "
            f"{', '.join(problem.attributes)} alone; name a second group"
        )
    for name, values in problem.attributes.items():
        if len(values) != 2:
            raise InputError(
                f"paired-latents: expected attributes of two values, got {name!r} with {len(values)}"
            )


def _subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    sizes = range(1, len(names) + 1)
    return [subset for size in sizes for subset in itertools.combinations(names, size)]


def _flipped(values: pd.DataFrame, names: Sequence[str], problem: Problem) -> pd.DataFrame:
    swapped = {}
    for name in names:
        low, high = problem.attributes[name]
        swapped[name] = values[name].map({low: high, high: low})
    return values.assign(**swapped)


def _keys(values: pd.DataFrame, names: Sequence[str]) -> NDArray[np.object_]:
    return values[list(names)].agg("/".join, axis=1).to_numpy(object)
