"""Small StyleGAN2s of seeded random weights, and pickles of them as the published code writes them."""

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qdgs.generators.stylegan2_networks import Architecture, Layer, Linear, Network, ToRGB

TINY = Architecture(
    resolution=32,
    channels=(32, 16, 16, 8),
    mapping=(16, 32, 24),
    mapping_rate=0.01,
    clamp=0.8,
    half_blocks=2,
    noise=True,
)


def tensors_of(architecture: Architecture, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of the sizes that training gives, the same whatever torch's own generator does."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, value in sorted(Network(architecture).state_dict().items()):
        if name == "w_std":
            continue
        drawn = rng.standard_normal(value.shape)
        if name.startswith("mapping.fc"):
            drawn = drawn / architecture.mapping_rate * (0.1 if "bias" in name else 1)
        elif "affine.bias" in name:
            drawn = 1 + 0.3 * drawn
        elif name.endswith((".bias", "strength", "w_avg")):
            drawn = 0.3 * drawn
        tensors[name] = torch.tensor(drawn, dtype=torch.float32)
    return tensors


def network_of(architecture: Architecture, seed: int = 0) -> Network:
    """The network of these weights."""
    network = Network(architecture)
    network.load_state_dict(tensors_of(architecture, seed), strict=False)
    return network.eval().requires_grad_(False)


class Persistent(nn.Module):
    """A module that is pickled like those of `torch_utils.persistence`, by the name that it is given."""

    def __init__(self, class_name: str, source: str = "", **settings: Any) -> None:
        super().__init__()
        self.class_name = class_name
        self.source = source
        for name, value in settings.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.source,
            "class_name": self.class_name,
            "state": self.__dict__,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def generator_of(architecture: Architecture, seed: int = 0, source: str = "") -> Persistent:
    """G_ema with the attributes that the published classes have."""

    def persistent(module: nn.Module) -> Persistent:
        kind, settings = "SynthesisBlock", {}
        if isinstance(module, Linear):
            kind = "FullyConnectedLayer"
            fan_in = module.weight.shape[1]
            settings = {"bias_gain": module.rate, "weight_gain": module.rate / np.sqrt(fan_in)}
            settings["activation"] = "lrelu" if module.rate != 1 else "linear"
        elif isinstance(module, Layer | ToRGB):
            settings = {"conv_clamp": architecture.clamp}
            kind = "ToRGBLayer"
        if isinstance(module, Layer):
            kind = "SynthesisLayer"
            settings |= {"activation": "lrelu", "use_noise": architecture.noise, "act_gain": np.sqrt(2)}
        copy = Persistent(kind, source, **settings)
        for name, value in module.named_parameters(recurse=False):
            copy.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
        for name, value in module.named_buffers(recurse=False):
            if name != "w_std":
                copy.register_buffer(name, value.clone())
        if isinstance(module, Layer):
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            copy.register_buffer("resample_filter", taps.outer(taps))
        for name, child in module.named_children():
            setattr(copy, name, persistent(child))
        return copy

    generator = persistent(network_of(architecture, seed))
    generator.class_name = "Generator"
    generator.z_dim, generator.c_dim, generator.w_dim = architecture.z_dim, 0, architecture.w_dim
    generator.img_resolution, generator.img_channels = architecture.resolution, 3
    generator.init_kwargs = easy(z_dim=architecture.z_dim, synthesis_kwargs=easy(channel_base=64))
    generator.mapping.z_dim, generator.mapping.num_layers = architecture.z_dim, len(architecture.mapping) - 1
    first_half = len(architecture.channels) - architecture.half_blocks
    for index, block in enumerate(generator.synthesis.children()):
        block.architecture, block.use_fp16 = "skip", index >= max(first_half, 1)
    return generator


def easy(**items: Any) -> dict[str, Any]:
    """A `dnnlib.EasyDict`."""
    made: dict[str, Any] = sys.modules["dnnlib.util"].EasyDict(**items)
    return made


def snapshot(generator: Any, **others: Any) -> dict[str, Any]:
    """What a training run saves."""
    return {
        "G_ema": generator,
        "augment_pipe": None,
        "training_set_kwargs": easy(path="x", xflip=True),
        **others,
    }


def write_pickle(path: Path, data: Any, protocol: int = 3) -> Path:
    """Write a pickle, whose modules are there while it is written."""
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    return path


@contextlib.contextmanager
def published_modules() -> Iterator[None]:
    """Modules of the names that the published code has, for pickles to name; not for reading them."""
    persistence = types.ModuleType("torch_utils.persistence")
    util = types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("the published code was called")

    class EasyDict(dict):  # type: ignore[type-arg]
        pass

    for thing, module in ((_reconstruct_persistent_obj, persistence), (EasyDict, util)):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
    added = {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
