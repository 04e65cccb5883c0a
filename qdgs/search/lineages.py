"""Families of solutions: where each descends from, and where an emitter starts again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ribs.emitters import EmitterBase

from qdgs.search.ranges import SamplePrior, as_latents
from qdgs.search.workers import Floats

Lineages = NDArray[np.int32]


class Prior:
    """Fresh samples of the generator's prior, each the founder of a lineage of its own.

    Args:
        sample: The prior; not part of a pickle, see `attach`.
        rng: Draws the latents.
    """

    def __init__(self, sample: SamplePrior, rng: np.random.Generator) -> None:
        self._sample: SamplePrior | None = sample
        self._rng = rng
        self.founded = 0

    def draw(self, n: int) -> tuple[Floats, Lineages]:
        """Latents `(n, latent_dim)` and their new lineages `(n,)`."""
        return self.sample(n), self.found(n)

    def sample(self, n: int) -> Floats:
        """Latents `(n, latent_dim)` alone."""
        assert self._sample is not None, "a prior from a checkpoint is attached before it is drawn from"
        return as_latents(self._sample(n, self._rng))

    def found(self, n: int) -> Lineages:
        """Numbers of n new lineages."""
        self.founded += n
        return np.arange(self.founded - n, self.founded, dtype=np.int32)

    def attach(self, sample: SamplePrior) -> None:
        """Give a prior that comes from a checkpoint its distribution back."""
        self._sample = sample

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sample": None}


class ArchiveView:
    """An emitter's view of the archive: hands out elites, and remembers the lineage of those it handed out.

    pyribs' emitters ask their archive for parents (MAP-Elites) and for a place to restart from (evolution
    strategies) through `sample_elites` alone, and do not tell which they got. Here that call is seen. From
    an empty archive, where pyribs raises IndexError, come fresh samples of the prior.

    Args:
        archive: The archive; everything but `sample_elites` and `empty` is its own.
        prior: Where solutions come from that descend from no elite.

    Attributes:
        lineages: Of the elites handed out last, `(n,)`.
    """

    empty = False

    def __init__(self, archive: Any, prior: Prior) -> None:
        self._archive = archive
        self._prior = prior
        self.lineages: Lineages = np.empty(0, np.int32)

    def move_to(self, archive: Any) -> None:
        """Look at another archive from now on."""
        self._archive = archive

    def sample_elites(self, n: int) -> dict[str, NDArray[Any]]:
        """Elites as pyribs gives them, with at least the fields solution and lineage."""
        elites = self._fresh(n) if self._archive.empty else self._choose(n)
        self.lineages = elites["lineage"]
        return elites

    def lineages_of(self, n: int) -> Lineages:
        """Lineages of the n solutions that an emitter makes from the elites handed out last.

        An emitter with one elite made them all from it. Otherwise solution i comes from elite i, and the
        elites beyond the n-th only lent a direction (Iso+LineDD).
        """
        return np.broadcast_to(self.lineages[:n], n)

    def _choose(self, n: int) -> dict[str, NDArray[Any]]:
        elites: dict[str, NDArray[Any]] = self._archive.sample_elites(n)
        return elites

    def _fresh(self, n: int) -> dict[str, NDArray[Any]]:
        latents, lineages = self._prior.draw(n)
        return {"solution": latents, "lineage": lineages}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by pickle, before there is an archive
            raise AttributeError(name)
        return getattr(self._archive, name)


class FamilyView(ArchiveView):
    """Restarts that keep families apart: a fresh sample of the prior, or an elite of any lineage alike.

    Uniform over elites, as in pyribs, a restart would most often fall back into the largest family. Here
    every lineage that is left in the archive has the same chance, and within it every elite.

    Args:
        archive: The archive.
        prior: Where fresh samples come from.
        fresh_share: Chance of a fresh sample.
        rng: Chooses.
    """

    def __init__(self, archive: Any, prior: Prior, fresh_share: float, rng: np.random.Generator) -> None:
        super().__init__(archive, prior)
        self._fresh_share = fresh_share
        self._rng = rng

    def _choose(self, n: int) -> dict[str, NDArray[Any]]:
        if self._rng.random() < self._fresh_share:
            return self._fresh(n)
        elites = self._archive.data(["measures", "lineage"])
        lineages = elites["lineage"]
        weights = 1 / np.bincount(lineages)[lineages]
        chosen = self._rng.choice(len(weights), size=n, p=weights / weights.sum())
        _, found = self._archive.retrieve(elites["measures"][chosen])
        return {"solution": found["solution"], "lineage": found["lineage"]}


class FreshView(ArchiveView):
    """Hands out samples of the prior and never an elite."""

    def _choose(self, n: int) -> dict[str, NDArray[Any]]:
        return self._fresh(n)


class PriorEmitter(EmitterBase):  # type: ignore[misc] # pyribs ships no types
    """Emits fresh samples of the prior: random search, or a share of new blood beside other emitters.

    Args:
        archive: Hands out the samples.
        batch_size: Solutions an iteration.
    """

    def __init__(self, archive: FreshView, *, batch_size: int) -> None:
        super().__init__(
            archive, solution_dim=archive.solution_dim, bounds=None, lower_bounds=None, upper_bounds=None
        )
        self.batch_size = batch_size

    def ask(self) -> NDArray[Any]:
        """Latents `(batch_size, latent_dim)`."""
        return self.archive.sample_elites(self.batch_size)["solution"]  # type: ignore[no-any-return]
