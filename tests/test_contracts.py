"""What every known generator and judge keeps to."""

import numpy as np
import pytest
import torch

import qdgs
from qdgs.config import Named
from qdgs.errors import MissingPackageError
from qdgs.generators.base import GENERATORS
from qdgs.judges.base import JUDGES


@pytest.fixture(params=sorted(GENERATORS))
def generator(request):
    options = {}
    if request.param == "stylegan2":
        options = {"path": str(request.getfixturevalue("stylegan2_folder")), "space": "w+"}
    return loaded(qdgs.load_generator, Named(name=request.param, **options))


@pytest.fixture(params=sorted(JUDGES))
def judge(request):
    return loaded(qdgs.load_judge, request.param)


def loaded(load, name):
    try:
        return load(name)
    except MissingPackageError as error:
        pytest.skip(str(error))


def latents_of(generator, n, seed=0):
    return generator.sample_latents(n, np.random.default_rng(seed))


def test_a_generator_keeps_its_protocol(generator):
    assert isinstance(generator, qdgs.Generator)
    latents = latents_of(generator, 16)
    assert latents.shape == (16, generator.latent_dim)
    assert latents.dtype == torch.float32
    images = generator(latents)
    assert images.shape == (16, 3, generator.image_size, generator.image_size)
    assert images.min() >= 0
    assert images.max() <= 1


def test_latents_follow_their_random_numbers(generator):
    assert torch.equal(latents_of(generator, 5), latents_of(generator, 5))
    assert not torch.equal(latents_of(generator, 5), latents_of(generator, 5, seed=1))


def test_a_row_depends_on_its_own_latent_alone(generator):
    latents = latents_of(generator, 32)
    changed = latents.clone()
    changed[:16] = latents_of(generator, 16, seed=1)
    assert torch.equal(generator(latents)[16:], generator(changed)[16:])


def test_the_prior_norm_is_that_of_samples(generator):
    if generator.prior_norm is not None:
        norms = latents_of(generator, 20_000).norm(dim=1)
        assert generator.prior_norm == pytest.approx(norms.mean().item(), rel=0.01)


def test_gradients_reach_the_latents(generator):
    if generator.differentiable:
        latents = latents_of(generator, 16).requires_grad_()
        generator(latents).mean().backward()
        assert latents.grad.abs().sum(dim=1).gt(0).all()


def test_a_judge_keeps_its_protocol(judge, monkeypatch, tmp_path):
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path))
    assert isinstance(judge, qdgs.Judge)
    read = judge.judge(torch.rand(3, 3, 128, 128))
    assert len(read) == 3
    assert read["accepted"].dtype == bool
    assert np.isfinite(read["quality"]).all()
    for attribute, values in judge.attributes.items():
        assert read[attribute].dropna().isin(values).all()
        assert f"{attribute}_score" in read
