"""What a configuration says of the dataset: groups, their shares, and how images are chosen and laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from qdgs.mistakes import Mistake
from qdgs.target_table import is_table, read_shares
from qdgs.values import GroupValue, Integer, Model, Real


class GroupConfig(Model):
    """How a measure becomes groups, and which judged attribute answers to it.

    `cut` is one point, or several for more groups, or "auto": as many as the values need, calibrated on
    images labelled by the teacher. Solutions within `gap` of a cut are dropped. `values` names the groups
    from low to high; `low` and `high` are shorthand for two.
    """

    cut: Literal["auto"] | Real | list[Real] = "auto"
    gap: Annotated[Real, Field(ge=0.0)] = 0.0
    low: GroupValue | None = None
    high: GroupValue | None = None
    values: list[GroupValue] | None = None
    audit: str | None = None

    @property
    def cuts(self) -> list[float] | None:
        """Cut points in ascending order, or None where they are found automatically."""
        if self.cut == "auto":
            return None
        return list(self.cut) if isinstance(self.cut, list) else [self.cut]

    @property
    def names(self) -> tuple[str, ...]:
        """Values of the group from low to high."""
        return tuple(self.values) if self.values else (self.low or "low", self.high or "high")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.values and (self.low or self.high):
            raise ValueError("expected either values or low and high, got both")
        if self.cuts is None:
            cuts = [float(place) for place in range(max(len(self.names) - 1, 1))]
        else:
            cuts = self.cuts
        if cuts != sorted(set(cuts)):
            raise Mistake("cut", f"expected ascending cut points, got {cuts}")
        if len(self.names) != len(cuts) + 1:
            raise ValueError(
                f"expected {len(cuts) + 1} values for {len(cuts)} cut points, got {list(self.names)}"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"expected distinct values, got {list(self.names)}")
        return self


class IdentitiesConfig(Model):
    """Several images of each chosen latent, and clusters of latents that count as one identity.

    `count`: identities of each group, "auto" for one of every two latents (Chang et al.). `images`: images
    made of each latent: of itself first, then at small fixed offsets, the same for all. `offset`: standard
    deviation of the offsets, in those of the generator's random latents.
    """

    count: Literal["auto"] | Annotated[Integer, Field(ge=1)] = "auto"
    images: Annotated[Integer, Field(ge=1, le=1000)] = 9
    offset: Annotated[Real, Field(gt=0.0)] = 0.2


class NuisanceConfig(Model):
    """A number that a judge reads off an image, and that is to be balanced within every group.

    `bins`: quantiles of random samples that are to be filled evenly. `judge`: the role of the judge that
    reads it; the gate also where there is no teacher.
    """

    bins: Annotated[Integer, Field(ge=2, le=20)] = 4
    judge: Literal["teacher", "gate"] = "teacher"


class DatasetConfig(Model):
    """What the dataset holds.

    `target` is "uniform", the share of each group, keyed by its values joined with "/" in the order of
    `groups`, or the path of a CSV that holds them: a column for each measure of `groups` and `share` or
    `count`; its shares are what is kept. `duplicate_quantile`: an image is a near-duplicate where its
    nearest neighbour is closer than this quantile of nearest-neighbour distances among as many random
    samples; 0 keeps everything.
    `quality_floor` is on the archive's objective, as objective_mean is: where that is calibrated, 0 is what
    the poor and 100 what the good among random samples reach, and not the guide's own scale. `balance` maps
    a judge's column to how it is balanced within groups, as it is read of a latent's first image; of each
    group at most `balance_candidates` candidates are read for every one wanted. `layout` names the folders of
    the images. `license` is that of the images, as Hugging Face spells it, for cards and exports.
    """

    images: Annotated[Integer, Field(ge=1)] = 2000
    label: str
    groups: Annotated[dict[str, GroupConfig], Field(min_length=1)]
    target: Literal["uniform"] | dict[str, Annotated[Real, Field(ge=0.0)]] = "uniform"
    per_cell: Annotated[Integer, Field(ge=1)] = 4
    quality_floor: Real | None = None
    duplicate_quantile: Annotated[Real, Field(ge=0.0, lt=1.0)] = 0.01
    on_shortage: Literal["stop", "accept"] = "stop"
    identities: IdentitiesConfig | None = None
    balance: dict[str, NuisanceConfig] = Field(default_factory=dict)
    balance_candidates: Annotated[Integer, Field(ge=1)] = 4
    layout: Literal["label", "identity"] = "label"
    license: Annotated[str, Field(min_length=1)] = "unknown"

    @field_validator("target", mode="before")
    @classmethod
    def _from_table(cls, target: Any, info: ValidationInfo) -> Any:
        groups = info.data.get("groups")
        if not is_table(target) or groups is None:
            return target
        return read_shares(Path(target), {name: group.names for name, group in groups.items()})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layout == "identity" and self.identities is None:
            raise Mistake("layout", "expected dataset.identities where images are laid out by identity")
        for column in self.balance:
            for measure, group in self.groups.items():
                if group.audit and column in (group.audit, f"{group.audit}_score"):
                    raise Mistake(
                        f"balance.{column}",
                        f"expected something that makes no groups, got what dataset.groups.{measure} is "
                        "made of; dataset.target balances groups",
                    )
        return self

    @property
    def per_latent(self) -> int:
        """Images made of each chosen latent."""
        return self.identities.images if self.identities else 1


def group_names(groups: dict[str, GroupConfig]) -> list[str]:
    """Every group: one value a measure, joined with "/" in the order of the measures."""
    names = [""]
    for group in groups.values():
        names = [f"{name}/{value}" if name else value for name in names for value in group.names]
    return names


def target_shares(dataset: DatasetConfig) -> dict[str, float]:
    """The share that each group is to have; groups that a given target leaves out get none."""
    names = group_names(dataset.groups)
    if dataset.target == "uniform":
        return {name: 1 / len(names) for name in names}
    return {name: float(dataset.target.get(name, 0.0)) for name in names}
