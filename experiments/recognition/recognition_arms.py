"""What recognisers of the study are pre-trained on: latents of N identities × M images, an arm each.

random         each identity is a random latent
random-gated   a random latent in whose image the gate of configs/faces.yaml sees a face
qdgs           a cluster of elites of a qdgs run, as the paper has it: the manifest's `identity` where it
               has one, else clusters of half as many as there are latents, within groups
qdgs-elites    each elite of the run by itself

An image of an identity is one of its latents, in turn, at an offset of its own.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.datasets.identities import cluster
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.errors import InputError
from qdgs.generators.base import Generator
from qdgs.parts import load_judge
from qdgs.randomness import Stream, stream
from qdgs.recognition.samples import rendered
from qdgs.search.loop import illuminate
from qdgs.search.state import Search

GENERATOR = "dcgan-digiface"
GROUPS = ("dark", "medium", "light")
LIGHTNESS, IDENTITY = "group_lightness", "identity"
DRAWN_AT_ONCE = 256
OF_SAMPLES, OF_ELITES = 4, 5
"""Indices of a seed's streams."""


@dataclass(frozen=True)
class Arms:
    """Where an arm's latents come from.

    Attributes:
        generator: Whose they are.
        seed: Draws and chooses.
        run: Folder of the qdgs run; None takes the elites of `stand_in`.
        standing_in: They, in a file that is made when it is needed.
        pool: Random latents and the group of each, that the search in its place is cut by.
        evaluations: Of that search.
    """

    generator: Generator
    seed: int
    run: Path | None
    standing_in: Path
    pool: tuple[Tensor, np.ndarray]
    evaluations: int

    def latents(self, arm: str, identities: int, images: int) -> Tensor:
        """Latents `(identities · images, latent_dim)`, those of an identity together, without offsets.

        Raises:
            InputError: The qdgs run has too few identities.
        """
        if arm.startswith("random"):
            return self._samples(identities, gated=arm == "random-gated").repeat_interleave(images, dim=0)
        rows = self._elites()
        if arm == "qdgs-elites":
            rows = rows.assign(**{IDENTITY: np.arange(len(rows))})
        elif IDENTITY not in rows:
            groups = pd.factorize(rows["group"], sort=True)[0]
            found = cluster(latents_of(rows).numpy(), groups, "auto", seed=self.seed)
            rows = rows.assign(**{IDENTITY: found})
        chosen = evenly(rows, identities, images, stream(self.seed, Stream.FLATTEN, OF_ELITES))
        if len(chosen) < identities * images:
            raise InputError(
                f"{self.run or 'stand-in'}: expected {identities} identities, as every arm has, got "
                f"{len(chosen) // images}; take a run with more images"
            )
        return latents_of(chosen)

    def _samples(self, identities: int, *, gated: bool) -> Tensor:
        rng = stream(self.seed, Stream.RANDOM_SAMPLES, OF_SAMPLES)
        if not gated:
            return self.generator.sample_latents(identities, rng)
        gate, parts = load_judge("faces-dlib", role="gate"), [torch.empty(0, self.generator.latent_dim)]
        while sum(map(len, parts)) < identities:
            drawn = self.generator.sample_latents(DRAWN_AT_ONCE, rng)
            images = torch.from_numpy(rendered(self.generator, drawn)).permute(0, 3, 1, 2).float() / 255
            parts.append(drawn[torch.from_numpy(gate.judge(images)["accepted"].to_numpy(bool))])
        return torch.cat(parts)[:identities]

    def _elites(self) -> pd.DataFrame:
        """Latents that the run's dataset was rendered from, and how light it takes each to be."""
        if self.run is None:
            if not self.standing_in.is_file():
                unfinished = self.standing_in.with_name(f".{self.standing_in.name}.tmp")
                stand_in(self.generator, self.pool, self.evaluations, self.seed).to_parquet(unfinished)
                unfinished.replace(self.standing_in)
            return pd.read_parquet(self.standing_in)
        manifest = read_manifest(self.run / "dataset" / "manifest.parquet")
        name = manifest.metadata["generator"]["name"]
        if name != GENERATOR:
            raise InputError(f"{self.run}: expected a run of {GENERATOR}, got one of {name}")
        rows = manifest.rows
        if LIGHTNESS not in rows:
            raise InputError(
                f"{self.run}: expected a run whose groups are of lightness, got {', '.join(_groups_of(rows))}"
            )
        return rows[rows["offset"] == 0] if "offset" in rows else rows


def evenly(rows: pd.DataFrame, identities: int, images: int, rng: np.random.Generator) -> pd.DataFrame:
    """Identities by chance, as many of each lightness as there are, and `images` rows of each in a row.

    An identity's latents take turns; most have fewer than `images`.

    Args:
        rows: Columns `identity` and `group_lightness`.
        identities: At most so many.
        images: Rows of each.
        rng: Chooses.
    """
    shuffled = rows.iloc[rng.permutation(len(rows))]
    first = shuffled.drop_duplicates(IDENTITY)
    turn = first.groupby(LIGHTNESS).cumcount().to_numpy()
    chosen = first[IDENTITY].iloc[np.argsort(turn, kind="stable")].head(identities)
    places = {name: np.flatnonzero(shuffled[IDENTITY] == name) for name in chosen}
    return shuffled.iloc[[place for name in chosen for place in np.resize(places[name], images)]]


def stand_in(
    generator: Generator, pool: tuple[Tensor, np.ndarray], evaluations: int, seed: int
) -> pd.DataFrame:
    """Elites of a search whose guide is the luminance of pixels, where no run with a CLIP can be had.

    Measures are the luminance of the middle of the image, where the face is, and of its border; the objective
    is to stay on the prior's shell. Groups are cut midway between the median luminances of judged samples.

    Returns:
        Latents, `group` and `group_lightness`, which are the same.
    """

    def score(latents: Tensor) -> tuple[Tensor, Tensor]:
        return -(latents.norm(dim=1) - generator.prior_norm).square(), luminances(generator, latents)

    measures = [
        MeasureConfig(name=name, low=["dark"], high=["light"], cells=cells)
        for name, cells in (("face_luminance", 24), ("border_luminance", 12))
    ]
    search = Search.begin(
        SearchConfig(
            algorithm="cma_mae",
            emitters=4,
            evaluations=evaluations,
            prior_share=0.5,
            restart_rule=5,
            sigma0=0.3,
            reservoir=12,
        ),
        measures,
        score,
        latent_dim=generator.latent_dim,
        differentiable=False,
        sample_prior=generator.sample_latents,
        seed=seed,
    )
    for _ in illuminate(search):
        pass
    found = search.reservoir_frame()
    groups = np.array(GROUPS)[np.digitize(found["face_luminance"].to_numpy(), _cuts(generator, pool))]
    return found.assign(**{"group": groups, LIGHTNESS: groups})


def luminances(generator: Generator, latents: Tensor) -> Tensor:
    """Mean luminance of the middle of each image, and of its border, `(n, 2)`."""
    images = generator(latents)
    luma = (images * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(dim=1)
    quarter = luma.shape[1] // 4
    inner = luma[:, quarter:-quarter, quarter:-quarter]
    middle = inner.mean(dim=(1, 2))
    border = (luma.sum(dim=(1, 2)) - inner.sum(dim=(1, 2))) / (luma[0].numel() - inner[0].numel())
    return torch.stack([middle, border], dim=1)


def _cuts(generator: Generator, pool: tuple[Tensor, np.ndarray]) -> list[float]:
    latents, groups = pool
    with torch.no_grad():
        values = torch.cat([luminances(generator, part)[:, 0] for part in latents.split(64)]).numpy()
    medians = [float(np.median(values[groups == group])) for group in GROUPS]
    return [(low + high) / 2 for low, high in itertools.pairwise(medians)]


def _groups_of(rows: pd.DataFrame) -> Sequence[str]:
    return [column.removeprefix("group_") for column in rows if column.startswith("group_")]
