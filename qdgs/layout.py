"""How the weights of convolutions lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

TRIED = 16
"""Latents whose images are compared between layouts."""


def networks(thing: object) -> Iterator[nn.Module]:
    """The torch modules that a part is, or has among its attributes."""
    if isinstance(thing, nn.Module):
        yield thing
        return
    yield from (value for value in getattr(thing, "__dict__", {}).values() if isinstance(value, nn.Module))


def entered(thing: object) -> Iterator[nn.Module]:
    """The modules that a part calls: those it names as `called`, or its networks and those of its pipeline.

    What is compiled has to be called itself: a module is not where a part calls what is within it.
    """
    called = getattr(thing, "called", None)
    if called is not None:
        yield from called
        return
    yield from networks(thing)
    for value in getattr(thing, "__dict__", {}).values():
        modules = getattr(value, "modules", None)
        if isinstance(modules, Mapping):
            yield from (_entry(module) for module in modules.values())


def _entry(module: nn.Module) -> nn.Module:
    """Of an autoencoder, which is entered by `decode`, the decoder."""
    decoder = getattr(module, "decoder", None)
    return decoder if isinstance(decoder, nn.Module) and hasattr(module, "decode") else module


def is_compiled(thing: object) -> bool:
    """Whether a network of a part is compiled: a compiler may have to look again, and is not thread-safe."""
    return any(getattr(network, "_compiled_call_impl", None) is not None for network in entered(thing))


def use_layout(thing: object, layout: torch.memory_format) -> None:
    """Lay the weights of a part's convolutions out otherwise, in place; values and names stay."""
    for network in entered(thing):
        for weight in network.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=layout)


def has_convolutions(thing: object) -> bool:
    """Whether the layout of images can make a difference to a part."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return any(isinstance(module, kinds) for network in networks(thing) for module in network.modules())


def takes_channels_last(generator: Callable[[Tensor], Tensor], probes: Tensor) -> bool:
    """Give a generator channels-last weights, which CPUs convolve sooner, where its images stay bit for bit.

    Args:
        generator: Makes the images.
        probes: Latents that are the same in every run, so that every run has the same layout.

    Returns:
        Whether it has them now.
    """
    if not has_convolutions(generator):
        return False
    rows = probes[:TRIED]
    with torch.no_grad():
        try:
            before = generator(rows).contiguous()
        except Exception:  # whoever asks for the images will tell
            return False
        use_layout(generator, torch.channels_last)
        try:
            if torch.equal(generator(rows).contiguous(), before):
                return True
        except RuntimeError:  # a module that wants its features one after another
            pass
    use_layout(generator, torch.contiguous_format)
    return False
