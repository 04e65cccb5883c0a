"""The page of a probe: what the model gets wrong, for whom, what moves it, and pictures of its failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from qdgs.files import write_text
from qdgs.probe.effects import RIGHT
from qdgs.probe.examine import right_answers
from qdgs.report.archive import MeasureAxis, choose_elites
from qdgs.report.exhibits import Sheet
from qdgs.report.probe_figures import error_map, errors_by_group, moving_attributes
from qdgs.report.sheets import Pixels, as_pixels, mosaic
from qdgs.report.sprites import encode
from qdgs.report.style import NARROW, WIDE, percent, save
from qdgs.report.vector import as_svg

if TYPE_CHECKING:
    from pathlib import Path

    from qdgs.probe.answers import Answers
    from qdgs.probe.carry_out import Probe
    from qdgs.probe.errors import GroupError
    from qdgs.probe.pairs import Pairs
    from qdgs.probe.restoration import Restorer
    from qdgs.probe.samples import Parts, ProbeSet

PAIRS_SHOWN = 12
COLUMNS = 12
TILE = 72


@dataclass(frozen=True)
class Catalogue:
    """Failures where they lie in the archive."""

    sheet: Sheet
    x: MeasureAxis
    y: MeasureAxis


@dataclass(frozen=True)
class Drawn:
    """A figure for the page, wide and narrow."""

    wide: Markup
    narrow: Markup


def write_report(
    probe: Probe,
    parts: Parts,
    probe_set: ProbeSet,
    answers: Answers,
    matched: Sequence[Pairs],
    restorer: Restorer | None = None,
) -> Path:
    """Draw the figures of a probe into figures/, and write report.html.

    Args:
        probe: What was found.
        parts: The generator draws failures and pairs.
        probe_set: The images.
        answers: What the model answered of them.
        matched: The pairs.
        restorer: A model from images to images, some of whose results are shown.

    Returns:
        The path of the page.
    """
    figures = _figures(probe, probe_set, answers)
    for name, (figure, _) in figures.items():
        save(figure(WIDE), probe.path / "figures" / f"{name}.png")
    drawn = {
        name: Drawn(as_svg(figure(WIDE), f"{name}-wide", alt), as_svg(figure(NARROW), f"{name}-narrow", alt))
        for name, (figure, alt) in figures.items()
    }
    page = probe.path / "report.html"
    context = _context(probe, parts, probe_set, answers, matched, drawn)
    restored = None if restorer is None else _restored_sheet(parts, probe_set, restorer)
    write_text(page, _html({**context, "restored": restored}))
    return page


def _figures(probe: Probe, probe_set: ProbeSet, answers: Answers) -> dict[str, Any]:
    examined, level = probe.examined, 1 - probe.config.findings.level
    told = "; ".join(
        f"{group.group.replace('/', ' ')} {percent(group.error.value)}"
        for group in examined.groups
        if not np.isnan(group.error.value)
    )
    figures: dict[str, Any] = {
        "errors": (
            lambda width: errors_by_group(examined.groups, width=width, level=level),
            f"Errors by group: {told}.",
        )
    }
    rows = moved_rows(probe)
    if len(rows):
        words = "; ".join(f"{row.attribute} {row.change:+.2f} ({row.source})" for row in rows.itertuples())
        figures["effects"] = (
            lambda width: moving_attributes(rows, probe.config.findings.margin, width=width),
            f"Changes of the model's answer: {words}.",
        )
    axes = _axes(probe, probe_set)
    if len(axes) > 1:
        wrong = np.where(answers.failed, np.nan, 1 - _right(probe, probe_set, answers))
        samples = probe_set.rows.assign(number=wrong)
        figures["map"] = (
            lambda width: error_map(samples, axes[0], axes[1], width=width),
            f"Share of wrong answers over {axes[0].name} and {axes[1].name}.",
        )
    return figures


def moved_rows(probe: Probe) -> pd.DataFrame:
    """Rows of the figure of what moves the model: tested effects, and those of pairs."""
    rows = [
        (finding.effect.attribute, "groups", finding.effect.change)
        for finding in probe.examined.findings
        if not np.isnan(finding.effect.change.value)
    ]
    asked = probe.config.answers
    rows += [
        (pair.attribute, "pairs", pair.change)
        for pair in probe.pairs
        if pair.kept and pair.attribute != asked
    ]
    told = [(name, source, change.value, change.low, change.high) for name, source, change in rows]
    return pd.DataFrame(told, columns=["attribute", "source", "change", "low", "high"])


def _right(probe: Probe, probe_set: ProbeSet, answers: Answers) -> np.ndarray:
    restores = probe.config.model.task == "restorer"
    right_of = np.arange(len(probe_set.groups)) if restores else None
    _, truth = right_answers(probe_set, answers.values, probe.config.answers, right_of)
    right: np.ndarray = (answers.given == truth).astype(float)
    return right


def _axes(probe: Probe, probe_set: ProbeSet) -> list[MeasureAxis]:
    axes = []
    for measure in probe.config.run.guide.measures:
        values = probe_set.rows[measure.name].to_numpy(float)
        low, high = (values.min(), values.max()) if measure.range == "auto" else measure.range
        axes.append(
            MeasureAxis(measure.name, float(low), float(max(high, low + 1e-9)), measure.cells, *measure.ends)
        )
    return axes


def _context(
    probe: Probe,
    parts: Parts,
    probe_set: ProbeSet,
    answers: Answers,
    matched: Sequence[Pairs],
    drawn: Mapping[str, Drawn],
) -> dict[str, Any]:
    config, examined = probe.config, probe.examined
    return {
        "name": probe.path.resolve().name,
        "title": _title(probe),
        "lede": _lede(probe),
        "facts": _facts(probe, answers),
        "each": _each(examined.groups),
        "warnings": examined.warnings,
        "figures": drawn,
        "examined": examined,
        "groups": sorted(examined.groups, key=lambda told: -np.nan_to_num(told.error.value, nan=-1.0)),
        "pairs": probe.pairs,
        "pair_sheets": {pairs.attribute: _pair_sheet(parts, pairs) for pairs in matched if len(pairs)},
        "failures": probe.failures,
        "failure_sheets": _failure_sheets(probe, parts),
        "catalogue": _catalogue(probe, parts, probe_set),
        "notes": probe.notes,
        "config": config,
        "judges": _judges(probe),
        "disparities": examined.disparities.to_dict("records"),
        "style": Markup(resources("qdgs.report").joinpath("assets", "page.css").read_text(encoding="utf-8")),
    }


def _title(probe: Probe) -> str:
    cause, worst = probe.examined.cause, probe.examined.worst
    if cause is not None:
        return f"{cause.effect.attribute.capitalize()} moves this model"
    if worst.group is not None and worst.stands_out:
        return f"This model errs most on {worst.group.replace('/', ' · ')}"
    return "No attribute was found that moves this model"


def _lede(probe: Probe) -> str:
    cause, margin = probe.examined.cause, probe.config.findings.margin
    if np.isnan([finding.effect.change.value for finding in probe.examined.findings]).all():
        return "There are too few images, or too few attributes, to tell what moves its answers."
    if cause is None:
        return (
            f"No attribute moves its answers by more than {percent(margin)}, as far as "
            f"{sum(group.images for group in probe.examined.groups):,} images tell."
        )
    effect = cause.effect
    change = effect.change
    right = "an image of the same group" if probe.config.model.task == "restorer" else "the right answer"
    what = right if effect.answer == RIGHT else f"“{effect.answer}”"
    return (
        f"From {effect.low} to {effect.high}, all else equal, the probability that the model gives {what} "
        f"changes by {change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f}; up to {margin:.2f} would "
        "not matter)."
    )


def _facts(probe: Probe, answers: Answers) -> list[dict[str, str]]:
    examined, worst, failures = probe.examined, probe.examined.worst, probe.failures
    images = f"{len(answers):,} images, {_each(examined.groups)}"
    facts = [{"label": "errors, mean of groups", "value": _share(examined.overall), "note": images}]
    if worst.group is not None:
        facts.append(
            {
                "label": "errors in the worst group",
                "value": _share(worst.error.value),
                "note": f"{worst.group.replace('/', ' · ')}; others {_share(worst.others.value)}",
            }
        )
    causes = [pair for pair in probe.pairs if pair.kept and pair.attribute != probe.config.answers]
    if causes:
        most = max(causes, key=lambda pair: pair.flips.value)
        facts.append(
            {
                "label": "answers that flip in pairs",
                "value": _share(most.flips.value),
                "note": f"where {most.attribute} alone differs; {most.kept:,} pairs",
            }
        )
    if failures is not None:
        facts.append(
            {
                "label": "distinct failures found",
                "value": f"{failures.searched.distinct:,}",
                "note": f"{failures.random.distinct:,} among as many random images",
            }
        )
    return facts


def _each(groups: Sequence[GroupError]) -> str:
    """How many images a group has, in words."""
    counts = [told.images for told in groups]
    return (
        "as many of every group" if len(set(counts)) == 1 else f"{min(counts):,} to {max(counts):,} a group"
    )


def _failure_sheets(probe: Probe, parts: Parts) -> dict[str, Sheet]:
    if probe.failures is None or probe.config.failures is None:
        return {}
    found, sheets = probe.failures.searched, {}
    rows = found.rows.reset_index(drop=True)
    shown = rows[rows["distinct"]]
    for group, of in shown.groupby("group"):
        chosen = of.index.to_numpy()[: probe.config.failures.shown]
        sheets[str(group)] = _sheet(parts, found.latents[torch.tensor(chosen)], len(chosen))
    return sheets


def _catalogue(probe: Probe, parts: Parts, probe_set: ProbeSet) -> Catalogue | None:
    """One distinct failure of every cell of a coarse archive, where the guide puts it."""
    axes = _axes(probe, probe_set)
    if probe.failures is None or len(axes) < 2:
        return None
    found = probe.failures.searched
    rows = np.flatnonzero(found.rows["distinct"].to_numpy(bool))
    if not len(rows):
        return None
    x, y = axes[:2]
    chosen = choose_elites(found.rows.iloc[rows], x, y, columns=COLUMNS, rows=COLUMNS)
    latents = found.latents[torch.tensor(rows[chosen["position"].to_numpy()])]
    pictures = [tile for images in parts.images(latents) for tile in as_pixels(images)]
    tiles: list[Pixels | None] = [None] * COLUMNS**2
    places = (COLUMNS - 1 - chosen["row"].to_numpy(np.int64)) * COLUMNS + chosen["column"].to_numpy(np.int64)
    for picture, place in zip(pictures, places.tolist(), strict=True):
        tiles[place] = picture
    sheet = Sheet(encode(mosaic(tiles, COLUMNS, min(64, pictures[0].shape[0]), gap=1)), len(pictures))
    return Catalogue(sheet, x, y)


def _restored_sheet(parts: Parts, probe_set: ProbeSet, restorer: Restorer) -> Sheet | None:
    """Images of every group in turn, and below them what became of them; None where the model raises."""
    order = np.argsort(probe_set.rows.groupby("group").cumcount().to_numpy(), kind="stable")[:PAIRS_SHOWN]
    try:
        sides = restorer.before_after(parts.images(probe_set.latents[torch.from_numpy(order)]))
    except Exception:  # counted among the failures already
        return None
    tiles = [tile for images in sides for tile in as_pixels(images)]
    return Sheet(encode(mosaic(tiles, len(order), min(TILE, tiles[0].shape[0]), gap=2)), len(tiles))


def _pair_sheet(parts: Parts, pairs: Pairs) -> Sheet:
    shown = min(PAIRS_SHOWN, len(pairs))
    return _sheet(parts, torch.cat([pairs.low[:shown], pairs.high[:shown]]), shown)


def _sheet(parts: Parts, latents: Tensor, columns: int) -> Sheet:
    tiles = [tile for images in parts.images(latents) for tile in as_pixels(images)]
    return Sheet(encode(mosaic(tiles, columns, min(TILE, tiles[0].shape[0]), gap=2)), len(tiles))


def _judges(probe: Probe) -> list[tuple[str, str]]:
    judges = probe.config.run.judges
    named = ((role, getattr(judges, role)) for role in ("auditor", "teacher", "gate"))
    return [(role, judge.who) for role, judge in named if judge is not None]


def _share(value: float) -> str:
    return "–" if np.isnan(value) else percent(value).replace(" ", "\N{NO-BREAK SPACE}")


def _html(context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("qdgs.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _share,
        "group": lambda name: str(name).replace("/", " · "),
        "signed": lambda value: "–" if np.isnan(value) else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}"),
        "ratio": lambda value: "–" if np.isnan(value) else f"{value:.2f}",
        "p": lambda value: "–" if np.isnan(value) else ("< 0.0001" if value < 1e-4 else f"{value:.4f}"),
    }
    return environment.get_template("probe.html").render(context)
