"""What a judge is, and the names of the known ones."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from torch import Tensor

from qdgs.ahead import ahead

JUDGES: dict[str, Any] = {
    "clip-zero-shot": "qdgs.judges.clip_zero_shot:ClipZeroShot",
    "face-light": "qdgs.judges.face_light:FaceLight",
    "faces-dlib": "qdgs.judges.faces_dlib:FacesDlib",
    "faces-xception": "qdgs.judges.faces_xception:FacesXception",
    "image-classifier": "qdgs.judges.image_classifier:ImageClassifier",
    "python": "qdgs.judges.own:python_judge",
    "shape-cnn": "qdgs.judges.shape_cnn:ShapeCNN",
    "shape-geometry": "qdgs.judges.shape_geometry:ShapeGeometry",
    "torchscript": "qdgs.judges.own:TorchScriptJudge",
}
"""Name → "module:attribute"; a user may add a class, a function or an object that is made already."""

SOURCES: dict[str, str] = {"clip-zero-shot": "qdgs.judges.clip_zero_shot:source_of"}
"""Judges whose files may have to be fetched: a function of the options → its `Source`."""


@runtime_checkable
class Judge(Protocol):
    """Reads attributes off images, and is not the guide.

    Attributes:
        attributes: Attribute → its values, in order (low, …, high).
    """

    attributes: Mapping[str, tuple[str, ...]]

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)` in [0, 1], one row an image.

        Columns: for each attribute its value (missing where the judge cannot tell) and `<attribute>_score`,
        continuous and growing from the first value to the last; `accepted`, a bool: what the image shows is
        whole enough to be judged at all; `quality`, continuous, larger is better.
        """
        ...


def judge_batches(
    judge: Judge, batches: Iterable[Tensor], progress: Callable[[int], None] | None = None
) -> pd.DataFrame:
    """The judge's rows for a sequence of batches, numbered from 0; the next batch is made meanwhile.

    Args:
        judge: Who reads.
        batches: Images `(batch_size, 3, height, width)` in [0, 1].
        progress: Called after each batch with the images read so far.
    """
    rows, done = [], 0
    for images in ahead(batches):
        rows.append(judge.judge(images))
        done += len(images)
        if progress is not None:
            progress(done)
    return pd.concat(rows, ignore_index=True)
