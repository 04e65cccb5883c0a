"""What recognisers of the study are pre-trained on: latents of identities, an arm each.

    random         each identity is a random latent
    random-gated   a random latent in whose image the gate of configs/faces.yaml sees a face, and whose
                   lightness can be read
    random-even    the same, as many of each lightness: balance without a search
    qdgs           a solution of a qdgs run's reservoir, no two nearer to each other than random samples are,
                   as many of each lightness as its guide sees it
    qdgs-elites    an elite of the run's dataset, as many of each lightness; many are one face seen again
    qdgs-clusters  a cluster of elites, as the paper has it: the manifest's `identity` where it has one, else
                   clusters of half as many as there are latents, within groups

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
from qdgs.files import read_json
from qdgs.generators.base import Generator
from qdgs.judges.base import judge_batches
from qdgs.parts import load_judge
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.samples import rendered
from qdgs.search.loop import illuminate
from qdgs.search.state import Search
from qdgs.stages.flatten import FLATTEN
from qdgs.stages.frames import read_frame
from qdgs.stages.search import RESERVOIR

GENERATOR = "dcgan-digiface"
GROUPS = ("dark", "medium", "light")
LIGHTNESS, IDENTITY = "group_lightness", "identity"
APART = 0.5
"""Cosine of two latents from which on they are of one person: two variations of a latent have 0.75 on
average, and the nearest of thousands of random samples 0.5."""
AT_ONCE = 512
DRAWN_AT_ONCE = 256
MOST_DRAWS = 200_000
OF_SAMPLES, OF_ELITES, OF_SOLUTIONS = 4, 5, 7
"""Indices of a seed's streams."""


@dataclass(frozen=True)
class Queue:
    """Identities to take from, in this order, until there are enough.

    Attributes:
        who: Whose they are, for messages.
        wanted: How many to take.
        identities: Latents `(members, latent_dim)` of each.
    """

    who: str
    wanted: int
    identities: Sequence[Tensor]


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

    def queues(self, arm: str, identities: int) -> list[Queue]:
        """What an arm takes its identities from: one queue, or one for each group.

        Raises:
            InputError: The run is none that can be taken.
        """
        rng = stream(self.seed, Stream.RANDOM_SAMPLES, OF_SAMPLES)
        if arm == "random":
            return [Queue(arm, identities, self.generator.sample_latents(identities, rng).split(1))]
        if arm == "random-gated":
            return [Queue(arm, identities, self._samples(identities, None, rng))]
        if arm == "random-even":
            return [
                Queue(f"{arm}, {group}", wanted, self._samples(wanted, group, rng))
                for group, wanted in _quotas(GROUPS, identities)
            ]
        if not self.run:
            return self._of_elites(self._stand_in(), arm, identities)
        return self._of_elites(solutions(self.run) if arm == "qdgs" else elites(self.run), arm, identities)

    def _of_elites(self, rows: pd.DataFrame, arm: str, identities: int) -> list[Queue]:
        if arm == "qdgs":
            rng = stream(self.seed, Stream.FLATTEN, OF_SOLUTIONS)
            rows = rows.iloc[apart(latents_of(rows).numpy(), rng.permutation(len(rows)))]
        if arm != "qdgs-clusters":
            rows = rows.assign(**{IDENTITY: np.arange(len(rows))})
        elif IDENTITY not in rows:
            groups = pd.factorize(rows["group"], sort=True)[0]
            rows = rows.assign(
                **{IDENTITY: cluster(latents_of(rows).numpy(), groups, "auto", seed=self.seed)}
            )
        rng = stream(self.seed, Stream.FLATTEN, OF_ELITES)
        queues = []
        for group, wanted in _quotas(sorted(rows[LIGHTNESS].unique()), identities):
            own = rows[rows[LIGHTNESS] == group]
            members = {name: latents_of(some) for name, some in own.groupby(IDENTITY)}
            names = sorted(members)
            order = rng.permutation(len(names))
            queues.append(
                Queue(f"{self.run or 'stand-in'}, {group}", wanted, [members[names[i]] for i in order])
            )
        return queues

    def _samples(self, wanted: int, group: str | None, rng: np.random.Generator) -> Sequence[Tensor]:
        """Random latents whose images pass the gate and can be read, of one group where one is given."""
        gate, parts, drawn = load_judge("faces-dlib", role="gate"), [], 0
        while sum(map(len, parts)) < wanted:
            latents = self.generator.sample_latents(DRAWN_AT_ONCE, rng)
            pixels = rendered(self.generator, latents)
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            read = lightness(pixels)
            good = gate.judge(images)["accepted"].to_numpy(bool) & (read != "")
            parts.append(latents[torch.from_numpy(good if group is None else good & (read == group))])
            drawn += DRAWN_AT_ONCE
            if drawn > MOST_DRAWS:
                raise InputError(
                    f"random samples: expected {wanted} of group {group!r} among {MOST_DRAWS:,}, got "
                    f"{sum(map(len, parts))}"
                )
        return torch.cat(parts)[:wanted].split(1)

    def _stand_in(self) -> pd.DataFrame:
        if not self.standing_in.is_file():
            unfinished = self.standing_in.with_name(f".{self.standing_in.name}.tmp")
            stand_in(self.generator, self.pool, self.evaluations, self.seed).to_parquet(unfinished)
            unfinished.replace(self.standing_in)
        return pd.read_parquet(self.standing_in)


def elites(run: Path) -> pd.DataFrame:
    """Latents that a run's dataset was rendered from, and how light its guide takes each to be.

    Raises:
        InputError: It is no run of this generator with groups of lightness.
    """
    path = run / "dataset" / "manifest.parquet"
    if not path.is_file():
        raise InputError(f"{run}: expected a qdgs run with a dataset, got no {path.relative_to(run)}")
    manifest = read_manifest(path)
    name = manifest.metadata["generator"]["name"]
    if name != GENERATOR:
        raise InputError(f"{run}: expected a run of {GENERATOR}, got one of {name}")
    rows = manifest.rows
    if LIGHTNESS not in rows:
        groups = [column.removeprefix("group_") for column in rows if column.startswith("group_")]
        raise InputError(f"{run}: expected a run whose groups are of lightness, got {', '.join(groups)}")
    return rows[rows["offset"] == 0] if "offset" in rows else rows


def solutions(run: Path) -> pd.DataFrame:
    """Latents of a run's reservoir, and how light its guide takes each to be: cut where the dataset is.

    Raises:
        InputError: It is no run of this generator with groups of lightness, or lacks its reservoir.
        CorruptFileError: That is damaged.
    """
    elites(run)  # refuses other runs
    found = read_frame(run / RESERVOIR, "search")
    cuts = read_json(run / FLATTEN)["cuts"][LIGHTNESS.removeprefix("group_")]
    return found.assign(**{LIGHTNESS: np.array(GROUPS)[np.digitize(found["lightness"].to_numpy(), cuts)]})


def apart(latents: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Rows of latents `(n, latent_dim)`, taken in an order `(n,)` unless one before is of the same person."""
    units = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    kept: list[int] = []
    for start in range(0, len(order), AT_ONCE):
        some = order[start : start + AT_ONCE]
        if kept:
            some = some[(units[some] @ units[kept].T).max(axis=1) < APART]
        fresh: list[int] = []
        for row in some:
            if not fresh or (units[fresh] @ units[row]).max() < APART:
                fresh.append(int(row))
        kept += fresh
    return np.array(kept, dtype=np.int64)


def lightness(pixels: Pixels) -> np.ndarray:
    """Apparent lightness of the face in each image `(n, height, width, 3)`, empty where none can be told."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    judge = load_judge("face-light", role="auditor")
    judged = judge_batches(judge, (batch.float() / 255 for batch in images.split(DRAWN_AT_ONCE)))
    return judged["lightness"].fillna("").to_numpy(str)


def _quotas(groups: Sequence[str], identities: int) -> list[tuple[str, int]]:
    """As many of each group; what is left over goes to the first."""
    whole, rest = divmod(identities, len(groups))
    return [(group, whole + (place < rest)) for place, group in enumerate(groups)]


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
