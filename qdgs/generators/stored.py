"""Images as 8-bit files keep them: what a judge sees of a generator's."""

from __future__ import annotations

import torch
from torch import Tensor


def as_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as 8-bit files hold them."""
    # torch converts floats to 16 bits, and these to 8, in half the time that it takes to 8 at once
    return (images * 255).round_().to(torch.int16).to(torch.uint8)


def as_stored(images: Tensor) -> Tensor:
    """Images in [0, 1] as they come back from 8-bit files."""
    return (images * 255).round_() / 255
