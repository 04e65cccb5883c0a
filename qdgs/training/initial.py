"""Initial weights that follow a random generator."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def seeded(make: Callable[[], Module], generator: torch.Generator) -> Module:
    """A new module whose initial weights are drawn by a generator of random numbers.

    torch's layers draw from the global state alone: it is set aside meanwhile, and is afterwards as before.

    Args:
        make: Makes the module.
        generator: Gives the seed, and moves on.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
