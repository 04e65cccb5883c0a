"""From NVIDIA's network pickles to the folder of a StyleGAN2."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from qdgs.errors import InputError
from qdgs.generators.stylegan2_files import Card, Source, Statistics, check_vacant, write_folder
from qdgs.generators.stylegan2_networks import FILTER, LARGEST, SMALLEST, Architecture, Network
from qdgs.generators.stylegan2_pickle import Record, read_inert

LATENTS, SEED = 10_000, 0
W_AVG, W_STD = "mapping.w_avg", "w_std"


def convert(file: Path, out: Path) -> str:
    """Write the generator of a pickle of stylegan2-ada-pytorch, or of a stylegan2 of stylegan3, as a folder.

    Nothing in the pickle is executed. The generator is the averaged one, `G_ema`.

    Args:
        file: The pickle.
        out: The folder, which must be new.

    Returns:
        What was written, in a line.

    Raises:
        InputError: The pickle is damaged, asks for something foreign, or holds no StyleGAN2 that can be
            searched; or the folder is there already.
    """
    card = convert_stylegan2(file, out)
    size, layers = card.architecture.resolution, card.architecture.layers
    return f"written: StyleGAN2, {size}×{size}, {layers} layers; use it as {{name: stylegan2, path: {out}}}"


def convert_stylegan2(file: Path, out: Path) -> Card:
    """As `convert`, which tells it in a line.

    Returns:
        The card of the folder.

    Raises:
        InputError: As `convert` does.
    """
    check_vacant(out)
    data = read_inert(file)
    try:
        architecture, tensors = network_of(data)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if W_AVG not in tensors:
        tensors[W_AVG] = torch.zeros(architecture.w_dim)
        tensors[W_AVG] = mapped(architecture, tensors).mean(dim=0)
    w = mapped(architecture, tensors)
    tensors[W_STD] = w.std(dim=0)
    norms = ((w - tensors[W_AVG]) / tensors[W_STD]).norm(dim=1)
    if not norms.isfinite().all():
        raise InputError(
            f"{file}: expected a mapping network that varies in every element of w, got a constant"
        )
    with file.open("rb") as content:
        source = Source(file=file.name, sha256=hashlib.file_digest(content, "sha256").hexdigest())
    statistics = Statistics(latents=LATENTS, seed=SEED, norm=norms.mean().item())
    return write_folder(out, tensors, architecture, source, statistics)


def mapped(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Tensor:
    """Styles w `(10000, w_dim)` of latents z that are the same for every network."""
    network = Network(architecture)
    own = {name: value for name, value in tensors.items() if name.startswith("mapping.")}
    network.load_state_dict(own, strict=False)
    z = np.random.default_rng(SEED).standard_normal((LATENTS, architecture.z_dim), dtype=np.float32)
    with torch.no_grad():
        w: Tensor = network.mapping(torch.from_numpy(z))
    return w


def network_of(data: Any) -> tuple[Architecture, dict[str, Tensor]]:
    """Architecture and tensors of the generator in what a pickle holds.

    Raises:
        InputError: There is no such generator, or it is of a kind that is not known here.
    """
    record = data.get("G_ema") if isinstance(data, Mapping) else None
    if not isinstance(record, Record):
        raise InputError("expected a pickle with the averaged generator G_ema, got one without")
    generator = _Module("G_ema", record)
    if generator.setting("c_dim") != 0:
        raise InputError("expected a generator without classes, got a class-conditional one (G_ema.c_dim)")
    generator.expect("img_channels", 3)
    architecture = _architecture(generator)
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Network(architecture).state_dict().items()}
    del shapes[W_STD]
    if not generator.child("mapping").has("w_avg"):
        del shapes[W_AVG]
    return architecture, {name: generator.tensor(name, shape) for name, shape in shapes.items()}


@dataclass(frozen=True)
class _Module:
    """A torch module in a pickle, by its place."""

    place: str
    record: Record

    def child(self, name: str) -> _Module:
        """The module of that name."""
        record = self._held("_modules").get(name)
        if not isinstance(record, Record):
            raise InputError(f"{self.place}.{name}: expected a part of a StyleGAN2, got none")
        return _Module(f"{self.place}.{name}", record)

    def setting(self, name: str) -> Any:
        """A number, text, switch or None among its attributes."""
        value = self.record.state.get(name, ...)
        if not isinstance(value, int | float | str | None):
            found = "nothing" if value is ... else type(value).__name__
            raise InputError(f"{self.place}.{name}: expected a number or a text, got {found}")
        return value

    def expect(self, name: str, wanted: Any) -> None:
        """See that a setting is as it must be."""
        found = self.setting(name)
        if found != wanted:
            raise InputError(f"{self.place}.{name}: expected {wanted!r}, got {found!r:.40}")

    def has(self, name: str) -> bool:
        """Whether it has such a tensor."""
        return isinstance(self._found(name), Tensor)

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The parameter or buffer at a dotted name below it, as a float32 tensor of its own.

        Raises:
            InputError: There is none, or it is not what it should be.
        """
        first, _, rest = name.partition(".")
        if rest:
            return self.child(first).tensor(rest, shape)
        value = self._found(name)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape or not _is_whole(value):
            found = tuple(value.shape) if isinstance(value, Tensor) else "none"
            raise InputError(f"{self.place}.{name}: expected numbers of shape {shape}, got {found}")
        copied = value.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if not copied.isfinite().all():
            raise InputError(f"{self.place}.{name}: expected finite numbers, got NaN or infinity")
        return copied

    def outputs(self) -> int:
        """How many features its weight makes."""
        weight = self._found("weight")
        if not isinstance(weight, Tensor) or not weight.ndim:
            raise InputError(f"{self.place}.weight: expected a tensor, got none")
        return len(weight)

    def _found(self, name: str) -> Any:
        return {**self._held("_buffers"), **self._held("_parameters")}.get(name)

    def _held(self, kind: str) -> Mapping[str, Any]:
        held = self.record.state.get(kind)
        if not isinstance(held, Mapping):
            raise InputError(f"{self.place}: expected a torch module, got {self.record.class_name[:40]!r}")
        return held


def _is_whole(value: Tensor) -> bool:
    """Real numbers, each of them in the file: a view may repeat a few a billion times."""
    return value.is_floating_point() and value.numel() * value.itemsize <= value.untyped_storage().nbytes()


def _architecture(generator: _Module) -> Architecture:
    mapping, synthesis = generator.child("mapping"), generator.child("synthesis")
    resolution = generator.setting("img_resolution")
    if resolution not in [1 << n for n in range(SMALLEST.bit_length() - 1, LARGEST.bit_length())]:
        raise InputError(
            f"{generator.place}.img_resolution: expected a power of two from {SMALLEST} to {LARGEST}, got "
            f"{resolution!r:.40}"
        )
    blocks = [synthesis.child(f"b{1 << n}") for n in range(2, resolution.bit_length())]
    for block in blocks:
        block.expect("architecture", "skip")
    layers = [blocks[0].child("conv1")]
    layers += [block.child(name) for block in blocks[1:] for name in ("conv0", "conv1")]
    rgbs = [block.child("torgb") for block in blocks]
    _see_that_all_are_alike(layers, rgbs)
    halves = [bool(block.setting("use_fp16")) for block in blocks]
    if halves != sorted(halves):
        raise InputError(f"{synthesis.place}: expected float16 at the highest resolutions, got it elsewhere")
    try:
        return Architecture(
            resolution=resolution,
            channels=tuple(block.child("conv1").outputs() for block in blocks),
            mapping=_widths(mapping),
            mapping_rate=mapping.child("fc0").setting("bias_gain"),
            clamp=layers[0].setting("conv_clamp"),
            half_blocks=sum(halves),
            noise=layers[0].setting("use_noise"),
        )
    except (ValidationError, TypeError):
        raise InputError(f"{generator.place}: expected the settings of a StyleGAN2, got others") from None


def _see_that_all_are_alike(layers: list[_Module], rgbs: list[_Module]) -> None:
    kernel = torch.tensor(FILTER).outer(torch.tensor(FILTER)) / sum(FILTER) ** 2
    for layer in layers:
        layer.expect("activation", "lrelu")
        layer.expect("use_noise", layers[0].setting("use_noise"))
        if not torch.allclose(layer.tensor("resample_filter", (4, 4)), kernel):
            raise InputError(f"{layer.place}.resample_filter: expected 1 3 3 1, got another")
    for part in layers + rgbs:
        part.expect("conv_clamp", layers[0].setting("conv_clamp"))


def _widths(mapping: _Module) -> tuple[int, ...]:
    count = mapping.setting("num_layers")
    if not isinstance(count, int) or not 1 <= count <= 64:
        raise InputError(f"{mapping.place}.num_layers: expected a number from 1 to 64, got {count!r:.40}")
    layers = [mapping.child(f"fc{index}") for index in range(count)]
    for layer in layers:
        layer.expect("activation", "lrelu")
        layer.expect("bias_gain", layers[0].setting("bias_gain"))
    return (mapping.setting("z_dim"), *(layer.outputs() for layer in layers))
