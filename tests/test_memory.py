import subprocess
import sys
import warnings

import pytest
import torch
from torch import Tensor

from qdgs.errors import QdgsError
from qdgs.memory import MemoryWarning, Portions


class Machine:
    """Squares rows, if there is room for them."""

    def __init__(self, room: int, error: BaseException | None = None):
        self.room, self.sizes = room, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        return rows.square(), rows.sum(dim=1)


def test_rows_are_done_in_halves_until_they_fit_and_it_is_told_once():
    rows, machine = torch.arange(24.0).view(12, 2), Machine(room=3)
    portions = Portions("generator")
    with pytest.warns(MemoryWarning, match="generator: 12 at once do not fit into memory") as told:
        squares, sums = portions(machine, rows)
    assert len(told) == 1
    assert torch.equal(squares, rows.square())
    assert torch.equal(sums, rows.sum(dim=1))
    assert machine.sizes == [12, 6, 3, 3, 3, 3]


def test_what_fitted_is_kept_to():
    machine, portions = Machine(room=3), Portions("generator")
    with pytest.warns(MemoryWarning):
        portions(machine, torch.zeros(12, 2))
    machine.sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        portions(machine, torch.zeros(6, 2))
    assert machine.sizes == [3, 3]


def test_a_size_that_is_liked_is_taken_and_one_portion_is_one_call():
    machine = Machine(room=99)
    Portions("generator")(machine, torch.zeros(10, 2), size=4)
    assert machine.sizes == [4, 4, 2]


def test_no_room_for_a_single_row_is_one_sentence():
    with (
        pytest.warns(MemoryWarning),
        pytest.raises(QdgsError, match="generator: there is no memory for a single one"),
    ):
        Portions("generator")(Machine(room=0), torch.zeros(4, 2))


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_other_errors_are_not_taken_for_a_shortage(kind):
    with pytest.raises(kind, match="shapes cannot be multiplied"):
        Portions("generator")(Machine(0, kind("shapes cannot be multiplied")), torch.zeros(4, 2))


def test_portions_go_their_own_way_until_memory_runs_out():
    ways = []

    def through(function, portions):
        ways.append(len(portions))
        return map(function, portions)

    machine, portions = Machine(room=3), Portions("generator", through)
    with pytest.warns(MemoryWarning):
        portions(machine, torch.zeros(12, 2), 6)
    assert ways == [2]
    assert machine.sizes == [6, 3, 3, 3, 3]


KEPT_AND_FREED = """
import ctypes
from pathlib import Path
from qdgs.memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(100_000) for _ in range(1001)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:
    libc.free(block)
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux what is resident")
def test_what_is_free_below_something_kept_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", KEPT_AND_FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000
