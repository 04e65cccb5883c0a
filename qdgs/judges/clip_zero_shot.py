"""A judge that asks a CLIP, another than the guide's, which of several prompts fits an image best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from qdgs.clip.encoder import ClipEncoder
from qdgs.clip.sources import ClipSource
from qdgs.errors import ConfigError
from qdgs.judges.probabilities import check_confidence, check_values, read_logits

NAME = "clip-zero-shot"
Prompts = str | Sequence[str]


class ClipZeroShot:
    """Reads attributes by prompts: softmax over values v of s·cos(I, t_v), with the model's own scale s.

    t_v is the normalised mean of the embeddings of a value's prompts. What a guide's CLIP believes, this one
    may believe as well: both learned from photographs and captions of the web, and agreement of two CLIPs is
    weaker evidence than that of a judge of another kind. The guide's own CLIP is refused.

    Args:
        clip: `model` and `pretrained`, as of a guide; or the model alone.
        attributes: Attribute → value → a prompt or several.
        quality: `positive` and `negative` prompts of what is whole enough to be judged; without them every
            image is accepted.
        confidence: Probability from which on a value is told.
        device: Where the CLIP works.
        asked_at: The key of the configuration that asks for it, for errors.

    Raises:
        ConfigError: An option does not hold, or the CLIP is unknown.
        MissingModelError: The weights are not on this machine, and there is no network.

    References:
        Radford et al., ICML 2021, section 3.1 (zero-shot classification, ensembles of prompts).
    """

    def __init__(
        self,
        clip: str | Mapping[str, str],
        attributes: Mapping[str, Mapping[str, Prompts]],
        *,
        quality: Mapping[str, Prompts] | None = None,
        confidence: float = 0.0,
        device: torch.device | str = "cpu",
        asked_at: str = NAME,
    ) -> None:
        source = clip_source(clip, asked_at)
        self.attributes: Mapping[str, tuple[str, ...]] = check_values(asked_at, attributes)
        self.confidence = check_confidence(asked_at, confidence)
        sides = {
            name: _prompts_of(attributes[name], f"{asked_at}.attributes.{name}") for name in self.attributes
        }
        whole = None if quality is None else _two_sides(quality, f"{asked_at}.quality")
        self.encoder = ClipEncoder.load(source.model, source.pretrained, device=device, place=source.place)
        self._text = {name: self._embedded(prompts) for name, prompts in sides.items()}
        self._whole = None if whole is None else self._embedded(whole)

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        with torch.no_grad():
            embeddings = self.encoder.encode_images(images.to(self.encoder.device))
        logits = {name: self._logits(embeddings, text) for name, text in self._text.items()}
        whole = None if self._whole is None else self._logits(embeddings, self._whole).softmax(dim=1)[:, 0]
        return read_logits(self.attributes, logits, confidence=self.confidence, wholeness=whole)

    def _embedded(self, prompts: Sequence[list[str]]) -> Tensor:
        """Unit vectors `(values, embedding_dim)`."""
        means = [self.encoder.encode_text(several).mean(dim=0) for several in prompts]
        return functional.normalize(torch.stack(means), dim=-1)

    def _logits(self, embeddings: Tensor, text: Tensor) -> Tensor:
        return self.encoder.logit_scale * embeddings @ text.T


def source_of(options: Mapping[str, Any]) -> ClipSource:
    """Where the files of a judge of these options come from.

    Raises:
        ConfigError: They name no CLIP.
    """
    return clip_source(options.get("clip"))


def clip_source(clip: object, place: str = NAME) -> ClipSource:
    """Which CLIP the option `clip` names.

    Raises:
        ConfigError: It names none.
    """
    told = {"model": clip} if isinstance(clip, str) else clip
    if not isinstance(told, Mapping) or "model" not in told or set(told) - {"model", "pretrained"}:
        raise ConfigError(f"{place}.clip: expected {{model: …, pretrained: …}}, got {clip!r}")
    pretrained = told.get("pretrained")
    return ClipSource(str(told["model"]), None if pretrained is None else str(pretrained), f"{place}.clip")


def _two_sides(quality: object, place: str) -> list[list[str]]:
    """Prompts of what is whole, and of what is not."""
    if not isinstance(quality, Mapping) or set(quality) != {"positive", "negative"}:
        raise ConfigError(f"{place}: expected positive and negative prompts, got {quality!r}")
    return _prompts_of({side: quality[side] for side in ("positive", "negative")}, place)


def _prompts_of(values: object, place: str) -> list[list[str]]:
    """The prompts of each value."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}: expected prompts for each value, got {values!r}")
    found = []
    for value, prompts in values.items():
        several = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(several, list) or not several or not all(map(_is_prompt, several)):
            raise ConfigError(f"{place}.{value}: expected a prompt or several, got {prompts!r}")
        found.append(several)
    return found


def _is_prompt(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
