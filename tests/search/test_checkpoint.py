import dataclasses
import hashlib
import io
import itertools
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.config import ALGORITHMS
from qdgs.errors import CorruptFileError, InputError, QdgsError
from qdgs.search import checkpoint
from qdgs.search.loop import illuminate
from qdgs.search.reservoir import Reservoir

CONFIG = {"seed": 0, "search": {"emitters": 3, "evaluations": 1000}, "guide": {"measures": [{"cells": 12}]}}


def advance(search, iterations):
    return list(itertools.islice(illuminate(search), iterations))


def load(problem, path, **keys):
    return checkpoint.load(path, **{"score": problem.score, "sample_prior": problem.sample_prior, **keys})


@pytest.fixture
def saved(problem, tmp_path) -> Path:
    path = tmp_path / "checkpoint.qdgs"
    search = problem.begin(problem.config("random"))
    advance(search, 2)
    checkpoint.save(search, path, CONFIG)
    return path


@pytest.mark.parametrize("archive", ["grid", "cvt"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_resume_equals_an_unbroken_run(problem, tmp_path, algorithm, archive):
    config = problem.config(algorithm, archive=archive, centroids=50, restart_rule=3)
    unbroken = problem.begin(config)
    expected = advance(unbroken, 10)
    broken = problem.begin(config)
    advance(broken, 5)
    checkpoint.save(broken, tmp_path / "checkpoint.qdgs")
    resumed = load(problem, tmp_path / "checkpoint.qdgs")
    got = advance(resumed, 5)
    for frame in ("archive_frame", "reservoir_frame"):
        pd.testing.assert_frame_equal(getattr(resumed, frame)(), getattr(unbroken, frame)(), check_exact=True)
    for before, after in zip(expected[5:], got, strict=True):
        assert dataclasses.replace(before, seconds=0.0) == dataclasses.replace(after, seconds=0.0)


def test_annealed_thresholds_survive(problem, tmp_path):
    search = problem.begin(problem.config("cma_mae"))
    advance(search, 20)
    checkpoint.save(search, tmp_path / "checkpoint.qdgs")
    before, after = (
        s.scheduler.archive.data() for s in (search, load(problem, tmp_path / "checkpoint.qdgs"))
    )
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])


def test_time_goes_on_where_it_stopped(problem, saved):
    seconds = load(problem, saved).seconds
    resumed = load(problem, saved)
    advance(resumed, 1)
    assert seconds > 0
    assert resumed.seconds > seconds


class Drifting:
    """A score that remembers how many latents it has seen."""

    def __init__(self, problem):
        self.problem, self.seen, self.last = problem, 0, 0

    def __call__(self, latents):
        objective, measures = self.problem.score(latents)
        return objective + 0.001 * self.seen, measures

    def remember(self, rows):
        self.seen += rows

    def state_dict(self):
        return {"seen": self.seen, "tensor": torch.full((2, 3), self.seen)}

    def load_state_dict(self, state):
        self.seen = state["seen"]
        assert state["tensor"].tolist() == [[self.seen] * 3] * 2


def test_what_a_score_remembers_is_part_of_the_checkpoint(problem, tmp_path):
    config = problem.config("cma_mae")
    unbroken = problem.begin(config, score=Drifting(problem))
    advance(unbroken, 6)
    broken = problem.begin(config, score=Drifting(problem))
    advance(broken, 3)
    checkpoint.save(broken, tmp_path / "checkpoint.qdgs")
    resumed = load(problem, tmp_path / "checkpoint.qdgs", score=Drifting(problem))
    advance(resumed, 3)
    pd.testing.assert_frame_equal(resumed.archive_frame(), unbroken.archive_frame(), check_exact=True)


def test_a_checkpoint_of_a_large_archive_holds_only_what_was_filled(problem, tmp_path):
    measures = [measure.model_copy(update={"cells": 400}) for measure in problem.measures]
    search = problem.begin(problem.config("cma_mae"), measures=measures)
    checkpoint.save(search, tmp_path / "checkpoint.qdgs")
    dense = 160_000 * 2 * (5 * 4 + 8 * 4)
    assert (tmp_path / "checkpoint.qdgs").stat().st_size < dense / 4


def test_saving_holds_a_large_search_no_more_than_once_more(problem, tmp_path):
    search = problem.begin(problem.config("cma_mae", reservoir=1))
    reservoir = Reservoir(2000, 1, 2048, 2)
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((2000, 2048), dtype=np.float32)
    reservoir.add(np.arange(2000), latents, latents[:, 0], latents[:, :2], np.zeros(2000, np.int32))
    search.reservoir = reservoir
    tracemalloc.start()
    try:
        checkpoint.save(search, tmp_path / "checkpoint.qdgs")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = (tmp_path / "checkpoint.qdgs").stat().st_size
    assert size > latents.nbytes
    assert peak < 1.5 * size
    assert len(load(problem, tmp_path / "checkpoint.qdgs").reservoir) == 2000


def test_a_search_that_cannot_be_pickled_leaves_the_last_checkpoint(problem, saved):
    search, before = load(problem, saved), saved.read_bytes()
    search.unknown = lambda: None
    with pytest.raises((pickle.PicklingError, AttributeError)):
        checkpoint.save(search, saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_search_inside_an_iteration_is_not_saved(problem, saved):
    search = load(problem, saved)
    before = saved.read_bytes()
    search.ask()
    with pytest.raises(QdgsError, match="between two iterations"):
        checkpoint.save(search, saved)
    assert saved.read_bytes() == before


def test_an_iteration_lasts_from_its_gradient_points_to_its_last_tell(problem):
    search = problem.begin(problem.config("cma_maega"))
    search.tell_dqd(search.evaluator.jacobians(search.ask_dqd()))
    assert not search.between_iterations
    search.tell(search.evaluator(search.ask()))
    assert search.between_iterations


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(problem, saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptFileError, match="start the search anew"):
        load(problem, saved)


@pytest.mark.parametrize("place", [5, 30, 300, -40, -1])
def test_a_damaged_checkpoint_is_refused_wherever_the_damage_is(problem, saved, place):
    content = bytearray(saved.read_bytes())
    content[place] ^= 0xFF
    saved.write_bytes(content)
    with pytest.raises(CorruptFileError, match="start the search anew"):
        load(problem, saved)


def test_a_missing_checkpoint_is_named(problem, tmp_path):
    with pytest.raises(CorruptFileError, match=r"nothing.qdgs: cannot be read: No such file"):
        load(problem, tmp_path / "nothing.qdgs")


class Calls:
    """Unpickled, it calls a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "builtins.eval"),
        (np.memmap, "numpy.memmap"),
        (checkpoint._sync_folder, "qdgs.search.checkpoint._sync_folder"),
    ],
)
def test_a_checkpoint_that_asks_for_anything_but_a_search_is_refused(problem, saved, function, name):
    content = saved.read_bytes()
    start = len(checkpoint.MAGIC) + 8
    end = start + int.from_bytes(content[start - 8 : start], "big")
    harmful = content[:end] + pickle.dumps(Calls(function, "touch nothing"), protocol=5)
    saved.write_bytes(harmful + hashlib.sha256(harmful).digest())
    with pytest.raises(CorruptFileError, match=rf"got one that asks for {name}; do not trust it$"):
        load(problem, saved)


@pytest.mark.parametrize("name", ["os.system", "Path", "np.memmap"])
def test_a_name_that_a_module_of_ours_only_imports_is_refused(name):
    with pytest.raises(pickle.UnpicklingError):
        checkpoint._Unpickler(io.BytesIO()).find_class("qdgs.search.checkpoint", name)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({**CONFIG, "seed": 1}, r"^seed: expected 0 as in the checkpoint .*, got 1; resume with"),
        ({**CONFIG, "search": {"emitters": 4, "evaluations": 1000}}, r"^search.emitters: expected 3 "),
        ({**CONFIG, "guide": {"measures": [{"cells": 13}]}}, r"^guide.measures.0.cells: expected 12 "),
        ({**CONFIG, "guide": {"measures": []}}, r"^guide.measures.0.cells: expected 12 .* got \"nothing\""),
        ({**CONFIG, "more": True}, r"^more: expected \"nothing\" as in the checkpoint"),
    ],
)
def test_another_configuration_is_refused_by_its_first_differing_key(problem, saved, changed, expected):
    with pytest.raises(InputError, match=expected):
        load(problem, saved, config=changed)


def test_the_budget_may_change_on_resuming(problem, saved):
    longer = {**CONFIG, "search": {"emitters": 3, "evaluations": 2000}}
    assert load(problem, saved, config=longer).evaluations == load(problem, saved, config=CONFIG).evaluations


def test_another_pyribs_is_refused_with_the_one_to_install(problem, saved, monkeypatch):
    monkeypatch.setattr("ribs.__version__", "0.99.0")
    with pytest.raises(InputError, match=r"install ribs==0\.12"):
        load(problem, saved)


def test_saving_is_atomic_and_leaves_nothing_behind(problem, saved):
    search = load(problem, saved)
    advance(search, 1)
    checkpoint.save(search, saved, CONFIG)
    assert load(problem, saved).evaluations == search.evaluations
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(problem, saved, monkeypatch):
    search, before = load(problem, saved), saved.read_bytes()

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QdgsError, match="cannot be written: No space left on device; what was saved before"):
        checkpoint.save(search, saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
