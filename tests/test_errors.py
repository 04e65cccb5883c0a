import numpy as np
import pytest
import torch

from qdgs.errors import is_out_of_memory, reason_of


@pytest.mark.parametrize("ask", [lambda: torch.empty(1 << 50), lambda: np.empty(1 << 60, dtype=np.uint8)])
def test_a_lack_of_memory_is_known_whoever_tells_it(ask):
    with pytest.raises((RuntimeError, MemoryError)) as error:
        ask()
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("no such file.", "no such file"),
        ("first line\nand  second. Then advice. And more.", "first line and second"),
        ("in /a/b.c at 1.5", "in /a/b.c at 1.5"),
        ("x" * 500, "x" * 200),
        ("", "ValueError"),
    ],
)
def test_of_anothers_error_the_first_sentence_is_told_on_one_line(told, reason):
    assert reason_of(ValueError(told)) == reason
