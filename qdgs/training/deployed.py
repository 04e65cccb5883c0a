"""A trained classifier as one TorchScript file that takes images of any size."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.errors import CorruptFileError
from qdgs.training.classifier import ShapeClassifier


class Deployed(nn.Module):
    """A classifier behind the scaling that its training images went through.

    Args:
        classifier: Its weights are shared, not copied.
    """

    def __init__(self, classifier: ShapeClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.image_size = classifier.image_size

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch_size,)`, positive for a square, of images `(batch_size, 3, height, width)`.

        Float in [0, 1] or uint8, of any size: scaled to the classifier's by averaging areas.
        """
        if images.dtype == torch.uint8:
            images = images.to(torch.float32) / 255
        if images.shape[2] != self.image_size or images.shape[3] != self.image_size:
            images = functional.interpolate(images, size=[self.image_size, self.image_size], mode="area")
        logits: Tensor = self.classifier(images)
        return logits


def save_classifier(classifier: ShapeClassifier, path: Path) -> None:
    """Write a TorchScript file that needs no code of ours: `torch.jit.load(path)(images) > 0` says square.

    Written whole or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deployed = Deployed(classifier).eval()
    with _quiet():
        scripted = torch.jit.script(deployed)
        unfinished = path.with_name(path.name + ".part")
        torch.jit.save(scripted, str(unfinished))
    unfinished.replace(path)


def load_classifier(path: Path, *, device: torch.device | str = "cpu") -> ShapeClassifier:
    """The classifier in a file that `save_classifier` wrote, to be trained further.

    Raises:
        CorruptFileError: The file is missing, is not TorchScript, or holds something else.
    """
    try:
        with _quiet():
            scripted = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
        classifier = ShapeClassifier(int(scripted.image_size), generator=torch.Generator())
        classifier.load_state_dict(scripted.classifier.state_dict())
    except (RuntimeError, ValueError, AttributeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptFileError(f"{path}: expected a saved classifier, cannot read it: {reason}") from None
    return classifier.to(device)


@contextmanager
def _quiet() -> Iterator[None]:
    # deprecated by torch in favour of torch.export, whose files a plain `torch.jit.load` does not read
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+`", category=DeprecationWarning)
        yield
