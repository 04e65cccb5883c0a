"""What a configuration says of the search."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from qdgs.mistakes import Mistake
from qdgs.speed_config import SpeedConfig
from qdgs.values import Integer, Model, Real

ALGORITHMS = ("random", "map_elites", "map_elites_line", "cma_me", "cma_mae", "cma_mega", "cma_maega")
Kind = Literal["random", "map_elites", "map_elites_line", "cma_me", "cma_mae", "cma_mega", "cma_maega"]
Algorithm = Literal[
    "auto", "random", "map_elites", "map_elites_line", "cma_me", "cma_mae", "cma_mega", "cma_maega"
]


class SearchConfig(Model):
    """How the latents are searched. None and "auto" are settled before the search starts, and recorded.

    `preset: paper` takes the settings of the published run instead of ours, where a key is not given.

    Ways to spend evaluations otherwise: `mix` names kinds of emitters that share the budget (of an annealed
    and of an elitist algorithm the archive is that of `algorithm`), `refit_ranges` is how often automatic
    ranges are found again, and `screen` how many candidates a surrogate looks at for each fresh sample or
    mutation that the guide sees.
    """

    preset: Literal["tuned", "paper"] = "tuned"
    algorithm: Algorithm = "auto"
    archive: Literal["grid", "cvt"] = "grid"
    centroids: Annotated[Integer, Field(ge=1)] = 1000
    emitters: Annotated[Integer, Field(ge=1)] = 8
    batch_size: Annotated[Integer, Field(ge=1)] = 32
    evaluations: Annotated[Integer, Field(ge=1)] = 20_000
    seconds: Annotated[Real, Field(gt=0.0)] | None = None
    sigma0: Annotated[Real, Field(gt=0.0)] | None = None
    step_size: Annotated[Real, Field(gt=0.0)] | None = None
    iso_sigma: Annotated[Real, Field(gt=0.0)] | None = None
    line_sigma: Annotated[Real, Field(ge=0.0)] | None = None
    ranker: Literal["imp", "2imp", "rd", "2rd", "obj", "2obj"] | None = None
    selection_rule: Literal["mu", "filter"] | None = None
    restart_rule: Annotated[Integer, Field(ge=1)] | Literal["basic", "no_improvement"] | None = None
    learning_rate: Annotated[Real, Field(ge=0.0, le=1.0)] | None = None
    threshold_min: Real | None = None
    calibrate_objective: bool | None = None
    range_samples: Annotated[Integer, Field(ge=64)] = 1024
    prior_starts: Annotated[Integer, Field(ge=0)] = 1024
    prior_share: Annotated[Real, Field(ge=0.0, lt=1.0)] | None = None
    mix: list[Kind] = Field(default_factory=list)
    refit_ranges: Annotated[Integer, Field(ge=0)] = 0
    screen: Annotated[Integer, Field(ge=1)] = 1
    reservoir: Annotated[Integer, Field(ge=1)] = 4
    checkpoint_seconds: Annotated[Real, Field(ge=0.0)] = 30.0
    micro_batch: Annotated[Integer, Field(ge=16)] = 64
    speed: SpeedConfig = SpeedConfig()

    @model_validator(mode="after")
    def _budget(self) -> Self:
        if self.preset == "paper":
            return self  # its emitters and batch depend on the algorithm: `settle` looks at the budget
        batch = self.emitters * self.batch_size
        if self.evaluations < batch:
            raise Mistake(
                "evaluations",
                f"expected at least one batch of {self.emitters} emitters × {self.batch_size} = {batch}, "
                f"got {self.evaluations}",
            )
        return self
