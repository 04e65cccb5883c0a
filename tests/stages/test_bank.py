import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.config import load_config
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.generators.base import generate
from qdgs.generators.stored import as_stored
from qdgs.parts import load_generator, load_guide, load_judge
from qdgs.stages.bank import Bank
from qdgs.stages.scoring import Scorer, scores_of


class Counting:
    """A generator that tells how often it was asked."""

    def __init__(self, generator):
        self.asked = 0
        self._generator = generator

    def __getattr__(self, name):
        return getattr(self._generator, name)

    def __call__(self, latents):
        self.asked += 1
        return self._generator(latents)


@pytest.fixture
def config(tiny_config):
    return load_config(tiny_config)


@pytest.fixture
def bank(config, tmp_path):
    generator = load_generator(config.generator)
    return Bank(generator, samples=64, micro_batch=16, folder=tmp_path)


def test_the_samples_are_judged_as_they_would_be_stored(bank):
    judge = load_judge("pixels")
    images = torch.cat([as_stored(batch) for batch in generate(bank.generator, bank.latents, 16)])
    assert torch.equal((images * 255).round() / 255, images)
    pd.testing.assert_frame_equal(bank.judged(judge), judge.judge(images), check_dtype=False)


def test_going_through_the_samples_is_told(config, tmp_path):
    told = []
    generator = load_generator(config.generator)
    bank = Bank(generator, samples=40, micro_batch=16, folder=tmp_path, progress=lambda *at: told.append(at))
    bank.judged(load_judge("pixels"))
    assert told == [(16, 40), (32, 40), (40, 40)]
    bank.judged(load_judge("pixels"))  # kept
    assert len(told) == 3


def test_the_embedding_is_fitted_on_the_samples_and_embeds_them(bank):
    images = torch.cat(list(bank.images()))
    expected = PixelEmbedding.fit([images])
    np.testing.assert_allclose(bank.embeddings(), expected.transform(images), atol=1e-4)


def test_measures_are_those_of_the_search_but_for_rounding_to_pixels(bank, config):
    scorer = Scorer(bank.generator, load_guide(config.guide), seed=0)
    expected = scores_of(scorer, bank.latents, 16)[["color", "edges"]]
    pd.testing.assert_frame_equal(bank.scored(scorer), expected, atol=1e-2)


def test_the_samples_are_rendered_once(bank):
    bank.generator = Counting(bank.generator)
    bank.judged(load_judge("pixels"))
    bank.embeddings()
    assert bank.generator.asked == 4


def test_what_was_found_out_once_is_kept(bank, tmp_path):
    judge = load_judge("pixels")
    first = bank.judged(judge)
    bank.generator = Counting(bank.generator)
    pd.testing.assert_frame_equal(bank.judged(judge), first)
    assert bank.generator.asked == 0


def test_a_damaged_cache_is_made_again(bank, tmp_path):
    judge = load_judge("pixels")
    first, embedding = bank.judged(judge), bank.embedding()
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    pd.testing.assert_frame_equal(bank.judged(judge), first)
    np.testing.assert_array_equal(bank.embedding().components, embedding.components)


def test_another_judge_or_other_options_are_kept_apart(bank):
    strict = load_judge("pixels")
    strict.smallest = 0.9
    assert bank.judged(load_judge("pixels"))["accepted"].any()
    assert not bank.judged(strict)["accepted"].any()


def test_a_cache_that_cannot_be_written_costs_time_only(config, tmp_path):
    (tmp_path / "file").write_text("")
    bank = Bank(load_generator(config.generator), samples=64, micro_batch=16, folder=tmp_path / "file" / "x")
    assert len(bank.judged(load_judge("pixels"))) == 64
    assert len(bank.embeddings()) == 64
