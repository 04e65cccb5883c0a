"""What can be told of a set of faces without training on it: faces found, realism by group, leakage."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.fairness.intervals import Array, Estimate, percentile_interval, proportion
from qdgs.fairness.kernel_distance import squared_discrepancy
from qdgs.fairness.shares import group_shares
from qdgs.fairness.two_sample import leakage, two_sample_test
from qdgs.generators.base import generate
from qdgs.generators.stored import as_stored
from qdgs.judges.face_light import FaceLight
from qdgs.samplers.base import Problem, read_values
from qdgs.samplers.costs import Meter

SUBSETS = 50
SUBSET = 100
FEWEST = 20


@dataclass(frozen=True, eq=False)
class FaceSet:
    """A set of faces as teacher and gate read it.

    Attributes:
        read: Their rows: attributes and scores, `accepted`, `face_found`, `background_luminance`.
        groups: The group of each image as the teacher reads it, missing where it is not accepted.
        embeddings: Of the images, `(n, embedding_dim)`.
    """

    read: pd.DataFrame
    groups: pd.Series
    embeddings: Array

    def of(self, group: str) -> Array:
        """Embeddings of a group's images."""
        return self.embeddings[(self.groups == group).to_numpy(bool)]


def face_set(problem: Problem, rows: pd.DataFrame, embedding: PixelEmbedding) -> FaceSet:
    """Render rows of a manifest, and read them with the problem's judge and gate."""
    meter, read, embedded = Meter(), [], []
    for batch in generate(problem.generator, latents_of(rows)):
        images = as_stored(batch)
        read.append(read_values(problem, images, meter))
        embedded.append(embedding.transform(images))
    values = pd.concat(read, ignore_index=True)
    groups = problem.group_of(values).where(values["accepted"].to_numpy(bool), None)
    return FaceSet(values, groups, np.concatenate(embedded))


def numbers(
    mine: FaceSet, reference: FaceSet, groups: tuple[str, ...], rng: np.random.Generator
) -> dict[str, Estimate]:
    """Everything that is told of a set.

    Shares by the teacher are over the images that it accepts and reads, against equal ones: a milder test
    than the auditor's, since its words are the guide's. `kernel_distance` is the mean over groups of the
    unbiased squared discrepancy (cubic kernel) to the reference's images of the same group, its ends the
    spread over subsets, which overlap where a group has few;
    `told_from_random`, the accuracy of a classifier that is to tell the two apart within groups, 0.5 being
    chance; `leakage`, how well background luminance alone tells the group.

    Args:
        mine: The set.
        reference: Random samples that are not in it, as the same judges read them.
        groups: Names of all.
        rng: Source of subsets, folds and resamples.
    """
    found = mine.read["face_found"].to_numpy(bool)
    changes = FaceLight().exposure_changes(mine.read) if "lightness_darker" in mine.read else None
    told = mine.groups.notna().to_numpy(bool)
    background = mine.read["background_luminance"].to_numpy(float)[told]
    result = {
        "faces_found": proportion(int(found.sum()), len(found)),
        "kernel_distance": group_distance(mine, reference, groups, rng),
        "told_from_random": told_from(mine, reference, groups, rng),
        "leakage": leakage(background, mine.groups[told], rng),
        "another_class_at_one_stop": Estimate(changes.lightness if changes else np.nan),
    }
    shares = group_shares(mine.groups, dict.fromkeys(groups, 1 / len(groups)), rng)
    result["max_share_error_by_teacher"] = shares.max_share_error
    result["normalized_entropy_by_teacher"] = shares.normalized_entropy
    return result


def group_distance(
    mine: FaceSet, reference: FaceSet, groups: tuple[str, ...], rng: np.random.Generator
) -> Estimate:
    """Mean over groups of the kernel distance to the reference, with the spread of random subsets."""
    pairs = [(mine.of(group), reference.of(group)) for group in groups]
    pairs = [(a, b) for a, b in pairs if min(len(a), len(b)) >= FEWEST]
    if not pairs:
        return Estimate(np.nan)
    scale = np.sqrt(np.square(reference.embeddings).mean())
    drawn = [
        np.mean([squared_discrepancy(_some(a, rng) / scale, _some(b, rng) / scale) for a, b in pairs])
        for _ in range(SUBSETS)
    ]
    return percentile_interval(float(np.mean(drawn)), drawn)


def told_from(
    mine: FaceSet, reference: FaceSet, groups: tuple[str, ...], rng: np.random.Generator
) -> Estimate:
    """Accuracy of a two-sample classifier on as many images of each group from both sides."""
    first, second = [], []
    for group in groups:
        a, b = mine.of(group), reference.of(group)
        size = min(len(a), len(b))
        first.append(a[rng.permutation(len(a))[:size]])
        second.append(b[rng.permutation(len(b))[:size]])
    try:
        return two_sample_test(np.concatenate(first), np.concatenate(second), rng).accuracy
    except InputError:
        return Estimate(np.nan)


def _some(rows: Array, rng: np.random.Generator) -> Array:
    return rows[rng.permutation(len(rows))[:SUBSET]]
