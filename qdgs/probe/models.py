"""The model that is probed: a Python target, TorchScript, ONNX, a folder of transformers, or a judge."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qdgs.errors import ConfigError, CorruptFileError, InputError, MissingModelError, MissingPackageError
from qdgs.files import fingerprint
from qdgs.judges.image_classifier import ImageClassifier
from qdgs.parts import Device
from qdgs.probe_config import ProbedConfig
from qdgs.registry import nearest
from qdgs.scripted import Script
from qdgs.targets import make_target

Outputs = Tensor | Sequence[Any]
Call = Callable[[Tensor], Any]
SCRIPTS = (".pt", ".pth", ".ts", ".torchscript")
ONNX = ".onnx"


class Probed:
    """A model behind its preprocessing; whatever it raises is its own.

    Args:
        call: The model itself.
        config: How images come to it.
        key: Tells it from other models.
        values: Its own names of its outputs, where it has some.
        device: Where it wants images.

    Attributes:
        key: Tells it from other models, for what is kept.
        values: Its own names of its outputs, or None.
        differentiable: Whether gradients flow from its outputs to images.
    """

    def __init__(
        self,
        call: Call,
        config: ProbedConfig,
        *,
        key: str,
        values: tuple[str, ...] | None = None,
        differentiable: bool = False,
        device: Device = "cpu",
    ) -> None:
        self.key = key
        self.values = values
        self.differentiable = differentiable
        self._call = call
        self._config = config
        self._device = torch.device(device)

    def __call__(self, images: Tensor) -> Any:
        """What the model gives for images `(batch_size, 3, height, width)` in [0, 1]; arrays as tensors."""
        outputs = self._call(self.prepared(images))
        return torch.from_numpy(outputs) if isinstance(outputs, np.ndarray) else outputs

    def prepared(self, images: Tensor) -> Tensor:
        """The images as they come to the model."""
        config, images = self._config, images.to(self._device)
        if config.image_size is not None and images.shape[-1] != config.image_size:
            images = functional.interpolate(images, size=config.image_size, mode="area")
        low, high = config.range
        if (low, high) != (0.0, 1.0):
            images = low + (high - low) * images
        if config.mean is not None:
            images = images - images.new_tensor(config.mean)[:, None, None]
        if config.std is not None:
            images = images / images.new_tensor(config.std)[:, None, None]
        return images


def load_probed(config: ProbedConfig, *, device: Device = "cpu") -> Probed:
    """The model of a configuration.

    Raises:
        ConfigError: The target cannot be imported or makes nothing that can be called.
        MissingModelError: There is no such file or folder.
        CorruptFileError: It is not what its name says.
        MissingPackageError: It needs a package that is not installed.
    """
    if config.target is not None:
        return _target(config, device)
    if config.judge is not None:
        return _judge(config, device)
    path = Path(str(config.path))
    if path.is_dir():
        return _folder(path, config, device)
    if not path.exists():
        raise MissingModelError(
            f"model.path: expected a model at {path}, got none; name a file of TorchScript or ONNX, a folder "
            "of transformers, or a target as package.module:factory"
        )
    if path.suffix == ONNX:
        return Probed(OnnxModel(path), config, key=_sha256(path), device="cpu")
    if path.suffix in SCRIPTS:
        return _script(path, config, device)
    raise ConfigError(
        f"model.path: expected a file named {', '.join(SCRIPTS)} or {ONNX}, or a folder, got {path.name!r}"
    )


class OnnxModel:
    """A model of ONNX with one input of images, run by onnxruntime on the CPU.

    A model of a fixed batch size gets its images in batches of that size, the last one padded.

    Args:
        path: The file.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        CorruptFileError: The file is not ONNX.
        InputError: It takes something other than images.
    """

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise MissingPackageError("model.path: ONNX needs an optional package: pip install 'qdgs[onnx]'")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it raises many kinds of its own
            reason = " ".join(str(error).split())[:200]
            raise CorruptFileError(f"{path}: cannot be read as ONNX: {reason}") from None
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(str(given.shape) for given in inputs)
            raise InputError(f"{path}: expected one input of images (n, 3, height, width), got {shapes}")
        self._session: Any = session
        self._name = inputs[0].name
        batch = inputs[0].shape[0]
        self._batch = batch if isinstance(batch, int) else None
        self._dtype = np.float16 if "float16" in inputs[0].type else np.float32

    def __call__(self, images: Tensor) -> Tensor:
        """Its first output for images `(n, 3, height, width)`."""
        pixels = images.detach().cpu().numpy().astype(self._dtype)
        size = self._batch or max(len(pixels), 1)
        parts = []
        for start in range(0, len(pixels), size):
            rows = pixels[start : start + size]
            padding = np.repeat(rows[-1:], size - len(rows), axis=0) if self._batch else rows[:0]
            (output, *_) = self._session.run(None, {self._name: np.concatenate([rows, padding])})
            parts.append(np.asarray(output)[: len(rows)])
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def _script(path: Path, config: ProbedConfig, device: Device) -> Probed:
    script = Script(str(path), place="model", device=device)
    return Probed(script, config, key=script.sha256, differentiable=True, device=device)


def _target(config: ProbedConfig, device: Device) -> Probed:
    made = make_target(config.target, config.options, place="model", given={"device": device})
    if not callable(made):
        raise ConfigError(
            f"model.target: expected {config.target!r} to make something that is called with images, got a "
            f"{type(made).__name__}"
        )
    if isinstance(made, torch.nn.Module):
        made = made.eval().requires_grad_(False).to(device)
    own = getattr(made, "values", None)
    values = tuple(map(str, own)) if isinstance(own, list | tuple) else None
    key = fingerprint([config.target, config.options])
    return Probed(
        made,
        config,
        key=key,
        values=values,
        differentiable=isinstance(made, torch.nn.Module),
        device=device,
    )


def _folder(path: Path, config: ProbedConfig, device: Device) -> Probed:
    classifier = ImageClassifier(str(path), device=device, asked_at="model")
    (labels,) = classifier.attributes.values()
    key = fingerprint(sorted(_sha256(file) for file in path.iterdir() if file.is_file()))
    return Probed(classifier.logits, config, key=key, values=labels, device=device)


def _judge(config: ProbedConfig, device: Device) -> Probed:
    """One attribute of a judge as answers: what it cannot read it does not answer."""
    from qdgs.parts import load_judge

    assert config.judge is not None
    judge = load_judge(config.judge, device=device, role="model")
    attribute = config.answers or next(iter(judge.attributes))
    if attribute not in judge.attributes:
        known = nearest(attribute, judge.attributes)
        raise ConfigError(f"model.answers: {config.judge.who!r} does not tell {attribute!r}{known}")
    values = tuple(judge.attributes[attribute])

    def call(images: Tensor) -> Tensor:
        told = judge.judge(images)[attribute]
        places = told.map({value: place for place, value in enumerate(values)}).to_numpy(
            np.float64, na_value=-1
        )
        one_hot = torch.eye(len(values) + 1)[torch.from_numpy(np.nan_to_num(places, nan=-1)).long()]
        return one_hot[:, :-1].log()

    return Probed(call, config, key=fingerprint([config.judge.model_dump()]), values=values, device=device)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
