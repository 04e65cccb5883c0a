import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.samplers.base import Problem
from qdgs.samplers.hyperplanes import Hyperplane
from qdgs.samplers.paired_latents import PairedLatentsSampler, partner


def plane(rng, dimension):
    normal = rng.standard_normal(dimension)
    return Hyperplane(normal / np.linalg.norm(normal), float(rng.standard_normal()))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), dimension=st.integers(2, 64))
def test_a_partner_is_the_closed_formula_and_keeps_its_two_identities(seed, dimension):
    rng = np.random.default_rng(seed)
    label, protected = plane(rng, dimension), plane(rng, dimension)
    cosine = label.normal @ protected.normal
    if abs(cosine) > 0.999:
        return
    z = rng.standard_normal((7, dimension))
    there = partner(z, label, protected)
    step = 2 * protected.distance(z)[:, None] / (1 - cosine**2)
    formula = z - step * (protected.normal - cosine * label.normal)
    scale = 1 + np.abs(formula).max()
    np.testing.assert_allclose(there, formula, atol=1e-9 * scale)
    np.testing.assert_allclose(there @ label.normal, z @ label.normal, atol=1e-9 * scale)
    np.testing.assert_allclose(protected.distance(there), -protected.distance(z), atol=1e-9 * scale)


def test_factor_one_projects_onto_the_boundary_and_the_other_ablation_ignores_the_label(rng):
    label, protected = plane(rng, 8), plane(rng, 8)
    z = rng.standard_normal((5, 8))
    on = partner(z, label, protected, factor=1)
    np.testing.assert_allclose(protected.distance(on), 0, atol=1e-12)
    np.testing.assert_allclose(on @ label.normal, z @ label.normal, atol=1e-12)
    alone = partner(z, label, protected, keep_label=False)
    np.testing.assert_allclose(alone, z - 2 * protected.distance(z)[:, None] * protected.normal)


def fitted(problem, rng, **options):
    sampler = PairedLatentsSampler(**{"labelled": 1500, "held_out": 500, **options})
    sampler.fit(problem, rng)
    return sampler


@pytest.mark.parametrize("options", [{}, {"label_per_protected": True}])
def test_partners_share_their_label_and_have_opposite_colours(make_problem, rng, options):
    generator = type(make_problem().generator)(correlation=0.6)
    problem = make_problem(generator=generator)
    rows = fitted(problem, rng, **options).sample(100, rng)
    assert len(rows) == 100
    assert rows.groupby("pair")["label"].nunique().eq(1).all()
    assert rows.groupby("pair")["group_color"].nunique().eq(2).all()
    assert rows["partner"].tolist() == [0, 1] * 50
    seen = problem.judge.judge(problem.generator(latents_of(rows)))
    assert (seen["color"].to_numpy() == rows["group_color"]).mean() > 0.9
    assert (seen["shape"].to_numpy() == rows["label"]).mean() > 0.95


def test_the_judge_is_asked_of_samples_and_not_of_partners(make_problem, rng):
    sampler = fitted(make_problem(), rng)
    before = sampler.cost
    sampler.sample(100, rng)
    spent = sampler.cost - before
    assert before.judge_labels == 1500
    assert spent.judge_labels >= 50
    assert spent.generator_calls == spent.judge_labels + 50  # the partners, which are made for the set alone


def test_the_angle_between_hyperplanes_and_a_lack_of_readable_samples_are_told(make_problem, rng):
    generator = type(make_problem().generator)(correlation=0.6)
    sampler = fitted(make_problem(generator=generator, draws=40), rng)
    cosine = sampler.protected["color"].normal @ sampler.label[""].normal
    assert f"cosine between the hyperplanes of color and shape: {cosine:.2f}" in sampler.notes
    assert len(sampler.sample(100, rng)) == 80
    assert "40 readable samples of 50 among 40 draws" in sampler.notes


class Space:
    """Four latents, three of them attributes."""

    latent_dim, image_size, differentiable, prior_norm = 4, 4, True, None

    def sample_latents(self, n, rng):
        import torch

        return torch.from_numpy(rng.standard_normal((n, 4)).astype(np.float32))

    def __call__(self, latents):
        return latents[:, :3, None, None].mul(0.5).sigmoid().expand(-1, -1, 4, 4)


class SpaceJudge:
    attributes = {name: ("low", "high") for name in "abt"}  # noqa: RUF012

    def judge(self, images):
        scores = images.mean(dim=(2, 3)).sub(0.5).numpy()
        told = {name: np.where(scores[:, at] > 0, "high", "low") for at, name in enumerate("abt")}
        return pd.DataFrame({**told, "accepted": True, "quality": 1.0})


def test_two_protected_attributes_give_four_together_each_combination_once(rng):
    attributes = SpaceJudge.attributes
    groups = [f"{a}/{b}/{t}" for a in ("low", "high") for b in ("low", "high") for t in ("low", "high")]
    problem = Problem(Space(), SpaceJudge(), attributes, "t", dict.fromkeys(groups, 1 / 8), 80)
    sampler = fitted(problem, rng)
    rows = sampler.sample(80, rng)
    combinations = (rows["group_a"] + rows["group_b"]).groupby(rows["pair"]).nunique()
    assert combinations.eq(4).all()
    z = latents_of(rows).double().numpy().reshape(20, 4, 4)
    for name, flips in {"a": [0, 1, 0, 1], "b": [0, 0, 1, 1]}.items():
        distances = np.apply_along_axis(lambda v, n=name: sampler.protected[n].distance(v), 2, z)
        signs = np.where(flips, -1.0, 1.0)
        np.testing.assert_allclose(distances, distances[:, :1] * signs, atol=1e-5)
    label = np.apply_along_axis(sampler.label[""].distance, 2, z)
    np.testing.assert_allclose(label, np.repeat(label[:, :1], 4, axis=1), atol=1e-5)


def test_what_paired_latents_needs_is_said_in_a_sentence(make_problem, rng):
    alone = make_problem(attributes={"shape": ("tall", "wide")}, target={"tall": 0.5, "wide": 0.5})
    with pytest.raises(InputError, match="expected a label and at least one protected attribute, got shape"):
        fitted(alone, rng)
    generator = type(make_problem().generator)(shift=(-20.0, 0.0))
    with pytest.raises(InputError, match="color: expected latents of both values"):
        fitted(make_problem(generator=generator), rng)
    with pytest.raises(InputError, match="held_out: expected fewer than the 10"):
        PairedLatentsSampler(labelled=10, held_out=10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), dimension=st.integers(4, 64))
def test_several_protected_attributes_are_reflected_at_once_and_others_kept(seed, dimension):
    rng = np.random.default_rng(seed)
    label, kept, first, second = (plane(rng, dimension) for _ in range(4))
    normals = np.stack([one.normal for one in (label, kept, first, second)])
    if np.linalg.svd(normals, compute_uv=False)[-1] < 1e-3:
        return
    z = rng.standard_normal((7, dimension))
    there = partner(z, label, [first, second], kept=[kept])
    scale = 1 + np.abs(there).max()
    for one in (label, kept):
        np.testing.assert_allclose(one.distance(there), one.distance(z), atol=1e-9 * scale)
    for one in (first, second):
        np.testing.assert_allclose(one.distance(there), -one.distance(z), atol=1e-9 * scale)
    # by the shortest way: no part of the step is outside of what the normals span
    step = there - z
    inside = step @ np.linalg.pinv(normals) @ normals
    np.testing.assert_allclose(step, inside, atol=1e-9 * scale)
