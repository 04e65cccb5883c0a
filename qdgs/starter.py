"""The configuration that `qdgs init` writes: a beginning, with what each key is for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

from qdgs.errors import InputError

STARTER = """\
# A run of qdgs. Check it with `qdgs check THIS_FILE`, start it with `qdgs run THIS_FILE --out RUN`.
kind: run
seed: 0

# What is to be balanced. `qdgs list` shows the generators that this machine can use.
generator: {name: shapes-vae}

# What a good image is, and which differences matter, in words. CLIP reads them.
guide:
  clip: {model: qdgs-mini}            # or, for words that qdgs-mini does not know:
  # clip: {model: ViT-B-32, pretrained: openai}     # fetched once: qdgs fetch THIS_FILE
  objective:
    positive: [A regular square or a triangle.]     # several prompts a side are averaged
    negative: [Splatters of colors.]
  measures:                           # low and high end of each difference; cells of the archive along it
    - {name: color, low: [A red shape.], high: [A blue shape.], cells: 50, range: auto}
    - name: edges
      low: [A triangle with 3 edges.]
      high: [A square or diamond with 4 edges.]
      cells: 50
      range: auto                     # or [-0.1, 0.1]
  weights: {text: 1.0, latent_norm: 0.5}            # latent_norm keeps latents where the prior has them

# How long to search. More evaluations fill more cells; leave out what you do not want to decide.
search:
  algorithm: auto                     # `qdgs list` shows the others
  evaluations: 20000

# What the dataset holds.
dataset:
  images: 2000
  label: edges                        # the measure that a classifier is to learn
  groups:                             # how measures become groups, and which judged attribute answers to each
    color: {cut: auto, gap: 0.05, low: red, high: blue, audit: color}
    edges: {cut: auto, gap: 0.05, low: triangle, high: square, audit: shape}
  target: uniform                     # or shares: {red/triangle: 0.4, …}, or a table of them: census.csv
  per_cell: 4                         # at most so many images from one cell
  on_shortage: stop                   # or accept: fewer images where a group cannot be filled
  # balance: {quality: {bins: 4}}     # a number that the teacher reads, to be balanced within every group
  # identities: {images: 9, offset: 0.2}            # several images of each latent; clusters of latents
  # layout: identity                  # folders by identity instead of by label

# Who looks at the images. The teacher places the cuts, the gate keeps broken images out, the auditor grades
# the result and holds no other role.
judges: {teacher: shape-geometry, gate: shape-geometry, auditor: shape-cnn}
"""


@dataclass(frozen=True)
class Difference:
    """A difference between images, in words.

    Attributes:
        name: Of the measure.
        low: Prompt of its low end.
        high: Prompt of its high end.
        values: What the two groups are called.
    """

    name: str
    low: str
    high: str
    values: tuple[str, str]


@dataclass(frozen=True)
class Wishes:
    """What a user says before there is a configuration.

    Attributes:
        generator: Its name.
        clip: The guide's CLIP, an embedded name or `ARCHITECTURE/TAG` of open_clip.
        good: Prompts of good images.
        bad: Prompts of others.
        differences: What is to be balanced.
        images: How many.
        label: The difference that a classifier is to learn; None is the first.
    """

    generator: str
    good: Sequence[str]
    differences: Sequence[Difference]
    bad: Sequence[str] = field(default_factory=tuple)
    clip: str = "ViT-B-32/openai"
    images: int = 2000
    label: str | None = None


def parse_difference(text: str) -> Difference:
    """`NAME: low prompt | high prompt`, for instance `age: A young person. | An old person.`.

    The groups are called after the name, as `age-low` and `age-high`; they may be renamed in the file.

    Raises:
        InputError: It has another form.
    """
    found = re.fullmatch(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*:\s*([^|]+?)\s*\|\s*([^|]+?)\s*", text)
    if found is None:
        raise InputError(
            f"--measure: expected 'NAME: LOW PROMPT | HIGH PROMPT', as in 'age: A young person. | An old "
            f"person.', got {text!r}"
        )
    name, low, high = found.groups()
    return Difference(name, low, high, (f"{name}-low", f"{name}-high"))


def starter_of(wishes: Wishes) -> str:
    """A commented configuration of a user's wishes.

    Raises:
        InputError: The label is not among the differences.
    """
    names = [difference.name for difference in wishes.differences]
    label = wishes.label or names[0]
    if label not in names:
        raise InputError(f"--label: expected one of {', '.join(names)}, got {label!r}")
    model, _, tag = wishes.clip.partition("/")
    clip = {"model": model, **({"pretrained": tag} if tag else {})}
    measures = [
        {"name": one.name, "low": [one.low], "high": [one.high], "cells": 50, "range": "auto"}
        for one in wishes.differences
    ]
    groups = {
        one.name: {"cut": 0.0, "gap": 0.0, "low": one.values[0], "high": one.values[1]}
        for one in wishes.differences
    }
    listed = "\n".join(f"    - {_flow(measure)}" for measure in measures)
    grouped = "\n".join(f"    {_flow(name)}: {_flow(group)}" for name, group in groups.items())
    return f"""\
# A run of qdgs. Check it with `qdgs check THIS_FILE`, fetch what it needs with `qdgs fetch THIS_FILE`, and
# start it with `qdgs run THIS_FILE --out RUN`.
kind: run
seed: 0

# `qdgs list` shows the generators that this machine can use, and which options they need.
generator: {_flow({"name": wishes.generator})}

guide:
  clip: {_flow(clip)}
  objective:
    positive: {_flow(list(wishes.good))}
    negative: {_flow(list(wishes.bad))}
  measures:                           # low and high end of each difference; cells of the archive along it
{listed}
  weights: {{text: 1.0, latent_norm: 0.5}}            # latent_norm keeps latents where the prior has them

search:
  algorithm: auto                     # `qdgs list` shows the others
  evaluations: 20000

dataset:
  images: {wishes.images}
  label: {_flow(label)}
  groups:                             # a cut of 0 is where both ends fit equally well; auto needs a teacher
{grouped}
  target: uniform                     # or shares, or a table of them: census.csv
  on_shortage: stop                   # or accept: fewer images where a group cannot be filled

# Who looks at the images: `qdgs list` shows the judges. Without an auditor nobody checks what came out; a
# group names the auditor's attribute that answers to it as `audit`.
judges: {{}}                            # for instance {{gate: NAME, auditor: NAME}}
"""


def _flow(value: object) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...").strip()
