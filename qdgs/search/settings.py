"""From an open configuration of the search to one in which everything is settled."""

from __future__ import annotations

from typing import Any

from qdgs.errors import InputError
from qdgs.search_config import Algorithm, SearchConfig

GRADIENT_ALGORITHMS = ("cma_mega", "cma_maega")
STRATEGY_ALGORITHMS = ("cma_me", "cma_mae", *GRADIENT_ALGORITHMS)
ANNEALED_ALGORITHMS = ("cma_mae", "cma_maega")

LARGEST_DIRECT_DIM = 32
"""Up to this many latents an evolution strategy on the latents themselves beats one on gradients."""

_STRATEGY = {"sigma0": 0.5, "selection_rule": "mu", "restart_rule": 5}
_GRADIENTS = {**_STRATEGY, "sigma0": 1.0, "step_size": 0.5}

# Found on toy problems of 6 and 128 latents with rare groups, where an eighth of fresh samples and a restart
# every five iterations kept nine tenths of the random samples' diversity for 5 % of the QD score: without
# restarts it was three quarters.
TUNED_COMMON: dict[str, Any] = {"calibrate_objective": True, "prior_share": 0.125}
TUNED: dict[str, dict[str, Any]] = {
    "random": {"prior_share": 0.0},
    "map_elites": {"sigma0": 0.3},
    "map_elites_line": {"iso_sigma": 0.2, "line_sigma": 0.2},
    "cma_me": {**_STRATEGY, "ranker": "2imp"},
    "cma_mae": {**_STRATEGY, "ranker": "imp"},
    "cma_mega": {**_GRADIENTS, "ranker": "2imp"},
    "cma_maega": {**_GRADIENTS, "ranker": "imp"},
}

# The selection rule of cma_mae and cma_maega, restart and selection of cma_me, and the batch sizes but that
# of cma_maega are not on record: they are those that pyribs recommends, and four evaluations an iteration.
PAPER_COMMON: dict[str, Any] = {"calibrate_objective": False, "prior_share": 0.0}
PAPER: dict[str, dict[str, Any]] = {
    "random": {},
    "map_elites": {"sigma0": 0.1},
    "map_elites_line": {"iso_sigma": 0.1, "line_sigma": 0.2},
    "cma_me": {
        "sigma0": 0.1,
        "ranker": "2imp",
        "selection_rule": "filter",
        "restart_rule": "no_improvement",
    },
    "cma_mae": {
        "sigma0": 0.1,
        "ranker": "imp",
        "selection_rule": "mu",
        "restart_rule": "basic",
        "learning_rate": 0.02,
        "threshold_min": 0.0,
    },
    "cma_mega": {
        "sigma0": 0.5,
        "step_size": 0.5,
        "ranker": "2imp",
        "selection_rule": "filter",
        "restart_rule": "no_improvement",
    },
    "cma_maega": {
        "sigma0": 0.5,
        "step_size": 0.5,
        "ranker": "imp",
        "selection_rule": "mu",
        "restart_rule": "basic",
        "learning_rate": 0.02,
        "threshold_min": 0.0,
    },
}

LARGEST_MICRO_BATCH = 512
PAPER_STARTS = 512
PAPER_ITERATIONS = 70_000
PAPER_EVALUATIONS_PER_ITERATION = 4


def settle(
    config: SearchConfig, latent_dim: int, differentiable: bool, *, device: str = "cpu"
) -> SearchConfig:
    """Every None and "auto" that the algorithm uses made explicit; what the user gave stays.

    Under the preset "paper" also the keys that have a default of ours (emitters, batch size, budget, starts)
    take the published values unless they were given. learning_rate and threshold_min may stay None under
    "tuned": `calibrate` finds them. Settling a settled configuration changes nothing.

    Args:
        config: As the user wrote it.
        latent_dim: Length of a latent.
        differentiable: Whether gradients flow through the generator.
        device: Kind of the device that scores: on a GPU micro-batches are as large as what is asked for at
            once, up to `LARGEST_MICRO_BATCH`.

    Raises:
        InputError: The algorithm cannot work with this generator, batch size or budget.

    References:
        Chang et al., AAAI 2024, arXiv 2312.14369, and its released code (preset "paper").
    """
    algorithm = config.algorithm
    if algorithm == "auto":
        algorithm = _algorithm(config.preset, latent_dim, differentiable)
    defaults = _paper(algorithm) if config.preset == "paper" else _tuned(algorithm, config, device)
    given = {
        name for name in config.model_fields_set if getattr(config, name) is not None and name != "algorithm"
    }
    update = {name: value for name, value in defaults.items() if name not in given}
    settled = config.model_copy(update={**update, "algorithm": algorithm})
    _check(settled, differentiable)
    return settled


def iteration_cost(config: SearchConfig) -> int:
    """Evaluations of one iteration: every emitter's batch, and its gradient point where it has one."""
    points = 1 if config.algorithm in GRADIENT_ALGORITHMS else 0
    return config.emitters * (config.batch_size + points)


def split_batch(config: SearchConfig) -> tuple[int, int]:
    """Solutions an iteration of each emitter, and of the prior: together emitters × batch_size."""
    if config.algorithm == "random":
        return 0, config.emitters * config.batch_size
    own = config.batch_size - round(config.batch_size * (config.prior_share or 0.0))
    return own, config.emitters * (config.batch_size - own)


def _algorithm(preset: str, latent_dim: int, differentiable: bool) -> Algorithm:
    """The published one, or the better one for so many latents; without gradients one that needs none."""
    wanted = preset == "paper" or latent_dim > LARGEST_DIRECT_DIM
    return "cma_maega" if wanted and differentiable else "cma_mae"


def _tuned(algorithm: str, config: SearchConfig, device: str) -> dict[str, Any]:
    """Random samples take at most a quarter of a small budget."""
    own = {} if device == "cpu" else {"micro_batch": _micro_batch(config.emitters * config.batch_size)}
    most = max(64, config.evaluations // 4)
    samples = {name: min(getattr(config, name), most) for name in ("range_samples", "prior_starts")}
    return {**TUNED_COMMON, **samples, **own, **TUNED[algorithm]}


def _micro_batch(asked: int) -> int:
    """The power of two that holds everything that is asked for at once."""
    return int(min(LARGEST_MICRO_BATCH, max(64, 2 ** (asked - 1).bit_length())))


def _paper(algorithm: str) -> dict[str, Any]:
    branches = PAPER_EVALUATIONS_PER_ITERATION - (1 if algorithm in GRADIENT_ALGORITHMS else 0)
    run = {
        "emitters": 1,
        "batch_size": branches,
        "prior_starts": PAPER_STARTS,
        "evaluations": PAPER_STARTS + PAPER_ITERATIONS * PAPER_EVALUATIONS_PER_ITERATION,
        "micro_batch": 16,
    }
    return {**PAPER_COMMON, **run, **PAPER[algorithm]}


def _check(config: SearchConfig, differentiable: bool) -> None:
    foreign = set(config.mix) & set(GRADIENT_ALGORITHMS)
    if foreign and config.algorithm not in GRADIENT_ALGORITHMS:
        raise InputError(
            f"search.mix: {min(foreign)} needs search.algorithm to be one with gradients, got "
            f"{config.algorithm}"
        )
    if config.algorithm in GRADIENT_ALGORITHMS and not differentiable:
        raise InputError(
            f"search.algorithm: {config.algorithm} needs gradients and this generator has none; take cma_mae"
        )
    if config.algorithm in STRATEGY_ALGORITHMS and split_batch(config)[0] < 2:
        raise InputError(
            f"search.batch_size: {config.algorithm} expected at least 2 solutions an emitter beside the "
            f"prior_share of {config.prior_share:g}, got {config.batch_size} in all"
        )
    if config.evaluations < iteration_cost(config):
        raise InputError(
            f"search.evaluations: expected at least one iteration of {iteration_cost(config)}, got "
            f"{config.evaluations}"
        )
