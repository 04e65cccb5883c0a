import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.registry import resolve
from qdgs.samplers.base import SAMPLERS, LabelledImages, Sampler, sample_rows
from qdgs.samplers.rejection import RandomSampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_registered_name_is_a_sampler_with_settings_by_default(name):
    sampler = resolve(SAMPLERS, name, place="method")()
    assert isinstance(sampler, Sampler)
    assert sampler.paper
    with pytest.raises(InputError, match="expected fit before sample"):
        sampler.sample(1, np.random.default_rng(0))


def test_groups_are_every_combination_in_the_order_of_the_attributes(make_problem):
    problem = make_problem(target={"red/wide": 0.4, "blue/tall": 0.6})
    assert problem.groups == ("red/tall", "red/wide", "blue/tall", "blue/wide")
    assert problem.shares == {"red/tall": 0, "red/wide": 0.4, "blue/tall": 0.6, "blue/wide": 0}
    assert problem.counts(10) == {"red/tall": 0, "red/wide": 4, "blue/tall": 6, "blue/wide": 0}


def test_a_row_has_a_group_only_where_every_attribute_is_told(make_problem):
    values = pd.DataFrame({"color": ["red", None, "blue", "green"], "shape": ["wide", "tall", None, "tall"]})
    assert make_problem().group_of(values).tolist() == ["red/wide", None, None, None]
    assert make_problem().codes_of(values).tolist() == [1, -1, -1, -1]


def test_rows_keep_latents_and_say_what_is_known(make_problem, rng):
    latents = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    values = pd.DataFrame({"color": ["red", None, "blue"], "shape": ["wide", "tall", None]})
    rows = sample_rows(make_problem(), latents, values, weight=np.array([1.0, 2.0, 3.0]))
    assert rows["label"].tolist() == ["wide", "tall", None]
    assert rows["group"].tolist() == ["red/wide", None, None]
    assert rows["file"].tolist() == [
        "train/wide/000000.png", "train/tall/000001.png", "train/unlabelled/000002.png",
    ]  # fmt: skip
    assert rows["weight"].tolist() == [1, 2, 3]
    assert torch.equal(latents_of(rows), latents)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": {"red/wide": 0.5, "green/tall": 0.5}}, "expected groups among .*got 'green/tall'"),
        ({"target": {"red/wide": 0.5}}, "expected shares that sum to 1, got 0.5"),
    ],
)
def test_a_problem_that_does_not_hold_is_told_in_a_sentence(make_problem, options, sentence):
    with pytest.raises(InputError, match=sentence):
        make_problem(**options)


def test_labelled_images_belong_together():
    with pytest.raises(InputError, match="got 2 images and 1 rows"):
        LabelledImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), pd.DataFrame({"color": ["red"]}))
    with pytest.raises(InputError, match=r"expected uint8, got torch\.float32"):
        LabelledImages(torch.zeros(1, 3, 4, 4), pd.DataFrame({"color": ["red"]}))


def test_a_gate_of_its_own_is_asked_and_counted(make_problem, rng):
    problem = make_problem(gate=make_problem().judge)
    sampler = RandomSampler()
    sampler.fit(problem, rng)
    sampler.sample(10, rng)
    assert sampler.cost.generator_calls == 10
    assert sampler.cost.judge_labels == 20
