"""Images in a folder of whatever layout, as a user has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from qdgs.errors import CorruptFileError, InputError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder and of those in it, sorted; hidden ones are left out.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder of images, got {'a file' if folder.exists() else 'none'}"
        )
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    shown = [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not shown:
        raise InputError(f"{folder}: expected images ({', '.join(sorted(SUFFIXES))}), got none")
    return shown


def read_square(path: Path, size: int) -> Tensor:
    """The middle square of an image, upright and on white, `(3, size, size)`, uint8.

    Raises:
        CorruptFileError: It is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            side = min(upright.size)
            left, top = (upright.width - side) // 2, (upright.height - side) // 2
            square = _on_white(upright).resize(
                (size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side)
            )
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise CorruptFileError(f"{path}: is missing or damaged") from None
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)


class Squares:
    """The readable images of some files, batch by batch; what cannot be read is noted and left out.

    Args:
        files: The files.
        size: Pixels a side.
        batch_size: Images at once.

    Attributes:
        damaged: Files that could not be read, so far.
    """

    def __init__(self, files: Sequence[Path], size: int, batch_size: int = 256) -> None:
        self._files, self._size, self._batch_size = files, size, batch_size
        self.damaged: list[Path] = []

    def __iter__(self) -> Iterator[Tensor]:
        """Images `(at most batch_size, 3, size, size)` in [0, 1]."""
        for start in range(0, len(self._files), self._batch_size):
            images = [self._read(path) for path in self._files[start : start + self._batch_size]]
            whole = [image for image in images if image is not None]
            if whole:
                yield torch.stack(whole).float() / 255

    def _read(self, path: Path) -> Tensor | None:
        try:
            return read_square(path, self._size)
        except CorruptFileError:
            self.damaged.append(path)
            return None


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
