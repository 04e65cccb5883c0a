"""What a guide is."""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


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
