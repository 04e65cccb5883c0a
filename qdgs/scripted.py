"""TorchScript files: modules that run without the Python code that they were written in."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qdgs.errors import ConfigError, CorruptFileError, MissingModelError, is_out_of_memory, reason_of

Device = torch.device | str


class Script:
    """A TorchScript module of a file, in evaluation mode, its parameters frozen.

    Attributes:
        module: The module.
        sha256: Of the file, which tells scripts without weights from each other.

    Args:
        path: The file.
        place: The key of the configuration that names it, for errors.
        device: Where it works.

    Raises:
        ConfigError: The path is no text.
        MissingModelError: There is no such file.
        CorruptFileError: It is not TorchScript.
    """

    def __init__(self, path: str, *, place: str, device: Device) -> None:
        if not isinstance(path, str | Path):
            raise ConfigError(f"{place}.path: expected the name of a TorchScript file, got {path!r}")
        file = Path(path)
        if not file.is_file():
            raise MissingModelError(f"{place}.path: expected a TorchScript file at {file}, got none")
        self.place = place
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        self.module: Any = _load(file, device)

    def __call__(self, *inputs: Tensor) -> Any:
        """What its `forward` returns.

        Raises:
            ConfigError: It fails on tensors of these shapes.
        """
        try:
            return self.module(*inputs)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            shapes = ", ".join(str(tuple(given.shape)) for given in inputs)
            reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
            raise ConfigError(f"{self.place}.path: the script fails on {shapes}: {reason.strip()}") from error


def _load(file: Path, device: Device) -> Any:
    try:
        with warnings.catch_warnings():
            # deprecated in favour of torch.export; files made with it are what people have
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            module: Any = torch.jit.load(str(file), map_location=device)  # type: ignore[no-untyped-call]
    except Exception as error:  # its reader raises many kinds
        raise CorruptFileError(
            f"{file}: cannot be read as TorchScript, as torch.jit.save writes it: {reason_of(error)}; "
            "save or copy it again"
        ) from None
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()
