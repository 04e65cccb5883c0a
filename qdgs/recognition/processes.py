"""The processes that train together, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from qdgs.errors import InputError

ADDRESS = "MASTER_ADDR"
PATIENCE = timedelta(days=1)
"""How long processes wait for each other: the first renders alone, which may take hours."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is, and where it works.

    Attributes:
        rank: From 0; that one alone writes files.
        world: How many there are.
        device: Where this one works.
    """

    rank: int
    world: int
    device: str

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def gathered(self, items: list[str]) -> list[str]:
        """What all of them hold, each once."""
        if self.world == 1:
            return sorted(set(items))
        parts: list[list[str]] = [[] for _ in range(self.world)]
        distributed.all_gather_object(parts, items)
        return sorted({item for part in parts for item in part})

    def wait(self) -> None:
        """Until all have come here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started; alone where it started none.

    Each takes the GPU of its local rank where `device` is "cuda", and talks over NCCL; else over gloo.

    Raises:
        InputError: The environment holds a part of what torchrun sets.
    """
    world = int(_told("WORLD_SIZE")) if "WORLD_SIZE" in os.environ else 1
    if world <= 1:
        yield Processes(0, 1, device)
        return
    on_gpu = device.startswith("cuda")
    for name in ("RANK", ADDRESS, "MASTER_PORT", *(["LOCAL_RANK"] if on_gpu else [])):
        _told(name)
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), world, device)
    finally:
        distributed.destroy_process_group()


def _told(name: str) -> str:
    """What torchrun sets, numbers but for an address."""
    text = os.environ.get(name, "")
    if not (text.isdecimal() or (text and name == ADDRESS)):
        raise InputError(
            f"{name}: expected it in the environment as torchrun sets it, got {text or 'none'}; start with "
            "torchrun, or unset WORLD_SIZE"
        )
    return text
