"""A guide made of prompts: what is good, and which differences matter, in words."""

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor

from qdgs.clip.encoder import PromptWarning
from qdgs.config import GuideConfig
from qdgs.errors import ConfigError
from qdgs.guides.angle import angular_distance
from qdgs.guides.base import Scores
from qdgs.guides.uniqueness import UniquenessMemory

_SAME_MEANING = 1e-5  # radians; prompts that differ in case alone have the same tokens


class Encoder(Protocol):
    """What a prompt guide asks of a CLIP; `ClipEncoder` is one.

    Attributes:
        name: The model as the user named it.
        card: What is known of it: `vocabulary`, `taught_by`; empty where nothing is.
    """

    name: str
    card: dict[str, Any]

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Unit vectors `(n, embedding_dim)`."""
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """Unit vectors `(batch_size, embedding_dim)`; gradients flow to the images."""
        ...

    def unknown_words(self, prompts: list[str]) -> list[str]:
        """Words that the model is known never to have seen."""
        ...

    def cut_prompts(self, prompts: list[str]) -> list[str]:
        """Prompts that are too long for the model."""
        ...


class PromptGuide:
    """Scores images by their angular distances d to prompts; every prompt is embedded once, here.

    With d(u, v) = 2·arcsin(‖u − v‖ / 2) in radians between unit embeddings, and every side averaged over
    its prompts (the published code sums, so that a paraphrase changes the scale):

    - L_txt(I) = mean_p d(I, p) over positive prompts − mean_n d(I, n) over negative ones
    - objective f = 100 − 50·(b0·L_txt + b2·L_unq), with b of `config.weights`
    - measure m_j = d(I, low_j) − d(I, high_j): negative is closer to `low`

    The term b1·L_reg of the latents is added by whoever holds them (`qdgs.guides.prior`). Scoring is pure:
    the memory behind L_unq moves only in `remember`.

    Args:
        encoder: The CLIP.
        config: Prompts and weights; words that the CLIP never saw and prompts too
            long for it get a `PromptWarning`.

    Attributes:
        measure_names: One name a measure.

    Raises:
        ConfigError: Two prompts on different sides are the same to this CLIP.

    References:
        Chang et al., "Quality-Diversity Generative Sampling for Learning with Synthetic Data", AAAI 2024,
        arXiv 2312.14369.
    """

    def __init__(self, encoder: Encoder, config: GuideConfig) -> None:
        self.encoder = encoder
        self.config = config
        self.measure_names = tuple(measure.name for measure in config.measures)
        self._prompts = list(dict.fromkeys(_all_prompts(config)))
        self._row = {prompt: row for row, prompt in enumerate(self._prompts)}
        self._warn_of_doubtful_prompts()
        self._text = encoder.encode_text(self._prompts)
        self._check_sides()
        self.memory = UniquenessMemory() if config.weights.uniqueness > 0 else None

    @property
    def thread_safe(self) -> bool:
        """Whether several threads may score at once."""
        return getattr(self.encoder, "thread_safe", False)

    def score(self, images: Tensor) -> Scores:
        """Scores of images `(batch_size, 3, height, width)` in [0, 1]; gradients flow to the images."""
        return self.score_embeddings(self.embed(images))

    def embed(self, images: Tensor) -> Tensor:
        """Unit embeddings `(batch_size, embedding_dim)`, for `score_embeddings` and `remember`."""
        return self.encoder.encode_images(images)

    def score_embeddings(self, embeddings: Tensor) -> Scores:
        """Scores of images that are embedded already: `score` in two steps."""
        distances = angular_distance(embeddings, self._text.to(embeddings))
        weights = self.config.weights
        loss = weights.text * self._text_loss(distances)
        if self.memory is not None:
            loss = loss + weights.uniqueness * self.memory.loss(embeddings)
        return Scores(objective=100 - 50 * loss, measures=self._measures(distances))

    def remember(self, embeddings: Tensor) -> None:
        """Tell the uniqueness term which embeddings came up; nothing happens where its weight is 0."""
        if self.memory is not None:
            self.memory.remember(embeddings)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs: the uniqueness term's memory, where there is one."""
        return {} if self.memory is None else {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])

    def _text_loss(self, distances: Tensor) -> Tensor:
        objective = self.config.objective
        return self._side(distances, objective.positive) - self._side(distances, objective.negative)

    def _measures(self, distances: Tensor) -> Tensor:
        columns = [
            self._side(distances, measure.low) - self._side(distances, measure.high)
            for measure in self.config.measures
        ]
        return torch.stack(columns, dim=1)

    def _side(self, distances: Tensor, prompts: list[str]) -> Tensor:
        if not prompts:
            return distances.new_zeros(len(distances))
        return distances[:, [self._row[prompt] for prompt in prompts]].mean(dim=1)

    def _warn_of_doubtful_prompts(self) -> None:
        words = self.encoder.unknown_words(self._prompts)
        if words:
            _warn(
                f"{self.encoder.name} never saw these words of the prompts: {', '.join(words)}; what it "
                "makes of them is chance: use words of its card.json, or a larger CLIP (guide.clip.model)"
            )
        for prompt in self.encoder.cut_prompts(self._prompts):
            _warn(f"{self.encoder.name} reads the beginning of {prompt!r} alone; say it in fewer words")

    def _check_sides(self) -> None:
        objective = self.config.objective
        self._check_side("guide.objective", objective.positive, objective.negative)
        for index, measure in enumerate(self.config.measures):
            self._check_side(f"guide.measures.{index}", measure.low, measure.high)

    def _check_side(self, place: str, one: list[str], other: list[str]) -> None:
        for first in one:
            for second in other:
                pair = self._text[[self._row[first], self._row[second]]]
                if float(angular_distance(pair[:1], pair[1:])) < _SAME_MEANING:
                    raise ConfigError(
                        f"{place}: expected prompts that differ, got {first!r} and {second!r}, "
                        f"which are the same to {self.encoder.name}; say the difference in other words"
                    )


def _warn(message: str) -> None:
    warnings.warn(message, PromptWarning, stacklevel=4)  # whoever makes the guide


def _all_prompts(config: GuideConfig) -> list[str]:
    sides = [config.objective.positive, config.objective.negative]
    sides += [side for measure in config.measures for side in (measure.low, measure.high)]
    return [prompt for side in sides for prompt in side]
