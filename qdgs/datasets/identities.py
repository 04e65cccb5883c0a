"""Identities: clusters of latents, and several images of each latent at small offsets.

References:
    Chang et al., AAAI 2024, arXiv 2312.14369: in every group of faces the elites' latents are clustered into
    half as many identities as there are elites, and each elite is rendered at nine fixed offsets.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from qdgs.config import DatasetConfig
from qdgs.datasets.groups import Cuts, assign_values, group_codes
from qdgs.datasets.manifest import latent_columns
from qdgs.errors import InputError
from qdgs.randomness import Stream, integer_seed, stream

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Gate = Callable[[pd.DataFrame], ArrayLike]
Rescore = Callable[[pd.DataFrame], pd.DataFrame]
"""Rows → `objective` and measures of their latents, on the archive's scale."""

SPARE = 4
"""Offsets in the set for each that is wanted, so that one that fails can be replaced."""
OFFSETS = 1
CLUSTERS = 2
"""Index of the random stream of offsets, and of the first of clusters; 0 is that of the flattening."""


def small_offsets(images: int, std: ArrayLike, *, seed: int) -> Floats:
    """The set of offsets, the same for all latents: `(SPARE · (images − 1), latent_dim)`, Gaussian.

    Args:
        images: Images wanted of each latent, itself among them.
        std: Standard deviation of each latent dimension `(latent_dim,)`.
        seed: Seed of the run.
    """
    scale = np.asarray(std, dtype=np.float64)
    rng = stream(seed, Stream.FLATTEN, OFFSETS)
    offsets: Floats = (rng.standard_normal((SPARE * (images - 1), len(scale))) * scale).astype(np.float32)
    return offsets


class Variations:
    """Makes images of latents at offsets whose attributes stay.

    An offset that the gate rejects, or whose measures leave the group or whose objective falls below the
    quality floor, is replaced by the next of the set. A latent for which the set is spent has fewer images.

    Args:
        offsets: The set `(k, latent_dim)`, in the order in which it is tried.
        dataset: Groups and quality floor.
        cuts: Cut points of every grouped measure.
        rescore: Tells objective and measures of what was moved.
        gate: Rows → which are whole enough, `(n,)`; it sees what stayed in its group alone.
        chunk: Rows looked at at once.

    Attributes:
        tried: Images at an offset that were looked at.
        strayed: Those of them that left their group or fell below the quality floor.
        rejected: Those that the gate rejected.
    """

    def __init__(
        self,
        offsets: Floats,
        dataset: DatasetConfig,
        cuts: Cuts,
        *,
        rescore: Rescore,
        gate: Gate | None = None,
        chunk: int = 256,
    ) -> None:
        self.offsets = offsets
        self.tried = self.strayed = self.rejected = 0
        self._dataset = dataset
        self._cuts = cuts
        self._rescore = rescore
        self._gate = gate
        self._chunk = chunk

    def __call__(self, rows: pd.DataFrame, wanted: Integers) -> pd.DataFrame:
        """At most `wanted` `(n,)` variations of each row, in the order of the rows and offsets.

        They have the rows' columns with their own latents, objective and measures, the number of their
        offset from 1 on as `offset`, and the rows' index.
        """
        got = np.zeros(len(rows), dtype=np.int64)
        following = np.zeros(len(rows), dtype=np.int64)
        kept: list[tuple[Integers, pd.DataFrame]] = []
        while len(lacking := np.flatnonzero((got < wanted) & (following < len(self.offsets)))):
            tries = np.minimum(wanted - got, len(self.offsets) - following)[lacking]
            places = np.repeat(lacking, tries)
            numbers = np.concatenate([np.arange(n) for n in tries]) + np.repeat(following[lacking], tries)
            following[lacking] += tries
            for start in range(0, len(places), self._chunk):
                part = slice(start, start + self._chunk)
                stays, moved = self._stays(rows, places[part], numbers[part])
                got += np.bincount(places[part][stays], minlength=len(rows))
                kept.append((places[part][stays], moved[stays]))
        if not kept:
            return rows.iloc[:0].assign(offset=np.int64(0))
        places = np.concatenate([part for part, _ in kept])
        made = pd.concat([part for _, part in kept])
        return made.iloc[np.argsort(places, kind="stable")]

    def _stays(
        self, rows: pd.DataFrame, places: Integers, numbers: Integers
    ) -> tuple[NDArray[np.bool_], pd.DataFrame]:
        moved = self._moved(rows.iloc[places], numbers)
        stays = _groups(moved, self._dataset, self._cuts) == _groups(
            rows.iloc[places], self._dataset, self._cuts
        )
        if self._dataset.quality_floor is not None:
            stays &= moved["objective"].to_numpy() >= self._dataset.quality_floor
        self.tried += len(moved)
        self.strayed += int((~stays).sum())
        if self._gate is not None and stays.any():
            accepted = np.asarray(self._gate(moved[stays]), dtype=bool)
            self.rejected += int((~accepted).sum())
            stays[stays] = accepted
        return stays, moved

    def _moved(self, rows: pd.DataFrame, numbers: Integers) -> pd.DataFrame:
        columns = latent_columns(rows)
        moved = rows.copy()
        moved[columns] = rows[columns].to_numpy(np.float32) + self.offsets[numbers]
        told = self._rescore(moved)
        for column in told.columns:
            moved[column] = told[column].to_numpy().astype(rows[column].to_numpy().dtype)
        return moved.assign(offset=numbers + 1)


def check_count(dataset: DatasetConfig, wanted: Mapping[str, int]) -> None:
    """See that every group has a latent for each of its identities.

    Args:
        dataset: Its `identities`.
        wanted: Group → images wanted.

    Raises:
        InputError: A group is to have more identities than latents.
    """
    count = dataset.identities.count if dataset.identities else "auto"
    for group, images in wanted.items():
        latents = -(-images // dataset.per_latent)
        if count != "auto" and 0 < latents < count:
            raise InputError(
                f"dataset.identities.count: expected at most {latents}, as many as group {group!r} has "
                f"latents ({images} images, {dataset.per_latent} of each), got {count}"
            )


def cluster(latents: Floats, groups: Integers, count: int | Literal["auto"], *, seed: int) -> Integers:
    """Identity of each latent `(n,)`, numbered from 0 group by group, within each as they first come.

    Args:
        latents: `(n, latent_dim)`.
        groups: Group of each, `(n,)`.
        count: Identities of each group, "auto" for one of every two latents; no more than different latents.
        seed: Seed of the run.
    """
    identities = np.zeros(len(latents), dtype=np.int64)
    first = 0
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        found = _clusters(latents[members], count, integer_seed(seed, Stream.FLATTEN, CLUSTERS + int(group)))
        identities[members] = first + found
        first += int(found.max()) + 1
    return identities


def identity_names(identities: Integers) -> list[str]:
    """Names for numbers of identities, of one width."""
    width = max(4, len(str(identities.max(initial=0))))
    return [f"{number:0{width}d}" for number in identities]


def identities_report(
    manifest: pd.DataFrame, dataset: DatasetConfig, variations: Variations | None
) -> dict[str, Any]:
    """How many identities and latents there are, and what became of the offsets, in plain types."""
    assert dataset.identities is not None, "asked for with identities alone"
    latents = manifest[manifest["offset"] == 0]
    return {
        "identities": manifest["identity"].nunique(),
        "latents": len(latents),
        "images_per_latent": dataset.per_latent,
        "offset": dataset.identities.offset,
        "groups": {
            str(group): {"identities": rows["identity"].nunique(), "latents": len(rows)}
            for group, rows in latents.groupby("group")
        },
        "offsets_tried": variations.tried if variations else 0,
        "offsets_strayed": variations.strayed if variations else 0,
        "offsets_rejected": variations.rejected if variations else 0,
    }


def identity_sentences(report: Mapping[str, Any] | None) -> Iterable[str]:
    """What a reader has to know of identities, a sentence each."""
    if not report:
        return
    yield (
        f"`identity` names one of {report['identities']:,} clusters of {report['latents']:,} latents, which "
        "look alike to the generator: it is nobody's."
    )
    if report["images_per_latent"] > 1:
        failed = report["offsets_strayed"] + report["offsets_rejected"]
        yield (
            f"Of each latent there are up to {report['images_per_latent']} images at small fixed offsets, "
            "which near-duplicates and diversity within groups count as they count any others; of "
            f"{report['offsets_tried']:,} offsets tried, {failed:,} left their group, fell below the quality "
            "floor or were rejected by the gate, and are not in."
        )


def _clusters(latents: Floats, count: int | Literal["auto"], seed: int) -> Integers:
    number = -(-len(latents) // 2) if count == "auto" else count
    number = min(number, len(np.unique(latents, axis=0)))
    with threadpool_limits(1):  # sums over threads round differently
        found = KMeans(number, n_init=4, random_state=seed).fit_predict(latents.astype(np.float64))
    _, places, inverse = np.unique(found, return_index=True, return_inverse=True)
    order: Integers = np.argsort(np.argsort(places))[inverse]
    return order.astype(np.int64)


def _groups(rows: pd.DataFrame, dataset: DatasetConfig, cuts: Cuts) -> Integers:
    return group_codes(assign_values(rows, dataset, cuts), dataset)
