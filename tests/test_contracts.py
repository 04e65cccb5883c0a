"""What every known generator, guide and judge keeps to."""

import numpy as np
import pytest
import torch

import qdgs
from qdgs.clip.sources import EMBEDDED
from qdgs.config import PROMPTS, GuideConfig, Named
from qdgs.errors import MissingModelError, MissingPackageError
from qdgs.generators.base import GENERATORS
from qdgs.guides.base import GUIDES, Guide
from qdgs.judges.base import JUDGES

WARMTH = {"warmth": {"cold": "a blue shape", "warm": ["a red shape", "a red square"]}}
MEASURES = [
    {"name": "warmth", "low": ["a blue shape"], "high": ["a red shape"]},
    {"name": "detail", "low": ["a triangle"], "high": ["a square"]},
]
FACES = [
    {"name": "warmth", "low": ["A person with dark skin."], "high": ["A person with light skin."]},
    {"name": "detail", "low": ["A person in their 20s."], "high": ["A person in their 50s."]},
]


@pytest.fixture(params=sorted(GENERATORS))
def generator(request):
    options = {}
    if request.param == "stylegan2":
        options = {"path": str(request.getfixturevalue("stylegan2_folder")), "space": "w+"}
    if request.param == "python":
        request.getfixturevalue("brought")
        options = {"target": "brought:Stripes"}
    if request.param == "torchscript":
        path = request.getfixturevalue("scripts")["generator"]
        options = {"path": path, "latent_shape": [6, 1, 1], "range": [-1, 1]}
    if request.param == "diffusers":
        options = {"model": str(request.getfixturevalue("pipeline_folder")("ddpm")), "steps": 3}
    return loaded(qdgs.load_generator, Named(name=request.param, **options))


@pytest.fixture(params=[*sorted(EMBEDDED), *sorted(GUIDES)])
def guide(request):
    name, options = request.param, {}
    measures, good = (FACES, "A masculine person.") if name == "qdgs-faces" else (MEASURES, "a shape")
    if name in EMBEDDED:
        name, options = PROMPTS, {"clip": {"model": request.param}}
    elif name == PROMPTS:
        options = {"clip": {"model": f"local-dir:{request.getfixturevalue('tiny_clip_folder')}"}}
    elif name == "python":
        request.getfixturevalue("brought")
        options = {"target": "brought:Warmth"}
    elif name == "torchscript":
        options = {"path": request.getfixturevalue("scripts")["guide"]}
    return qdgs.load_guide(
        GuideConfig(name=name, measures=measures, objective={"positive": [good]}, **options)
    )


@pytest.fixture(params=sorted(JUDGES))
def judge(request):
    options = {}
    if request.param == "clip-zero-shot":
        folder = request.getfixturevalue("other_clip_folder")
        options = {"clip": f"local-dir:{folder}", "attributes": WARMTH}
    if request.param == "image-classifier":
        options = {"path": str(request.getfixturevalue("classifier_folder")), "attribute": "animal"}
    if request.param == "python":
        request.getfixturevalue("brought")
        options = {"target": "brought:Thermometer"}
    if request.param == "torchscript":
        path = request.getfixturevalue("scripts")["judge"]
        attributes = {"warmth": ["cold", "warm"], "light": ["dim", "grey", "bright"]}
        options = {"path": path, "attributes": attributes}
    return loaded(qdgs.load_judge, Named(name=request.param, **options))


def loaded(load, name):
    try:
        return load(name)
    except (MissingPackageError, MissingModelError) as error:
        pytest.skip(str(error))


def latents_of(generator, n, seed=0):
    return generator.sample_latents(n, np.random.default_rng(seed))


def images_of(n, seed=0):
    return torch.rand(n, 3, 48, 48, generator=torch.Generator().manual_seed(seed))


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


def test_a_guide_keeps_its_protocol(guide):
    assert isinstance(guide, Guide)
    assert guide.measure_names == ("warmth", "detail")
    objective, measures = guide.score(images_of(16))
    assert (objective.shape, measures.shape) == ((16,), (16, 2))
    assert objective.isfinite().all()
    assert measures.isfinite().all()


def test_a_guide_scores_a_row_by_its_own_image_alone(guide):
    images = images_of(32)
    changed = torch.cat([images_of(16, seed=1), images[16:]])
    one, other = guide.score(images), guide.score(changed)
    assert torch.equal(one.objective[16:], other.objective[16:])
    assert torch.equal(one.measures[16:], other.measures[16:])
    assert not torch.equal(one.measures[:16], other.measures[:16])


def test_a_guides_gradients_reach_the_images(guide):
    images = images_of(4).requires_grad_()
    objective, measures = guide.score(images)
    for score in (objective, *measures.unbind(dim=1)):
        (gradient,) = torch.autograd.grad(score.sum(), images, retain_graph=True)
        assert gradient.flatten(1).abs().sum(dim=1).gt(0).all()


def test_a_guide_scores_in_two_steps_as_in_one(guide):
    images = images_of(4)
    whole, steps = guide.score(images), guide.score_embeddings(guide.embed(images))
    assert torch.equal(whole.objective, steps.objective)
    assert torch.equal(whole.measures, steps.measures)
    guide.load_state_dict(guide.state_dict())


def test_a_judge_keeps_its_protocol(judge, monkeypatch, tmp_path):
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path))
    assert isinstance(judge, qdgs.Judge)
    read = judge.judge(torch.rand(3, 3, 128, 128))
    assert len(read) == 3
    assert read["accepted"].dtype == bool
    assert np.isfinite(read["quality"]).all()
    for attribute, values in judge.attributes.items():
        assert len(values) >= 2
        assert read[attribute].dropna().isin(values).all()
        assert f"{attribute}_score" in read
