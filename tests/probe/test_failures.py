import numpy as np
import pytest
import torch

from qdgs.errors import ConfigError
from qdgs.probe.answers import Reader
from qdgs.probe.failures import FAILURE, FailureScore, search_failures
from qdgs.probe.models import load_probed
from qdgs.probe.samples import open_parts


@pytest.fixture(scope="module")
def biased(parts, config_of):
    config = config_of("probed:ByColor").model
    return Reader(load_probed(config), config, parts.attributes["shape"])


@pytest.fixture(scope="module")
def found(parts, pool, biased):
    return search_failures(parts, biased, pool)


def test_the_objective_is_above_the_mark_where_a_real_image_is_answered_wrongly(parts, pool, biased):
    score = FailureScore(parts, biased, pool, parts.gate)
    latents = pool.latents[:64]
    objective, measures = score(latents)
    read = parts.gate.judge(torch.cat(list(parts.images(latents))))
    answers = biased.read(parts.images(latents))
    wrong = np.array(answers.values, dtype=object)[answers.given] != read["shape"].to_numpy(object)
    real = read["accepted"].to_numpy(bool)
    shell = np.abs(latents.norm(dim=1).numpy() - pool.latents.norm(dim=1).mean().item()) < 1
    np.testing.assert_array_equal(objective.numpy()[real & shell] >= FAILURE, wrong[real & shell])
    assert (objective.numpy()[~real] < 0).all()
    assert measures.shape == (64, 2)
    score.remember(10)
    assert len(torch.cat(score.suspects)) == int((real & wrong)[:10].sum())


def test_every_failure_is_one_that_judges_accept_and_the_model_gets_wrong(found, parts, biased):
    latents = found.searched.latents
    read = parts.read(latents)
    answers = biased.read(parts.images(latents))
    told = np.array(answers.values, dtype=object)[answers.given]
    assert len(latents) > 50
    assert read["accepted"].all()
    assert (told != read["shape"].to_numpy(object)).all()
    assert (told == found.searched.rows["answer"].to_numpy(object)).all()


def test_failures_lie_on_the_prior_s_shell(found, parts, pool, biased):
    norms = pool.latents.norm(dim=1)
    least, most = norms.mean() - 2 * norms.std(), norms.mean() + 2 * norms.std()
    for failures in (found.searched, found.random):
        of = failures.latents.norm(dim=1)
        assert least - 0.01 < of.min()
        assert of.max() < most + 0.01
    score = FailureScore(parts, biased, pool, parts.gate)
    objective, _ = score(pool.latents[:64] * (6 / pool.latents[:64].norm(dim=1, keepdim=True)))
    assert (objective < FAILURE).all()


def test_the_search_finds_more_than_chance_at_as_many_calls(found):
    assert found.searched.calls == found.random.calls <= 512
    assert len(found.searched.rows) > 1.2 * len(found.random.rows)
    assert found.summary["model_calls"] == found.searched.calls
    table = found.table
    assert table["failures"].sum() == len(found.searched.rows)
    assert table["random_distinct"].sum() == found.random.distinct


def test_a_model_without_failures_gives_an_empty_catalogue(parts, pool, config_of):
    config = config_of("probed:ByShape").model
    found = search_failures(parts, Reader(load_probed(config), config, parts.attributes["shape"]), pool)
    assert (len(found.searched.rows), found.random.distinct) == (0, 0)
    assert found.summary["failure_ratio"] is None
    assert found.searched.calls <= 512


def test_the_auditor_alone_cannot_steer(config_of, pool):
    config = config_of("probed:ByColor", "run.judges={auditor: pixels}", "run.dataset.groups.color.cut=0.0")
    parts = open_parts(config)
    reader = Reader(load_probed(config.model), config.model, parts.attributes["shape"])
    with pytest.raises(ConfigError, match="expected a gate or teacher beside the auditor"):
        search_failures(parts, reader, pool)
