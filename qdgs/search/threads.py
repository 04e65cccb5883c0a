"""How many threads the linear algebra of a search takes."""

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> Any:
    """A context with one thread: the matrices of an evolution strategy are too small to be shared."""
    return _controller().limit(limits=1, user_api="blas")
