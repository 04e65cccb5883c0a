"""A judge that is an image classifier of transformers, in a folder as `save_pretrained` writes it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from qdgs.compat import import_torchvision
from qdgs.errors import ConfigError, CorruptFileError, MissingModelError, MissingPackageError, reason_of
from qdgs.judges.probabilities import check_confidence, read_logits

NAME = "image-classifier"
Labels = str | Sequence[str]


class ImageClassifier:
    """Reads one attribute off images with a classifier's own preprocessing and labels.

    A value may gather several labels: its logit is the logarithm of the sum of their exponentials. Labels
    that no value names are left out of the softmax. No code of the folder is run.

    Args:
        path: The folder, with config.json, weights and preprocessor_config.json.
        attribute: What it reads.
        values: Value → a label or several, from low to high; without it every label is a value.
        confidence: Probability from which on a value is told.
        device: Where it works.
        asked_at: The key of the configuration that asks for it, for errors.

    Raises:
        ConfigError: An option does not hold.
        MissingModelError: There is no such folder, or a file in it is missing.
        CorruptFileError: The folder holds no image classifier.
        MissingPackageError: transformers is not installed.
    """

    packages = ("transformers",)

    def __init__(
        self,
        path: str,
        *,
        attribute: str = "label",
        values: Mapping[str, Labels] | None = None,
        confidence: float = 0.0,
        device: torch.device | str = "cpu",
        asked_at: str = NAME,
    ) -> None:
        folder = _folder(path, asked_at)
        self.confidence = check_confidence(asked_at, confidence)
        self.network, self._processor = _loaded(folder)
        self.network.eval().requires_grad_(False).to(device)
        labels = [str(label) for _, label in sorted(self.network.config.id2label.items())]
        gathered = _gathered(labels, values, asked_at)
        self.attributes: Mapping[str, tuple[str, ...]] = {str(attribute): tuple(gathered)}
        self._rows = [[labels.index(label) for label in several] for several in gathered.values()]

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        (attribute,) = self.attributes
        return read_logits(self.attributes, {attribute: self.logits(images)}, confidence=self.confidence)

    def logits(self, images: Tensor) -> Tensor:
        """Logits `(batch_size, values)` of the values, for images `(batch_size, 3, height, width)`."""
        pixels = (images.detach() * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        inputs = self._processor(images=list(pixels), return_tensors="pt", input_data_format="channels_first")
        device = next(self.network.parameters()).device
        with torch.no_grad():
            logits = self.network(inputs["pixel_values"].to(device)).logits.float()
        return torch.stack([logits[:, rows].logsumexp(dim=1) for rows in self._rows], dim=1)


def _folder(path: object, place: str) -> Path:
    if not isinstance(path, str | Path):
        raise ConfigError(f"{place}.path: expected the name of a folder, got {path!r}")
    if importlib.util.find_spec("transformers") is None:
        raise MissingPackageError(
            f"{place}: {NAME} needs an optional package: pip install 'qdgs[transformers]'"
        )
    folder = Path(path)
    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise MissingModelError(
                f"{place}.path: expected a folder as save_pretrained writes it, with {name}, at {folder}, "
                "got none; copy the model's repository there"
            )
    return folder


def _loaded(folder: Path) -> tuple[Any, Any]:
    import_torchvision()  # transformers imports it
    from transformers import AutoImageProcessor, AutoModelForImageClassification
    from transformers.utils import logging

    try:
        logging.set_verbosity_error()
        network, loading = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, torch_dtype=torch.float32
        )
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers lets through whatever its many kinds raise
        raise CorruptFileError(
            f"{folder}: cannot be read as an image classifier: {reason_of(error)}; copy it again"
        ) from error
    if loading["missing_keys"]:
        some = ", ".join(sorted(loading["missing_keys"])[:2])
        raise CorruptFileError(f"{folder}: expected the weights of an image classifier, got none of {some}")
    return network, processor


def _gathered(labels: Sequence[str], values: object, place: str) -> dict[str, list[str]]:
    if values is None:
        return {label: [label] for label in labels}
    if not isinstance(values, Mapping) or len(values) < 2:
        raise ConfigError(f"{place}.values: expected labels for at least two values, got {values!r}")
    gathered = {}
    for value, given in values.items():
        several = [given] if isinstance(given, str) else list(given or [])
        for label in several:
            if label not in labels:
                shown = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
                raise ConfigError(
                    f"{place}.values.{value}: expected labels of the model ({shown}), got {label!r}"
                )
        if not several:
            raise ConfigError(f"{place}.values.{value}: expected at least one label, got none")
        gathered[str(value)] = several
    return gathered
