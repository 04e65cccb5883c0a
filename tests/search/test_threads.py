import numpy as np
from threadpoolctl import threadpool_info

from qdgs.search.threads import one_blas_thread


def blas_threads():
    np.eye(2) @ np.eye(2)
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_linear_algebra_takes_one_thread_and_afterwards_as_many_as_before():
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
