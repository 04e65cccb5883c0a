from pathlib import Path
from typing import Any

import pytest
import yaml

from qdgs.datasets.card import card_text, write_card
from qdgs.datasets.flatten import Flattened
from qdgs.datasets.metadata import metadata_table
from qdgs.errors import QdgsError

AUDIT = {
    "summary": {"label_agreement": 0.981, "group_diversity_ratio": None},
    "dataset": {
        "shares": {
            "groups": ["red/triangle", "blue/square"],
            "targets": [0.5, 0.5],
            "counts": [24, 26],
            "shares": [0.48, 0.52],
        }
    },
    "random": {"shares": {"counts": [49, 1], "shares": [0.98, 0.02]}},
    "notes": ["Judges share a model."],
}


def front_matter(text: str) -> dict[str, Any]:
    _, front, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(front)
    return loaded


def test_the_front_matter_declares_every_column_and_the_class_label(
    flattened: Flattened, metadata: dict[str, Any]
) -> None:
    front = front_matter(card_text(flattened.manifest, metadata))
    features = {feature["name"]: feature["dtype"] for feature in front["dataset_info"]["features"]}
    table = metadata_table(flattened.manifest, ["triangle", "square"])
    assert list(features) == ["image", *(column for column in table.columns if column != "file_name")]
    assert features["image"] == "image"
    assert features["label"] == {"class_label": {"names": {"0": "triangle", "1": "square"}}}
    assert (features["id"], features["tint"], features["cell"]) == ("string", "float32", "int64")
    assert front["license"] == "mit"
    assert front["size_categories"] == ["n<1K"]
    assert "synthetic" in front["tags"]
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "train/**"}]


def test_huggingface_hub_accepts_it(flattened: Flattened, metadata: dict[str, Any]) -> None:
    card = pytest.importorskip("huggingface_hub").DatasetCard(card_text(flattened.manifest, metadata))
    assert card.data.license == "mit"
    assert card.data.pretty_name == "tint × form, balanced"


@pytest.mark.parametrize(
    "told",
    [
        "50 synthetic images of 16×16 pixels, made by the generator `tiny`",
        "| blue/square | 25.0% | 12 | 24.0% |",
        "the label is `form`",
        "a good image: “A shape.”",
        "not: “Splatters.”",
        "- `tint`: from “A red shape.” to “A blue shape.”",
        "algorithm: cma_mae, evaluations: 20,000",
        "The gate accepted 8",
        "solutions too near a cut point were left out",
        "- `tint` (red | blue): 0, given",
        "- `form` (triangle | square): 0.1, where it best separates 40 low from 60 high images",
        "balanced accuracy 0.987",
        "- auditor `cnn`: grades the set",
        "`qdgs render` makes the same pixels",
        "Every image is generated.",
    ],
)
def test_the_card_tells_how_the_set_was_made(
    flattened: Flattened, metadata: dict[str, Any], told: str
) -> None:
    assert told in " ".join(card_text(flattened.manifest, metadata).split(" "))


def test_the_audit_is_told_once_there_is_one(flattened: Flattened, metadata: dict[str, Any]) -> None:
    assert "What the auditor found" not in card_text(flattened.manifest, metadata)
    text = card_text(flattened.manifest, metadata, audit=AUDIT)
    assert "| red/triangle | 50.0% | 24 | 48.0% | 49 | 98.0% |" in text
    assert "| label_agreement | 0.981 |" in text
    assert "| group_diversity_ratio | not told |" in text
    assert "- Judges share a model." in text


def test_shared_judges_fooled_guides_and_shortages_are_said(
    flattened: Flattened, metadata: dict[str, Any]
) -> None:
    shortage = {"group": "blue/square", "missing": 3, "wanted": 13}
    report = metadata["report"] | {"gate_acceptance": 0.31, "shortages": [shortage]}
    judges = {"teacher": "geometry", "gate": "geometry", "auditor": "geometry"}
    text = card_text(flattened.manifest, metadata | {"judges": judges, "report": report})
    assert "**The auditor is also the teacher and the gate**" in text
    assert "the guide is being fooled" in text
    assert "`blue/square` lacks 3 of 13 images" in text


def test_a_card_needs_no_report_and_no_judges(flattened: Flattened, metadata: dict[str, Any]) -> None:
    bare = metadata | {"report": None, "judges": {}, "search": {}, "cuts": {}, "license": "unknown"}
    text = card_text(flattened.manifest, bare)
    assert "| red/square |  | 1" in text
    assert "groups and labels are the guide's alone" in text
    assert front_matter(text)["license"] == "unknown"


def test_a_card_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, flattened: Flattened, metadata: dict[str, Any]
) -> None:
    (tmp_path / "README.md").mkdir()
    with pytest.raises(QdgsError, match=r"README\.md: cannot be written"):
        write_card(tmp_path / "README.md", flattened.manifest, metadata)


def test_prompts_with_yaml_and_table_signs_do_no_harm(flattened: Flattened, metadata: dict[str, Any]) -> None:
    text = card_text(flattened.manifest, metadata, title="--- a: 'title' | #1")
    assert front_matter(text)["pretty_name"] == "--- a: 'title' | #1"
