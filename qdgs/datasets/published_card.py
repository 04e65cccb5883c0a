"""The dataset card of an export: the dataset's own, with the files and the use of its format."""

import re
from collections.abc import Mapping, Sequence


def published_card(
    text: str, data_files: Mapping[str, str], *, columns: Sequence[str] | None, use: str
) -> str:
    """A dataset card for another layout of the same images.

    Args:
        text: The card of the dataset.
        data_files: Split → pattern of its files, for Hugging Face; empty where it does not read them.
        columns: Text columns that the files have beside those of the card, after the label; None where the
            files declare their own.
        use: Python that reads it.
    """
    from huggingface_hub import DatasetCard

    card = DatasetCard(text)
    if data_files:
        files = [{"split": split, "path": path} for split, path in data_files.items()]
        card.data["configs"] = [{"config_name": "default", "data_files": files}]
    else:
        card.data.pop("configs", None)
    if columns is None or not data_files:
        card.data.pop("dataset_info", None)
    else:
        after = 1 + [feature["name"] for feature in card.data["dataset_info"]["features"]].index("label")
        added = [{"name": name, "dtype": "string"} for name in columns]
        card.data["dataset_info"]["features"][after:after] = added
    section = f"## Use\n\n```python\n{use}```\n\n"
    body = re.sub(r"## Use\n.*?(?=^## |\Z)", lambda _: section, card.text, flags=re.DOTALL | re.MULTILINE)
    front = card.data.to_yaml(line_break="\n")
    return f"---\n{front}\n---\n{body}"
