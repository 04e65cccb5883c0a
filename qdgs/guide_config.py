"""What a configuration says of the guide: words, measures, and the terms of the objective."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from qdgs.mistakes import Mistake
from qdgs.registry import nearest
from qdgs.roles import Named
from qdgs.values import ColumnName, Integer, Model, OptionalPrompts, Real, refuse_the_same

PROMPTS = "prompts"


class ClipConfig(Model):
    """Which CLIP guides: `qdgs-mini`, any open_clip architecture, `hf-hub:…` or `local-dir:…`."""

    model: str = "qdgs-mini"
    pretrained: str | None = None


class ObjectiveConfig(Model):
    """What a good image is, in words."""

    positive: OptionalPrompts = Field(default_factory=list)
    negative: OptionalPrompts = Field(default_factory=list)

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        refuse_the_same(self.positive, self.negative)
        return self


class MeasureConfig(Model):
    """A difference that matters: negative measures are closer to `low`, positive ones to `high`.

    `audit` names the judged attribute that answers to a measure of which no groups are made, and whose
    values run the same way, from low to high; where groups are made, they name it.

    A guide of the user's own needs no prompts: `low` and `high` then say in words what its ends are.
    """

    name: ColumnName
    low: OptionalPrompts = Field(default_factory=list)
    high: OptionalPrompts = Field(default_factory=list)
    cells: Annotated[Integer, Field(ge=1)] = 50
    range: Literal["auto"] | tuple[Real, Real] = "auto"
    audit: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_the_same(self.low, self.high)
        if self.range != "auto" and not self.range[0] < self.range[1]:
            raise Mistake("range", f"expected low < high, got [{self.range[0]:g}, {self.range[1]:g}]")
        return self

    @property
    def ends(self) -> tuple[str, str]:
        """Its two ends in a few words."""
        return (self.low or ["low"])[0], (self.high or ["high"])[0]


class WeightsConfig(Model):
    """Weights b of the losses, L = b0·L_txt + b1·L_reg + b2·L_unq (Chang et al. 2024)."""

    text: Real = 1.0
    latent_norm: Annotated[Real, Field(ge=0.0)] = 0.0
    uniqueness: Annotated[Real, Field(ge=0.0)] = 0.0


class GuideConfig(Model):
    """CLIP, prompts and the terms of the objective.

    `latent_norm` is "shell" (both sides of the prior's norm shell, width `shell_width` standard deviations
    free of charge) or "hinge" (Chang et al.: below half of the prior's mean norm).

    `name` is "prompts", or that of another guide (`qdgs.GUIDES`): it takes further keys as its options, and
    no `clip`; its `objective` and the `low` and `high` of measures are for readers alone.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())
    name: str = PROMPTS
    clip: ClipConfig = ClipConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    measures: Annotated[list[MeasureConfig], Field(min_length=1)]
    weights: WeightsConfig = WeightsConfig()
    latent_norm: Literal["shell", "hinge"] = "shell"
    shell_width: Annotated[Real, Field(ge=0.0)] = 2.0

    @property
    def options(self) -> dict[str, Any]:
        """Keys of a guide other than prompts."""
        return dict(self.model_extra or {})

    @property
    def who(self) -> str:
        """Which guide, in words."""
        if self.name != PROMPTS:
            return Named(name=self.name, **self.options).who
        return " ".join(part for part in (self.clip.model, self.clip.pretrained) if part)

    @model_validator(mode="after")
    def _fits_its_name(self) -> Self:
        if self.name == PROMPTS:
            self._check_prompts()
        elif "clip" in self.model_fields_set:
            raise Mistake("clip", f"expected none, as the guide {self.name!r} uses no prompts")
        elif self.weights.uniqueness:
            raise Mistake(
                "weights.uniqueness", f"expected 0 for the guide {self.name!r}, which embeds nothing"
            )
        return self

    def _check_prompts(self) -> None:
        for option in self.options:
            known = nearest(option, type(self).model_fields)
            raise Mistake(option, f"unknown key{known}")
        _given(self, "objective", "objective")
        _given(self.objective, "positive", "objective.positive")
        for index, measure in enumerate(self.measures):
            for side in ("low", "high"):
                _given(measure, side, f"measures.{index}.{side}")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [measure.name for measure in self.measures]
        reserved = {"cell", "rank", "objective", "lineage", "group", "label", "id", "index", "evaluation"}
        for name in names:
            if names.count(name) > 1:
                raise Mistake("measures", f"expected distinct names, got {name!r} twice")
            if name in reserved or name.startswith("latent_"):
                raise Mistake("measures", f"{name!r} is the name of a column of the archive; take another")
        return self


def _given(model: Model, field: str, place: str) -> None:
    """Refuse prompts that are not given, or none of them."""
    if field not in model.model_fields_set:
        raise Mistake(place, "expected a value, got none")
    if getattr(model, field) == []:
        raise Mistake(place, "expected at least one prompt, got none")
