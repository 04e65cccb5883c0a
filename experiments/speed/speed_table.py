"""The benchmark's JSON as a table: ratios first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROWS = (
    ("evaluations_per_second_ratio", "evaluations a second, times the published loop"),
    ("reachable_ratio", "the same for generator and guide alone: all that can be gained"),
    ("raw_share", "share of generator and guide alone, without gradients"),
    ("gradient_share", "share of raw forward and backward passes, with gradients"),
    ("jacobian_share", "Jacobians of one point an emitter alone, share of the same at its best batch"),
    ("plain_ratio", "evaluations a second, times plain pyribs"),
    ("gradient_ratio", "with gradients, times the published loop"),
    ("time_to_score_ratio", "seconds to the published loop's corrected QD score, of its own"),
    ("worst_time_to_score_ratio", "the same, worst seed"),
    ("time_to_plain_score_ratio", "seconds to plain pyribs' score, of its own"),
    ("worst_time_to_plain_score_ratio", "the same, worst seed"),
    ("render_raw_share", "rendering to PNG, share of the generator alone"),
    ("published_per_second", "published loop, evaluations a second"),
    ("raw_per_second", "generator and guide alone"),
    ("engine_per_second", "qdgs, CMA-MAE"),
    ("gradient_engine_per_second", "qdgs, CMA-MAEGA"),
)
OUTSIDE = {
    "cma_mae_share": "time outside generator and guide, CMA-MAE, 156,250 full cells × 512 latents",
    "cma_maega_share": "the same, CMA-MAEGA",
    "checkpoint_seconds": "seconds of a checkpoint of that archive",
}


def table(result: Mapping[str, Any]) -> str:
    """Markdown: one column a guide, then the front of score and diversity, then the machine."""
    guides = {result["guide"]: result, **result["guides"]}
    lines = ["| | " + " | ".join(guides) + " |", "|---|" + "--:|" * len(guides)]
    lines += [_row(text, [own.get(key) for own in guides.values()]) for key, text in ROWS]
    lines += [
        _row(text, [own.get("outside", {}).get(key) for own in guides.values()])
        for key, text in OUTSIDE.items()
    ]
    lines += [
        _row(f"rendering to PNG, {name}", [found["render_raw_share"]] + [None] * (len(guides) - 1))
        for name, found in result.get("renders", {}).items()
    ]
    return "\n".join([*lines, "", *_front(result), "", _machine(result), ""])


def _front(result: Mapping[str, Any]) -> list[str]:
    races = result.get("races", [])
    if not races:
        return []
    names = {"published": "published loop", "plain": "plain pyribs, CMA-MAE", "engine": "qdgs"}
    head = ["| | seed | seconds | evaluations | corrected QD score | diversity within groups |",
            "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    return head + [
        f"| {names[name]} | {seed} | {own['seconds']:.1f} | {own['evaluations']:,} | "
        f"{own['corrected_qd_score']:,.0f} | {_number(own['group_diversity_ratio'])} |"
        for seed, race in enumerate(races)
        for name, own in race.items()
    ]


def _machine(result: Mapping[str, Any]) -> str:
    told = result["machine"]
    where = (
        f"{told['processor']}, {told['cores']} cores, {told['threads']} threads, {told['device']}, torch "
        f"{told['torch']}, ribs {told['ribs']}"
    )
    costs = f"load {told['load']:.1f} before; {result['seconds']:.0f} s in all"
    cuda = "" if result["kind"] == "cuda" else " CUDA: not measured here."
    return (
        f"{result['generator']} on {where}; {costs}; {result['clock']}. Left out: {result['left_out']}.{cuda}"
    )


def _row(text: str, values: list[float | None]) -> str:
    return f"| {text} | " + " | ".join(_number(value) for value in values) + " |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
