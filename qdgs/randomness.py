"""Named random streams derived from the one seed of a run."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers is for; values are part of the format of a run, so never renumber."""

    PRIOR = 0
    RANGES = 1
    EMITTER = 2
    SCHEDULER = 3
    FLATTEN = 4
    AUDIT = 5
    BOOTSTRAP = 6
    TRAINING = 7
    DRAWING = 8
    RANDOM_SAMPLES = 9
    BANK = 10
    GENERATOR = 11
    PROBE = 12
    SAMPLING = 20
    COMPARISON = 21
    REPORT = 30
    LABELLING = 31
    SPLITS = 32
    PROBING = 40


def stream(seed: int, name: Stream, index: int = 0) -> np.random.Generator:
    """A generator of random numbers for one purpose, independent of every other (seed, name, index).

    Args:
        seed: The seed of the run.
        name: What the numbers are for.
        index: Distinguishes several of the same purpose, for instance one emitter from another.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(name), index)))


def integer_seed(seed: int, name: Stream, index: int = 0) -> int:
    """A 32-bit seed for libraries that take an integer; same independence as `stream`."""
    return int(np.random.SeedSequence(seed, spawn_key=(int(name), index)).generate_state(1)[0])
