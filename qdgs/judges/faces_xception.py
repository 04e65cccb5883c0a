"""A second judge of faces, of other makers than the first: it taught nothing, so it can audit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from qdgs import weights
from qdgs.judges import face_networks
from qdgs.judges.face_networks import FACE_SIZE, FaceDetector, FaceNetwork
from qdgs.judges.remembered import Pixels, Readings, eight_bit, remembered, sources
from qdgs.judges.strata import AGES, PRESENTATIONS, check_option, two_values

WEIGHTS = "faces-xception"
DETECTOR_SIZE = 96
"""Side of what the detector sees: the image in its middle, half as large, and its border around it."""
THRESHOLD = 0.5
"""Detector score from which on a face counts as found: its authors' own."""
CROP = 0.85
"""Side of the square cut out, in longer sides of the found box."""
LARGEST = 224
"""Longer side of what faces are cut from: larger images are made smaller first."""
TOGETHER = 64


class FacesXception:
    """Reads `age` and `presentation` with small networks of face-api; shipped, it needs no extra.

    Detector, network and the way a face is cut out are of other makers than those of faces-dlib, and
    nothing in them was trained on what dlib's say; their training photographs may overlap, and both may err
    alike on renders. Scores say how an image looks to a model, and neither anyone's gender nor age.

    On renders of `dcgan-digiface` its years run lower: the cut of 27 calls as many old as 35 does for dlib's
    network, and is all that was fitted to it. Of age the two agree little (rank correlation 0.43 on 1,200
    faces that both find), of presentation better (0.63): a value is a hint, a share comes with its error.

    `age_score` are years, `presentation_score` the logarithm of the odds of feminine; what lies nearer to a
    cut than the margin is ambiguous, a missing value. `quality` is the detector's score.

    Args:
        age_cut: Years from which on a face looks old.
        age_margin: Years to both sides of the cut that are ambiguous.
        presentation_margin: Likewise of the probability, to both sides of a half.
        device: Where the networks run.

    Raises:
        InputError: A cut or margin is out of range.
        CorruptFileError: The shipped weights are damaged.

    References:
        face-api.js by V. Mühler, and its successor by V. Mandic (MIT licence).
    """

    attributes: Mapping[str, tuple[str, ...]] = {"age": AGES, "presentation": PRESENTATIONS}

    def __init__(
        self,
        *,
        age_cut: float = 27.0,
        age_margin: float = 0.0,
        presentation_margin: float = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.age_cut = check_option("faces-xception.age_cut", age_cut, 0, 80)
        self.age_margin = check_option("faces-xception.age_margin", age_margin, 0, 40)
        self.presentation_margin = check_option(
            "faces-xception.presentation_margin", presentation_margin, 0, 0.5
        )
        self.detector, self.network = FaceDetector(), FaceNetwork()
        tensors = weights.load_weights(WEIGHTS)
        for name, model in (("detector", self.detector), ("network", self.network)):
            own = {
                key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(name)
            }
            model.load_state_dict(own)
            model.eval().requires_grad_(False).to(device)

    def judge(self, images: Tensor) -> pd.DataFrame:
        """Attributes of images `(batch_size, 3, height, width)`; see `Judge`."""
        score, age, odds = remembered(eight_bit(images), self.read, columns=3, key=self._key()).T
        found = score >= THRESHOLD
        age, odds = (np.where(found, values, np.nan) for values in (age, odds))
        feminine = 1 / (1 + np.exp(-odds))
        return pd.DataFrame(
            {
                "age": two_values(AGES, age, self.age_cut, self.age_margin),
                "age_score": age,
                "presentation": two_values(PRESENTATIONS, feminine, 0.5, self.presentation_margin),
                "presentation_score": odds,
                "accepted": found,
                "quality": score,
                "face_found": found,
                "face_score": score,
            }
        )

    def read(self, pixels: Pixels) -> Readings:
        """Score, age and odds `(n, 3)` of images `(n, height, width, 3)`, read now."""
        starts = range(0, len(pixels), TOGETHER)
        parts = [self._read(pixels[start : start + TOGETHER]) for start in starts]
        return np.concatenate([np.empty((0, 3)), *parts])

    def _read(self, pixels: Pixels) -> Readings:
        device = next(self.network.parameters()).device
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            found = self.detector(_framed(images))
            faces = _cut_out(images, found[:, 1:])
            outputs = torch.cat([found[:, :1], self.network(faces)], dim=1)
        return outputs.double().cpu().numpy()

    def _key(self) -> str:
        device = next(self.network.parameters()).device.type
        parts = [sources(__name__, face_networks), weights.card(WEIGHTS)["sha256"], device]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _framed(images: Tensor) -> Tensor:
    """Images with half of the detector's side as their longer one, their border repeated around them."""
    height, width = _fitting(images, DETECTOR_SIZE // 2)
    small = functional.interpolate(images, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (DETECTOR_SIZE - height) // 2, (DETECTOR_SIZE - width) // 2
    around = (left, DETECTOR_SIZE - width - left, top, DETECTOR_SIZE - height - top)
    return functional.pad(small, around, mode="replicate")


def _cut_out(images: Tensor, boxes: Tensor) -> Tensor:
    """Squares `(batch_size, 3, 112, 112)` around boxes `(batch_size, 4)` in shares of the framed side."""
    if max(images.shape[2:]) > LARGEST:
        images = functional.interpolate(images, _fitting(images, LARGEST), mode="area")
    height, width = images.shape[2:]
    # the longer side of the image is half of the frame, and grids run from −1 to 1
    to_grid = 4 * max(height, width) / torch.tensor([width, height], device=boxes.device)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5) * to_grid
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) * CROP / 2 * to_grid
    scales = torch.diag_embed(half)
    grid = functional.affine_grid(
        torch.cat([scales, centres[:, :, None]], dim=2),
        [len(images), 3, FACE_SIZE, FACE_SIZE],
        align_corners=False,
    )
    return functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _fitting(images: Tensor, longer: int) -> tuple[int, int]:
    height, width = images.shape[2:]
    scale = longer / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)
