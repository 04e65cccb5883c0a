"""The dataset card: what is in the set, how it was made, who judged it, and what it is not fit for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from qdgs.datasets.balance import balance_sentences
from qdgs.datasets.identities import identity_sentences
from qdgs.datasets.limits import limits
from qdgs.datasets.manifest import write_failure
from qdgs.datasets.metadata import column_types, label_names, metadata_table
from qdgs.errors import QdgsError
from qdgs.fairness.certificate import certificate_sentences, labeller
from qdgs.files import write_text

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(
    path: Path,
    manifest: pd.DataFrame,
    metadata: Mapping[str, Any],
    *,
    audit: Mapping[str, Any] | None = None,
    certificate: Mapping[str, Any] | None = None,
    top_up: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> None:
    """Write the card as Markdown with Hugging Face's YAML in front.

    Args:
        path: `dataset/README.md`.
        manifest: One row an image.
        metadata: The manifest's, see `qdgs.datasets.manifest.manifest_metadata`.
        audit: What `AuditResult.to_dict` gives, once there is an audit.
        certificate: What `Certificate.to_dict` gives, once a person has labelled images.
        top_up: What the images of a user hold and lack, as `TopUp.to_json` gives it, with `rows` as of
            `qdgs.datasets.gaps.together`.
        title: Name of the dataset.

    Raises:
        QdgsError: The file cannot be written.
    """
    try:
        text = card_text(manifest, metadata, audit=audit, certificate=certificate, top_up=top_up, title=title)
        write_text(path, text)
    except OSError as error:
        raise QdgsError(f"{path}: cannot be written: {write_failure(error)}") from None


def card_text(
    manifest: pd.DataFrame,
    metadata: Mapping[str, Any],
    *,
    audit: Mapping[str, Any] | None = None,
    certificate: Mapping[str, Any] | None = None,
    top_up: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> str:
    """The text of the card."""
    name = title or f"{' × '.join(metadata['values'])}, balanced"
    front = yaml.safe_dump(
        front_matter(manifest, metadata, name), sort_keys=False, allow_unicode=True, width=110
    )
    sections = [
        ("Before you use this", _warnings(audit)),
        ("What it fills", _top_up(top_up)),
        ("Groups", _groups(manifest, metadata)),
        ("Where it comes from", _sources(metadata)),
        ("What was asked", _of_each(metadata, lambda told: _prompts(told["guide"]))),
        ("How it was made", _of_each(metadata, _making)),
        ("Where a group begins", _of_each(metadata, _cuts)),
        ("Who judged", _of_each(metadata, lambda told: _judges(told.get("judges") or {}))),
        ("What the auditor found", _audit(audit)),
        ("What labels certify", _certificate(certificate)),
        ("Use", _use(metadata)),
        ("Limits and responsible use", limits(metadata)),
    ]
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections if text)
    intro = (
        f"{len(manifest):,} synthetic images of {metadata['image_size']}×{metadata['image_size']} pixels, "
        f"made by the generator `{metadata['generator'].get('name', 'unknown')}` and chosen by qdgs "
        f"{metadata['version']} so that every group below has its share, as the guide sorts images."
    )
    return f"---\n{front}---\n\n# {name}\n\n{intro}\n\n{body}\n"


def front_matter(manifest: pd.DataFrame, metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Hugging Face's metadata: licence, split, and features with the label's ClassLabel."""
    labels = label_names(manifest, metadata)
    return {
        "pretty_name": name,
        "license": metadata.get("license") or "unknown",
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "fairness", "quality-diversity", "qdgs"],
        "size_categories": [_size(len(manifest))],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "train/**"}]},
        ],
        "dataset_info": {"features": _features(metadata_table(manifest, labels), labels)},
    }


def _features(table: pd.DataFrame, labels: Sequence[str]) -> list[dict[str, Any]]:
    names = {str(number): label for number, label in enumerate(labels)}
    features: list[dict[str, Any]] = [{"name": "image", "dtype": "image"}]
    for column, dtype in column_types(table).items():
        if column == "label":
            features.append({"name": "label", "dtype": {"class_label": {"names": names}}})
        elif column != "file_name":
            features.append({"name": column, "dtype": dtype})
    return features


def _size(images: int) -> str:
    return next((name for limit, name in _SIZES if images < limit), "n>1M")


def _groups(manifest: pd.DataFrame, metadata: Mapping[str, Any]) -> str:
    report = metadata.get("report") or {}
    counts = manifest["group"].value_counts()
    groups = report.get("groups") or {name: {} for name in sorted(counts.index)}
    rows = [
        (
            name,
            _percent(group.get("target")),
            int(counts.get(name, 0)),
            _percent(counts.get(name, 0) / len(manifest)),
        )
        for name, group in groups.items()
    ]
    text = f"{_table(('group', 'target', 'images', 'share'), rows)}\n\n"
    text += f"A group is {' / '.join(metadata['values'])}; the label is `{metadata['label']}`."
    for short in report.get("shortages") or []:
        text += (
            f"\n\n`{short['group']}` lacks {short['missing']:,} of {short['wanted']:,} images: the search "
            "found no more."
        )
    return text


def _sources(metadata: Mapping[str, Any]) -> str:
    """The runs that a merged dataset comes from."""
    if not metadata.get("sources"):
        return ""
    rows = [(one["run"], one["generator"]["name"], one["images"]) for one in metadata["sources"]]
    return (
        f"Put together from the datasets of {len(rows)} runs, which took turns within each group:\n\n"
        f"{_table(('run', 'generator', 'images'), rows)}"
    )


def _of_each(metadata: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], str]) -> str:
    """What is told of a dataset, or of each that a merged one comes from where these differ."""
    sources = metadata.get("sources") or [metadata]
    told = {source.get("run", ""): tell(source) for source in sources}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "\n\n".join(f"### {run}\n\n{text}" for run, text in told.items())


def _prompts(guide: Mapping[str, Any]) -> str:
    objective = guide.get("objective") or {}
    clip = guide.get("clip") or {"model": guide.get("target") or guide.get("path") or guide.get("name")}
    model = " ".join(str(part) for part in (clip.get("model"), clip.get("pretrained")) if part)
    lines = [
        f"- a good image: {_quoted(objective.get('positive'))}" if objective.get("positive") else "",
        f"- not: {_quoted(objective.get('negative'))}" if objective.get("negative") else "",
    ]
    lines += [
        f"- `{measure['name']}`: from {_quoted(measure['low']) or 'low'} to "
        f"{_quoted(measure['high']) or 'high'}"
        for measure in guide.get("measures") or []
    ]
    listed = "\n".join(line for line in lines if line)
    by = " against these words" if clip is guide.get("clip") else ""
    return f"The guide `{model or 'unknown'}` scored images{by}:\n\n{listed}"


def _making(metadata: Mapping[str, Any]) -> str:
    search = metadata.get("search") or {}
    text = "A quality-diversity search over the generator's latents filled an archive over the measures"
    if search:
        text += f" ({', '.join(f'{key}: {_shown(value)}' for key, value in search.items())})"
    lines = [f"{text}; the images are its best solutions, spread over its cells and lineages."]
    lines += _choosing(metadata.get("report") or {})
    lines.append(
        "`manifest.parquet` holds the latent of every image; `qdgs render` makes the same pixels from it "
        f"(device {metadata['device']}, micro-batches of {metadata['micro_batch']})."
    )
    return "\n".join(f"- {line}" for line in lines)


def _choosing(report: Mapping[str, Any]) -> Iterable[str]:
    if not report:
        return
    lineages = f" and {report['lineages']:,} lineages" if report.get("lineages") is not None else ""
    yield f"They come from {report['cells']:,} cells{lineages} of {report['solutions']:,} solutions."
    if report.get("below_quality_floor"):
        yield f"{report['below_quality_floor']:,} solutions were below the quality floor."
    if report.get("in_gap"):
        yield f"{report['in_gap']:,} solutions too near a cut point were left out."
    if report.get("gate_judged"):
        acceptance = report["gate_acceptance"]
        fooled = "" if acceptance >= 0.5 else ": under a half, so the guide is being fooled"
        yield (
            f"The gate accepted {acceptance:.1%} of the {report['gate_judged']:,} candidates that it "
            f"saw{fooled}."
        )
    if report.get("min_distance"):
        yield f"{report['duplicates']:,} near-duplicates of other images were dropped."
    yield from balance_sentences(report.get("balance"))
    yield from identity_sentences(report.get("identities"))


def _cuts(metadata: Mapping[str, Any]) -> str:
    lines = []
    for measure, cut in (metadata.get("cuts") or {}).items():
        values = " | ".join(metadata["values"].get(measure, []))
        points = cut if isinstance(cut, Sequence) else [cut]
        told = "; ".join(_calibrated(point) for point in points if isinstance(point, Mapping))
        given = ", ".join(f"{point:.4g}" for point in points if not isinstance(point, Mapping))
        lines.append(f"- `{measure}` ({values}): {told or f'{given}, given'}")
    return "\n".join(lines)


def _calibrated(cut: Mapping[str, Any]) -> str:
    return (
        f"{cut['value']:.4g}, where it best separates {cut['low']:,} low from {cut['high']:,} high images "
        f"that the teacher labelled (balanced accuracy {cut['balanced_accuracy']:.3f})"
    )


def _judges(judges: Mapping[str, Any]) -> str:
    does = {
        "teacher": "its labels calibrated the cut points, and may have taught the guide",
        "gate": "images that it rejects are not in the set; it sees quality only, never a group",
        "auditor": "grades the set",
    }
    if not judges.get("shared"):
        does["auditor"] += ", and steered nothing"
    lines = [f"- {role} `{judges[role]}`: {what}" for role, what in does.items() if judges.get(role)]
    auditor = judges.get("auditor")
    shared = [role for role in ("teacher", "gate") if auditor and judges.get(role) == auditor]
    if shared:
        lines.append(
            f"- **The auditor is also the {' and the '.join(shared)}**: its grades are not independent of "
            "what they grade."
        )
    for role, names in (judges.get("shared") or {}).items():
        if role not in shared:
            lines.append(
                f"- **Of the auditors {names} is also the {role}**: those grades are not independent."
            )
    return "\n".join(lines) or "Nobody: groups and labels are the guide's alone."


def _warnings(audit: Mapping[str, Any] | None) -> str:
    return "\n".join(f"- {sentence}" for sentence in (audit or {}).get("warnings") or [])


def _audit(audit: Mapping[str, Any] | None) -> str:
    if not audit:
        return ""
    dataset, random = audit["dataset"]["shares"], audit["random"]["shares"]
    columns = ("groups", "targets", "counts", "shares", "counts", "shares")
    sources = (dataset, dataset, dataset, dataset, random, random)
    cells = zip(*(source[column] for source, column in zip(sources, columns, strict=True)), strict=True)
    rows = [
        (group, _percent(target), count, _percent(share), random_count, _percent(random_share))
        for group, target, count, share, random_count, random_share in cells
    ]
    heads = ("group", "target", "images", "share", "random samples", "share")
    numbers = [(key, _shown(value)) for key, value in audit.get("summary", {}).items()]
    parts = [
        "Groups as the auditor reads them, beside as many random samples of the same generator:",
        _table(heads, rows),
        _table(("measured", "value"), numbers),
        "\n".join(f"- {note}" for note in audit.get("notes") or []),
    ]
    return "\n\n".join(part for part in parts if part)


def _certificate(certificate: Mapping[str, Any] | None) -> str:
    if not certificate:
        return ""
    rows = [
        (row["group"], _percent(row["target"]), _percent(row["read"]), *map(_percent, row["share"].values()))
        for row in certificate["groups"]
    ]
    heads = ("group", "target", "as the judge counts", "corrected", "from", "to")
    parts = [
        f"{certificate['labelled']:,} images, drawn evenly from all groups, were labelled by "
        f"{labeller(certificate)}, who saw neither groups nor the judge's opinion; the judge's errors are "
        "corrected by these (95 % intervals).",
        _table(heads, rows),
        "\n".join(f"- {sentence}" for sentence in certificate_sentences(certificate)),
    ]
    return "\n\n".join(parts)


def _top_up(top_up: Mapping[str, Any] | None) -> str:
    if not top_up:
        return ""
    heads = ("group", "target", "there", "share", "made", "share of all")
    rows = [
        (
            row["group"],
            _percent(row["target"]),
            row["there"],
            _percent(row["share"]),
            row["made"],
            _percent(row["together"]),
        )
        for row in top_up["rows"]
    ]
    return (
        f"What a set of {top_up['images']:,} images lacks, as the judge `{top_up['judge']}` counts its "
        f"groups ({top_up['unreadable']:,} could not be read):\n\n{_table(heads, rows)}"
    )


def _use(metadata: Mapping[str, Any]) -> str:
    names = metadata["values"].get(metadata["label"], [])
    folders = "which numbers labels alphabetically"
    if metadata.get("layout") == "identity":
        folders = "whose classes are then the identities"
    return (
        "```python\nfrom datasets import load_dataset\n\n"
        'images = load_dataset("imagefolder", data_dir="DATASET", split="train")  # the folder of this card\n'
        f'images[0]["image"], images[0]["label"], images[0]["group"]  # label: {", ".join(names)}\n```\n\n'
        f"`train/` is also a folder for torchvision's `ImageFolder`, {folders}."
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_shown(cell) for cell in line)} |" for line in lines)


def _shown(value: object) -> str:
    if value is None:
        return "not told"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _quoted(prompts: Sequence[str] | None) -> str:
    shown = list(prompts or [])[:3]
    text = ", ".join(f"“{prompt}”" for prompt in shown)
    more = len(prompts or []) - len(shown)
    return f"{text} and {more} more" if more else text
