"""From archive to dataset: which solutions, in which group, under which label."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qdgs.config import DatasetConfig
from qdgs.datasets.balance import Nuisances
from qdgs.datasets.duplicates import DuplicateFilter
from qdgs.datasets.groups import Cuts
from qdgs.datasets.identities import Variations, check_count, cluster, identities_report, identity_names
from qdgs.datasets.manifest import latent_columns
from qdgs.datasets.selection import Embed, Gate, Pool, Selection
from qdgs.datasets.shortage import PriorCounts, Shortage, ShortageError, mass_upper_bound
from qdgs.errors import InputError, QdgsError


@dataclass(frozen=True)
class GroupReport:
    """What became of one group.

    Attributes:
        target: Its share of the dataset that was asked for.
        wanted: Images asked for.
        got: Images found.
        candidates: Solutions of the group above the quality floor and outside every gap.
        cells: Cells of the archive that hold them.
        judged: Candidates that the gate saw.
        rejected: Candidates that the gate rejected.
        duplicates: Candidates dropped as near-duplicates.
    """

    target: float
    wanted: int
    got: int
    candidates: int
    cells: int
    judged: int
    rejected: int
    duplicates: int


@dataclass(frozen=True)
class FlattenReport:
    """How a dataset came out of its solutions.

    Attributes:
        solutions: Solutions that there were.
        below_quality_floor: Solutions whose objective is below the floor.
        in_gap: Solutions above the floor that lie in the gap of some measure.
        groups: Group → what became of it.
        images: Images of the dataset.
        cells: Cells that they come from.
        lineages: Lineages that they come from, None where none are recorded.
        gate_judged: Candidates that the gate saw, None where there is no gate.
        gate_accepted: Candidates that it accepted.
        duplicates: Candidates dropped as near-duplicates.
        min_distance: Distance below which two images are near-duplicates.
        shortages: Groups that are short of images.
        identities: Identities and offsets, where there are any (`identities_report`).
        balance: Balance over nuisances, where it was asked for (`Nuisances.report`).
    """

    solutions: int
    below_quality_floor: int
    in_gap: int
    groups: Mapping[str, GroupReport]
    images: int
    cells: int
    lineages: int | None
    gate_judged: int | None
    gate_accepted: int | None
    duplicates: int
    min_distance: float
    shortages: tuple[Shortage, ...]
    identities: Mapping[str, Any] | None = None
    balance: Mapping[str, Any] | None = None

    @property
    def gate_acceptance(self) -> float | None:
        """Share of the judged candidates that the gate accepted, None where it saw none."""
        if not self.gate_judged or self.gate_accepted is None:
            return None
        return self.gate_accepted / self.gate_judged

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        optional = ("identities", "balance")
        told = {key: value for key, value in asdict(self).items() if key not in optional or value is not None}
        return {
            **told,
            "gate_acceptance": self.gate_acceptance,
            "shortages": [shortage.to_json() for shortage in self.shortages],
        }


@dataclass(frozen=True)
class Flattened:
    """A manifest and how it came about."""

    manifest: pd.DataFrame
    report: FlattenReport


def flatten(
    solutions: pd.DataFrame,
    dataset: DatasetConfig,
    cuts: Cuts,
    *,
    seed: int,
    gate: Gate | None = None,
    embed: Embed | None = None,
    min_distance: float = 0.0,
    prior: PriorCounts | None = None,
    evaluations: int | None = None,
    variations: Variations | None = None,
    nuisances: Nuisances | None = None,
    chunk: int = 256,
) -> Flattened:
    """Choose solutions so that every group has exactly its share of the dataset.

    A group takes the best solution of every one of its cells, in a random order of cells that changes
    lineage as often as it can, then second bests, and so on. What the gate rejects and what is a
    near-duplicate of an image that is already in gives its place to the next. The images are numbered so
    that every prefix of the dataset is balanced too. The result depends on the solutions and the seed, not
    on the order of the rows.

    Where nuisances are to be balanced, the next candidate of a group is, of those that are left, the first of
    the bin that has given the fewest images. With identities each solution gives several images (limits on
    cells and near-duplicates then count solutions), and solutions are clustered into identities.

    Args:
        solutions: The reservoir, one row a (cell, rank): see `qdgs.datasets.manifest`.
        dataset: Groups, target, limits.
        cuts: Cut points of every grouped measure.
        seed: Seed of the run.
        gate: Candidates → which of them are whole enough to enter, `(n,)`. It judges quality only: no more
            candidates than needed are shown to it, at most `chunk` at once.
        embed: Candidates that the gate accepted → embeddings `(n, e)` of their images. It is called right
            after the gate with rows of the same frame index.
        min_distance: Images nearer than this to one already in are dropped.
        prior: Groups of random samples, for what a shortage means.
        evaluations: Evaluations of the search, likewise.
        variations: Makes further images of a solution, where `dataset.identities` asks for several.
        nuisances: Reads what `dataset.balance` asks for.
        chunk: Candidates judged at once.

    Returns:
        The manifest, one row an image, and the report.

    Raises:
        InputError: The solutions do not hold what the configuration names.
        ShortageError: A group cannot be filled and `on_shortage` is "stop".
        QdgsError: There is no image at all.
    """
    _check_parts(dataset, variations, nuisances)
    rows = _canonical(solutions, list(dataset.groups))
    pool = Pool(rows, dataset, cuts, seed)
    check_count(dataset, dict(zip(pool.names, pool.wanted.tolist(), strict=True)))
    bins = nuisances.bins_of(rows, pool.order, pool.latents_wanted, chunk) if nuisances else None
    selection = Selection(
        pool,
        dataset.per_cell,
        DuplicateFilter(min_distance if embed else 0.0),
        strata=None if nuisances is None or bins is None else nuisances.strata(bins),
        vary=variations,
    )
    while proposed := selection.propose():
        for start in range(0, len(proposed), chunk):
            selection.settle(rows, np.array(proposed[start : start + chunk]), gate, embed)
    shortages = _shortages(selection, prior, evaluations)
    if shortages and dataset.on_shortage == "stop":
        raise ShortageError(shortages)
    if not any(selection.taken):
        raise QdgsError(
            f"dataset: expected at least one image, got none: of {len(rows):,} solutions "
            f"{pool.below_floor:,} are below the quality floor, {pool.in_gap:,} in a gap, "
            f"{selection.rejected.sum():,} rejected by the gate; search longer, or loosen these"
        )
    chosen = _chosen(rows, selection)
    manifest = _manifest(chosen, pool, dataset, seed)
    report = _report(manifest, selection, gate is not None, shortages)
    if dataset.identities:
        report = replace(report, identities=identities_report(manifest, dataset, variations))
    if nuisances is not None and bins is not None:
        groups = pool.groups[chosen.origins]
        taken = {name: chosen.origins[groups == group] for group, name in enumerate(pool.names)}
        asked = nuisances.asked(pool.order, pool.latents_wanted)
        report = replace(
            report, balance=nuisances.report(bins, taken, dict(zip(pool.names, asked, strict=True)))
        )
    return Flattened(manifest, report)


def _check_parts(dataset: DatasetConfig, variations: Variations | None, nuisances: Nuisances | None) -> None:
    """See that what the configuration asks for can be done: nothing of it is left out in silence."""
    if (dataset.per_latent > 1) != (variations is not None):
        raise InputError(
            "variations: expected them where dataset.identities asks for several images of a latent, and "
            f"there alone, got {'none' if variations is None else 'some'}"
        )
    read = {nuisance.name for nuisance in nuisances.each} if nuisances else set()
    if read != set(dataset.balance):
        raise InputError(
            f"nuisances: expected those of dataset.balance ({', '.join(dataset.balance) or 'none'}), got "
            f"{', '.join(sorted(read)) or 'none'}"
        )


def _canonical(solutions: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """The solutions in (cell, rank) order, checked."""
    for column in ("cell", "objective", *measures):
        if column not in solutions:
            raise InputError(
                f"solutions: expected a column {column!r}, got {', '.join(solutions.columns[:8])}"
            )
    rows = solutions if "rank" in solutions else solutions.assign(rank=0)
    for column in ("objective", *measures):
        if not np.isfinite(rows[column].to_numpy(np.float64)).all():
            raise InputError(f"solutions: expected finite numbers in column {column!r}, got NaN or infinity")
    twice = rows.duplicated(["cell", "rank"])
    if twice.any():
        cell, rank = rows.loc[twice, ["cell", "rank"]].iloc[0]
        raise InputError(f"solutions: expected one row a (cell, rank), got several of ({cell}, {rank})")
    return rows.sort_values(["cell", "rank"], ignore_index=True)


def _shortages(selection: Selection, prior: PriorCounts | None, evaluations: int | None) -> list[Shortage]:
    pool = selection.pool
    short = [group for group, rows in enumerate(selection.taken) if len(rows) < pool.wanted[group]]
    return [_shortage(selection, group, prior, evaluations) for group in short]


def _shortage(
    selection: Selection, group: int, prior: PriorCounts | None, evaluations: int | None
) -> Shortage:
    pool = selection.pool
    found = prior.counts.get(pool.names[group], 0) if prior else None
    return Shortage(
        group=pool.names[group],
        wanted=int(pool.wanted[group]),
        got=len(selection.taken[group]),
        candidates=len(pool.order[group]),
        cells=len(np.unique(pool.cells[pool.order[group]])),
        rejected=int(selection.rejected[group]),
        duplicates=int(selection.duplicates[group]),
        left_by_cell_limit=len(selection.pending[group]),
        evaluations=evaluations,
        prior_count=found,
        prior_samples=prior.samples if prior else None,
        prior_upper_bound=mass_upper_bound(found, prior.samples) if prior and found is not None else None,
    )


class _Chosen(NamedTuple):
    """Images in their order: their rows, and the number of the candidate that each comes from `(images,)`."""

    rows: pd.DataFrame
    origins: NDArray[np.int64]


def _chosen(rows: pd.DataFrame, selection: Selection) -> _Chosen:
    numbers = np.array(selection.interleaved(), dtype=np.int64)
    if selection.vary is None:
        return _Chosen(rows.iloc[numbers].reset_index(drop=True), numbers)
    images = pd.concat([rows.assign(offset=np.int64(0)), *selection.variations]).iloc[numbers]
    return _Chosen(images.reset_index(drop=True), images.index.to_numpy(np.int64))


def _manifest(chosen: _Chosen, pool: Pool, dataset: DatasetConfig, seed: int) -> pd.DataFrame:
    taken, origins = chosen
    width = max(6, len(str(len(taken))))
    columns: dict[str, Any] = {"id": [f"{number:0{width}d}" for number in range(len(taken))]}
    for column, (measure, group) in enumerate(dataset.groups.items()):
        columns[f"group_{measure}"] = [group.names[code] for code in pool.values[origins, column]]
    columns["label"] = columns[f"group_{dataset.label}"]
    columns["group"] = [pool.names[code] for code in pool.groups[origins]]
    first = ["id", "file", "label", "group"]
    if dataset.identities:
        taken = taken if "offset" in taken else taken.assign(offset=np.int64(0))
        columns["identity"] = _identities(taken, origins, pool, dataset, seed)
        first.append("identity")
    folders = zip(columns[dataset.layout], columns["id"], strict=True)
    columns["file"] = [f"train/{folder}/{name}.png" for folder, name in folders]
    described = pd.DataFrame(columns, dtype="str")
    described = described[first + [column for column in columns if column not in first]]
    return pd.concat([described, taken[_ordered(list(taken.columns))]], axis=1)


def _identities(
    images: pd.DataFrame, origins: NDArray[np.int64], pool: Pool, dataset: DatasetConfig, seed: int
) -> list[str]:
    """Name of the identity of each image: that of the solution that it comes from."""
    assert dataset.identities is not None, "asked for with identities alone"
    own = images["offset"].to_numpy() == 0
    latents = images.loc[own, latent_columns(images)].to_numpy(np.float32)
    found = cluster(latents, pool.groups[origins[own]], dataset.identities.count, seed=seed)
    of_origin = dict(zip(origins[own].tolist(), identity_names(found), strict=True))
    return [of_origin[origin] for origin in origins.tolist()]


def _ordered(columns: list[str]) -> list[str]:
    """cell, rank, offset of an identity's image, objective, measures, lineage, latents."""
    first = ["cell", "rank", *(column for column in columns if column == "offset"), "objective"]
    latents = sorted(column for column in columns if column.startswith("latent_"))
    last = [column for column in columns if column == "lineage"] + latents
    return first + [column for column in columns if column not in first + last] + last


def _report(
    manifest: pd.DataFrame, selection: Selection, gated: bool, shortages: list[Shortage]
) -> FlattenReport:
    pool = selection.pool
    groups = {
        name: GroupReport(
            target=pool.shares[name],
            wanted=int(pool.wanted[group]),
            got=len(selection.taken[group]),
            candidates=len(pool.order[group]),
            cells=len(np.unique(pool.cells[pool.order[group]])),
            judged=int(selection.judged[group]),
            rejected=int(selection.rejected[group]),
            duplicates=int(selection.duplicates[group]),
        )
        for group, name in enumerate(pool.names)
    }
    judged = int(selection.judged.sum())
    return FlattenReport(
        solutions=len(pool.cells),
        below_quality_floor=pool.below_floor,
        in_gap=pool.in_gap,
        groups=groups,
        images=len(manifest),
        cells=manifest["cell"].nunique(),
        lineages=manifest["lineage"].nunique() if "lineage" in manifest else None,
        gate_judged=judged if gated else None,
        gate_accepted=judged - int(selection.rejected.sum()) if gated else None,
        duplicates=int(selection.duplicates.sum()),
        min_distance=selection.filter.min_distance,
        shortages=tuple(shortages),
    )
