"""Croissant metadata of a dataset: what its files are, what its records hold, and how it came to be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from qdgs.datasets.limits import limits
from qdgs.datasets.metadata import column_types

FILE = "croissant.json"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
PARQUET, CSV, PNG, TAR = "application/x-parquet", "text/csv", "image/png", "application/x-tar"
_OWN = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet "
    "format includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex "
    "repeated replace samplingRate separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{word: f"cr:{word}" for word in _OWN.split()},
}
_TYPES = {"string": "sc:Text", "bool": "sc:Boolean", "float": "sc:Float", "int": "sc:Integer"}


@dataclass(frozen=True)
class Resources:
    """The files of an export, as Croissant describes them.

    Attributes:
        distribution: File objects and file sets.
        table: Where a row's columns are: `{"fileSet": {"@id": …}}` or the same of a file object.
        image: Source of an image.
        joined: Where images and rows have to be joined: the source of an image's key, and the column of the
            table that holds the same.
        identifier: Source of an image's id, where it is not the column of that name.
    """

    distribution: list[dict[str, Any]]
    table: dict[str, Any]
    image: dict[str, Any]
    joined: tuple[dict[str, Any], str] | None = None
    identifier: dict[str, Any] | None = None


def croissant(
    table: pd.DataFrame, metadata: Mapping[str, Any], resources: Resources, *, title: str
) -> dict[str, Any]:
    """The metadata as JSON-LD, Croissant 1.1 with the fields of its RAI extension.

    Args:
        table: One row an image: what `metadata_table` gives, and `split`.
        metadata: The manifest's.
        resources: The files.
        title: Name of the dataset.

    References:
        MLCommons, Croissant Format Specification 1.1, and Croissant RAI Specification 1.0.
    """
    name = re.sub(r"[^\w.-]+", "-", title).strip("-.") or "dataset"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": name,
        "description": _description(table, metadata),
        "license": metadata.get("license") or "unknown",
        "version": "1.0.0",
        "keywords": ["synthetic", "fairness", "quality-diversity", "qdgs"],
        "citeAs": _CITE,
        "isLiveDataset": False,
        **_responsible(metadata),
        "distribution": resources.distribution,
        "recordSet": [_records(table, resources)],
    }


def file_object(path: Path, root: Path, encoding: str) -> dict[str, Any]:
    """A file of its own, with its hash."""
    name = path.relative_to(root).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": encoding,
        "sha256": _hash(path),
    }


def file_set(
    identifier: str, includes: Sequence[str], encoding: str, within: Sequence[str] = ()
) -> dict[str, Any]:
    """Files of one kind, in the folder or in archives."""
    found: dict[str, Any] = {
        "@type": "cr:FileSet",
        "@id": identifier,
        "name": identifier,
        "encodingFormat": encoding,
        "includes": list(includes),
    }
    if within:
        found["containedIn"] = [{"@id": name} for name in within]
    return found


def _hash(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _records(table: pd.DataFrame, resources: Resources) -> dict[str, Any]:
    fields = [_field("image", "sc:ImageObject", resources.image, "The image.")]
    if resources.joined is not None:
        source, column = resources.joined
        key = _field("image_file", "sc:Text", source, "The image's key in its file's name.")
        fields.insert(0, key | {"references": _column(resources.table, column)})
    for column, dtype in column_types(table.drop(columns="file_name")).items():
        kind = next(name for start, name in _TYPES.items() if dtype.startswith(start))
        source = _column(resources.table, column)
        if column == "id" and resources.identifier is not None:
            source = resources.identifier
        fields.append(_field(column, kind, source, _MEANINGS.get(column, f"`{column}` of the image.")))
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "One record an image.",
        "key": {"@id": "images/id"},
        "field": fields,
    }


def _column(table: Mapping[str, Any], column: str) -> dict[str, Any]:
    return {**table, "extract": {"column": column}}


def _field(name: str, kind: str, source: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": dict(source),
    }


def _description(table: pd.DataFrame, metadata: Mapping[str, Any]) -> str:
    groups = " × ".join(metadata["values"])
    return (
        f"{len(table):,} synthetic images of the generator {metadata['generator'].get('name', 'unknown')}, "
        f"chosen so that every group of {groups} has its share, as the guide sorts images."
    )


def _responsible(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the RAI extension."""
    judges = metadata.get("judges") or {}
    tools = [f"guide: {(metadata['guide'].get('clip') or {}).get('model', 'unknown')}"]
    tools += [f"{role}: {judges[role]}" for role in ("teacher", "gate", "auditor") if judges.get(role)]
    unfit = [" ".join(line.split()) for line in limits(metadata).removeprefix("- ").split("\n- ")]
    return {
        "rai:dataCollection": (
            "Nothing was collected: a quality-diversity search over the latents of a generator found images "
            "that a guide scored against words, and a share of each group was chosen from what it found."
        ),
        "rai:dataCollectionType": ["Synthetic images of a generative model"],
        "rai:dataPreprocessingProtocol": [
            "A gate that sees quality and no group kept broken images out; near-duplicates were dropped."
        ],
        "rai:dataAnnotationProtocol": [
            "Groups and labels come from the guide's measures and cut points; an auditor read the finished "
            "images. The dataset card has both."
        ],
        "rai:machineAnnotationTools": tools,
        "rai:dataBiases": [unfit[2], unfit[3]],
        "rai:dataLimitations": unfit,
        "rai:dataUseCases": ["Training of classifiers", "Study of bias in generators and classifiers"],
        "rai:dataSocialImpact": unfit[4],
        "rai:personalSensitiveInformation": [
            "No image is a photograph. Where the groups name attributes of people, they say how images look "
            "to models."
        ],
        "rai:dataReleaseMaintenancePlan": (
            "The manifest holds every latent: the same images can be made again."
        ),
    }


_MEANINGS = {
    "label": "Position of the label among its values; the names are in label_name or in the dataset card.",
    "label_name": "The label.",
    "id": "The image's id.",
    "group": "Values of all grouped measures, joined with a slash.",
    "split": "The part of the dataset.",
    "objective": "How good an image is, as the guide sees it.",
    "cell": "Cell of the archive.",
    "rank": "Place in its cell, 0 the best.",
    "lineage": "Start of the search that it descends from.",
    "identity": "Cluster of latents that counts as one identity.",
}
_CITE = (
    "@inproceedings{chang2024qdgs, title={Quality-Diversity Generative Sampling for Learning with Synthetic "
    "Data}, author={Chang, Allen and Fontaine, Matthew C. and Booth, Serena and Matari{\\'c}, Maja J. and "
    "Nikolaidis, Stefanos}, booktitle={AAAI Conference on Artificial Intelligence}, year={2024}}"
)
