"""The numbers of summary.json in words: what each means, what it does not, and when to worry."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qdgs.report.curves import CLIPPED_WARNING
from qdgs.report.style import percent

Form = Literal["share", "count", "decimal", "seconds"]


@dataclass(frozen=True)
class Number:
    """One key of summary.json.

    Attributes:
        key: The key; `random_` + key holds the same for random samples, where there is one.
        label: Its name on the page.
        form: How the value is written.
        means: A sentence on what it says.
        limits: A sentence on what it does not say.
        beside: What `random_` + key is a number of.
    """

    key: str
    label: str
    form: Form
    means: str
    limits: str
    beside: str = "random samples"

    def text(self, value: float) -> str:
        """The value as it stands on the page."""
        if self.form == "share":
            return percent(value)
        if self.form == "count":
            return f"{value:,.0f}"
        if self.form == "seconds":
            return f"{value:,.0f} s"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Entry:
    """A number of one run, as it stands on the page."""

    number: Number
    value: str
    random: str | None


SECTIONS: dict[str, tuple[Number, ...]] = {
    "The dataset, as the auditor sees it": (
        Number(
            "images",
            "images",
            "count",
            "Images in the dataset.",
            "Many images are not many different ones; look at diversity below.",
        ),
        Number(
            "label_agreement",
            "label agreement",
            "share",
            "Share of images whose label the auditor confirms; one that it cannot read counts against.",
            "It is as good as the auditor, whose own mistakes are in it.",
        ),
        Number(
            "max_share_error",
            "largest share error",
            "share",
            "How far the worst group is from the share that it was to have, relative to that share.",
            "It speaks of the groups named in the configuration and of no other attribute.",
        ),
        Number(
            "corrected_max_share_error",
            "largest share error, judge corrected",
            "share",
            "The same after the auditor's known mistakes on images of known group are taken out.",
            "The correction assumes that the auditor errs here as it did on those images.",
        ),
        Number(
            "normalized_entropy",
            "normalised entropy",
            "decimal",
            "Evenness of the groups: 1 where all have the same share.",
            "It hides an empty group: one of twelve empty still gives 0.965.",
        ),
        Number(
            "smallest_group_share",
            "smallest group",
            "share",
            "Share of the smallest group.",
            "A share says nothing about how the images within the group differ.",
        ),
        Number(
            "fairness_discrepancy",
            "fairness discrepancy",
            "decimal",
            "Euclidean distance between the shares and the target: 0 is exact (Choi et al. 2020).",
            "Balanced groups do not make a model that is trained on them fair.",
        ),
        Number(
            "unreadable_share",
            "unreadable",
            "share",
            "Share of images that the auditor cannot read; group shares leave them out.",
            "Unreadable to the auditor is not always bad to a person: look at the pictures.",
        ),
    ),
    "Diversity": (
        Number(
            "group_diversity_ratio",
            "diversity within groups",
            "decimal",
            "How many different images a group holds (Vendi score) beside random samples of the same group: "
            "1 is as diverse, below 0.8 is balanced but narrow.",
            "It is measured on small pictures with one fixed kernel; compare it between runs of qdgs only.",
        ),
        Number(
            "near_duplicates",
            "near-duplicates",
            "share",
            "Share of images that have a closer neighbour than 99 % of random samples have.",
            "Random samples themselves score about 1 %.",
        ),
        Number(
            "lineages",
            "lineages",
            "count",
            "Starts of the search that elites descend from; few lineages are few families of images.",
            "Two lineages may still lead to look-alikes.",
        ),
    ),
    "The search": (
        Number(
            "gate_acceptance",
            "gate acceptance",
            "share",
            "Share of candidate images that the gate let into the dataset; it sees quality, never a group.",
            "A high share does not say that the groups are right.",
        ),
        Number(
            "corrected_qd_score",
            "corrected QD score",
            "decimal",
            "QD score after the elites were put where the auditor says they belong, rejects left out: "
            "what the search really reached.",
            "The objective in it is still the guide's.",
            beside="random search",
        ),
        Number(
            "qd_score",
            "QD score",
            "decimal",
            "Sum of the elites' objectives: quality times spread, as the guide sees them.",
            "The search is trained against this number and can fool it; never read it alone.",
        ),
        Number(
            "coverage",
            "coverage",
            "share",
            "Share of the archive's cells that hold an elite.",
            "Some cells may hold nothing that the generator can make.",
        ),
        Number(
            "objective_mean",
            "mean objective",
            "decimal",
            "Mean objective of the elites, by the guide.",
            "Its scale depends on guide and prompts; compare it within one configuration only.",
        ),
        Number(
            "clipped_fraction",
            "outside the ranges",
            "share",
            "Share of solutions whose measures lie outside the archive and were pushed into edge cells.",
            "Above 5 % the edge cells mix what should be apart.",
        ),
        Number(
            "evaluations",
            "evaluations",
            "count",
            "Images that the guide scored, range finding and prior starts included.",
            "Gradients cost more than one evaluation; compare algorithms by equivalents.",
        ),
        Number(
            "reference_evaluations",
            "reference evaluations",
            "count",
            "Random samples that the guide scored to place cuts and to tell how rare groups are.",
            "They are no part of the search, and come from a bank where one was made before.",
        ),
        Number(
            "search_seconds",
            "search time",
            "seconds",
            "Time that the search took.",
            "It depends on the machine.",
        ),
    ),
}


# Key, "above" or "below", where worry begins, and what to say.
_WARNINGS: tuple[tuple[str, Literal["above", "below"], float, str], ...] = (
    (
        "gate_acceptance",
        "below",
        0.5,
        "The gate let only {} of the candidates in: the search fools its guide.",
    ),
    (
        "label_agreement",
        "below",
        0.95,
        "The auditor confirms only {} of the labels: look at the images before training on them.",
    ),
    (
        "max_share_error",
        "above",
        0.12,
        "The worst group misses its share by {}: the dataset is not balanced as asked.",
    ),
    ("smallest_group_share", "below", 1e-9, "The auditor finds no image at all of one group (share {})."),
    (
        "unreadable_share",
        "above",
        0.1,
        "The auditor cannot read {} of the images, and the group shares leave these out.",
    ),
    (
        "group_diversity_ratio",
        "below",
        0.8,
        "Balanced but narrow: within a group the images are only {} times as diverse as random samples.",
    ),
    ("near_duplicates", "above", 0.02, "{} of the images have a near-duplicate in the dataset."),
    (
        "clipped_fraction",
        "above",
        CLIPPED_WARNING,
        "{} of the solutions lay outside the measure ranges: widen them.",
    ),
)

_UNGRADED = "No auditor has graded this dataset: nothing here proves that it is balanced."
_UNCONFIRMED = "The auditor grades the groups and not the labels: nothing here proves that these are right."


def entries(summary: Mapping[str, Any]) -> dict[str, list[Entry]]:
    """The numbers that a summary holds, by section; a section without numbers is left out."""
    found = {
        section: [_entry(number, summary) for number in numbers if _value(summary, number.key) is not None]
        for section, numbers in SECTIONS.items()
    }
    return {section: rows for section, rows in found.items() if rows}


def warnings_of(
    summary: Mapping[str, Any], *, shared_judge: bool = False, left_out: Collection[str] = ()
) -> list[str]:
    """What a reader must know before using the dataset, one sentence each.

    Args:
        summary: summary.json.
        shared_judge: Whether the auditor holds another role in the run.
        left_out: Groups whose diversity could not be compared.
    """
    sentences = [
        sentence.format(_text(summary, key))
        for key, side, limit, sentence in _WARNINGS
        if (value := _value(summary, key)) is not None
        and (value > limit if side == "above" else value < limit)
    ]
    if shared_judge:
        sentences.append(
            "The auditor holds another role in this run: its numbers are not an independent proof."
        )
    if left_out:
        sentences.append(f"Nothing is known of the diversity of {', '.join(left_out)}: too few to compare.")
    if "images" in summary and _value(summary, "label_agreement") is None:
        graded = _value(summary, "max_share_error") is not None
        sentences.append(_UNCONFIRMED if graded else _UNGRADED)
    return sentences


def _entry(number: Number, summary: Mapping[str, Any]) -> Entry:
    random = _value(summary, f"random_{number.key}")
    return Entry(
        number=number,
        value=number.text(summary[number.key]),
        random=None if random is None else number.text(random),
    )


def _value(summary: Mapping[str, Any], key: str) -> float | None:
    value = summary.get(key)
    return None if value is None or not math.isfinite(value) else float(value)


def _text(summary: Mapping[str, Any], key: str) -> str:
    number = next(number for numbers in SECTIONS.values() for number in numbers if number.key == key)
    return number.text(summary[key])
