import os
import signal
import warnings

import pandas as pd
import pytest
import torch

from qdgs.errors import GeneratorError, QdgsError
from qdgs.search import remote
from qdgs.search.loop import illuminate
from qdgs.search.remote import RayWorkers, WorkersWarning
from qdgs.search.workers import LocalWorkers, Task, micro_batches
from qdgs.workers_config import WorkersConfig

TASK = Task(measure_dim=2)


def started(ray_here, make_score, *, count=2, probe=None):
    probe = micro_batches(torch.zeros(1, 5).numpy() if probe is None else probe, 16)[0]
    return RayWorkers(ray_here, WorkersConfig(kind="ray", count=count), make_score, task=TASK, probe=probe)


def searched(problem, algorithm, workers):
    search = problem.begin(problem.config(algorithm, evaluations=400), workers=workers)
    for _ in illuminate(search):
        pass
    return search


def test_the_archive_is_that_of_this_process_bit_for_bit_though_a_worker_is_killed(
    ray_here, problem, tmp_path
):
    kills, score = tmp_path / "kills", problem.score

    def make_score(device):
        def mortal(latents):
            try:
                kills.unlink()  # one worker alone finds it
            except FileNotFoundError:
                return score(latents)
            os.kill(os.getpid(), signal.SIGKILL)

        return mortal

    workers = started(ray_here, make_score)
    try:
        for algorithm in ("cma_mae", "cma_maega"):
            there = problem.begin(problem.config(algorithm, evaluations=400), workers=workers)
            for step, _ in enumerate(illuminate(there)):
                if step == 3 and algorithm == "cma_mae":
                    kills.touch()
            here = searched(problem, algorithm, None)
            pd.testing.assert_frame_equal(there.archive_frame(), here.archive_frame(), check_exact=True)
            pd.testing.assert_frame_equal(there.reservoir_frame(), here.reservoir_frame(), check_exact=True)
            assert there.evaluations == here.evaluations
    finally:
        workers.close()
    assert not kills.exists()


def test_what_the_score_raises_is_raised_here_and_workers_lost_again_and_again_are_one_sentence(
    ray_here, monkeypatch
):
    monkeypatch.setattr(remote, "LOSSES", 0)

    def make_score(device):
        def broken(latents):
            if latents[0, 0] == 1:
                raise GeneratorError("generator: expected finite pixel values, got NaN or infinity")
            if latents[0, 0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return latents[:, 0], latents[:, :2]

        return broken

    workers = started(ray_here, make_score, count=1)
    try:
        with pytest.raises(GeneratorError, match="expected finite pixel values"):
            list(workers.work(TASK, micro_batches(torch.full((40, 5), 1).numpy(), 16)))
        with pytest.raises(QdgsError, match=r"^workers: 1 workers were lost without anything scored") as told:
            list(workers.work(TASK, micro_batches(torch.full((40, 5), 2).numpy(), 16)))
    finally:
        workers.close()
    assert "\n" not in str(told.value)


def test_workers_that_differ_and_memory_that_does_not_do_are_each_told_once(ray_here, problem, tmp_path):
    first, score = tmp_path / "first", problem.score

    def make_score(device):
        error = 0.0
        try:
            first.touch(exist_ok=False)
        except FileExistsError:
            error = 1e-6

        def narrow(latents):
            if len(latents) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            objective, measures = score(latents)
            return objective, measures + error

        return narrow

    latents = torch.linspace(-1, 1, 48 * 5).reshape(48, 5).numpy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        workers = started(ray_here, make_score, probe=latents)
        try:
            scored = [part.scores for part in workers.work(TASK, micro_batches(latents, 16))]
        finally:
            workers.close()
    told = [str(item.message) for item in caught if item.category is WorkersWarning]
    assert len(told) == 2
    assert "16 at once do not fit into memory" in told[0]
    assert "score the same latents differently in the last bits" in told[1]
    here = [part.scores for part in LocalWorkers(score).work(TASK, micro_batches(latents, 16))]
    for there, known in zip(scored, here, strict=True):
        assert there == pytest.approx(known, abs=1e-5)
