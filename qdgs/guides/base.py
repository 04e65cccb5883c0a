"""What a guide is."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from qdgs.config import GuideConfig

GUIDES: dict[str, Any] = {
    "prompts": "qdgs.guides.prompts:PromptGuide",
    "python": "qdgs.guides.own:python_guide",
    "torchscript": "qdgs.guides.own:TorchScriptGuide",
}
"""Name → "module:attribute"; a user may add a class, a function or an object that is made already."""


class Scores(NamedTuple):
    """What a guide says of a batch of images.

    Attributes:
        objective: `(batch_size,)`, larger is better.
        measures: `(batch_size, measure_dim)`.
    """

    objective: Tensor
    measures: Tensor


@runtime_checkable
class Guide(Protocol):
    """Images → objective and measures. It steers the search.

    Attributes:
        measure_names: One name a measure.
    """

    measure_names: tuple[str, ...]

    def score(self, images: Tensor) -> Scores:
        """Scores of images `(batch_size, 3, height, width)` in [0, 1]; gradients flow to the images."""
        ...


class SearchGuide(Guide, Protocol):
    """A guide as a search uses it: scored in two steps, so that what was embedded can be remembered.

    Attributes:
        config: What is asked of it.
        encoder: The model behind it, which tells it from another.
    """

    config: GuideConfig
    encoder: Any

    def embed(self, images: Tensor) -> Tensor:
        """What `score_embeddings` and `remember` take of images `(batch_size, 3, height, width)`."""
        ...

    def score_embeddings(self, embeddings: Tensor) -> Scores:
        """Scores of what `embed` gave."""
        ...

    def remember(self, embeddings: Tensor) -> None:
        """Tell a term that looks back which embeddings came up."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        ...
