import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.samplers.latent_shift import LatentShiftSampler, drawn_from


def fitted(problem, rng, **options):
    sampler = LatentShiftSampler(**{"samples": 2000, **options})
    sampler.fit(problem, rng)
    return sampler


def test_every_shifted_latent_sits_at_the_signed_distance_of_its_group(make_problem, rng):
    problem = make_problem()
    sampler = fitted(problem, rng)
    z = rng.standard_normal((50, 2))
    signs = {"red/tall": (-3, -3), "red/wide": (-3, 3), "blue/tall": (3, -3), "blue/wide": (3, 3)}
    for group, expected in signs.items():
        there = sampler.shifted(z, group)
        reached = np.stack([plane.distance(there) - plane.offset for plane in sampler.directions.values()])
        np.testing.assert_allclose(reached.T, np.tile(expected, (50, 1)), atol=1e-9)


def test_one_attribute_alone_is_moved_by_the_published_formula(make_problem, rng):
    problem = make_problem(
        attributes={"color": ("red", "blue")}, label="color", target={"red": 0.5, "blue": 0.5}
    )
    sampler = fitted(problem, rng)
    n = sampler.directions["color"].normal
    w = rng.standard_normal((20, 2))
    expected = w + (3 - w @ n)[:, None] * n
    np.testing.assert_allclose(sampler.shifted(w, "blue"), expected, atol=1e-9)


def test_directions_are_those_of_the_generator(make_problem, rng):
    sampler = fitted(make_problem(), rng)
    assert sampler.directions["color"].normal[0] > 0.99
    assert sampler.directions["shape"].normal[1] > 0.99


def test_a_set_has_the_shares_of_the_target_and_images_of_them(make_problem, rng):
    target = {"red/tall": 0.1, "red/wide": 0.4, "blue/tall": 0.5}
    problem = make_problem(target=target)
    sampler = fitted(problem, rng)
    rows = sampler.sample(100, rng)
    assert rows["group"].value_counts().to_dict() == {"blue/tall": 50, "red/wide": 40, "red/tall": 10}
    latents = latents_of(rows).numpy()
    assert ((latents[:, 0] > 0) == (rows["group_color"] == "blue")).all()
    assert ((latents[:, 1] > 0) == (rows["label"] == "wide")).all()
    assert sampler.cost.judge_labels == 2000
    assert sampler.cost.generator_calls == sampler.cost.forwards == 2000 + len(rows)
    assert "held-out accuracy" in sampler.notes[0]


def test_a_judge_that_labels_everything_alike_is_refused(make_problem, rng):
    generator = type(make_problem().generator)(shift=(-20.0, 0.0))
    with pytest.raises(InputError, match=r"color: expected samples of several values .* got red alone"):
        fitted(make_problem(generator=generator), rng)


def test_a_share_of_extremes_that_is_none_is_refused():
    with pytest.raises(InputError, match="extreme: expected a share"):
        LatentShiftSampler(extreme=0.6)


def test_the_same_random_numbers_give_the_same_set(make_problem):
    sets = [
        fitted(make_problem(), np.random.default_rng(3), samples=500).sample(20, np.random.default_rng(4))
        for _ in range(2)
    ]
    assert sets[0].equals(sets[1])


def test_a_mixture_is_drawn_from_by_its_weights_means_and_covariances():
    mixture = GaussianMixture(2)
    mixture.weights_ = np.array([0.25, 0.75])
    mixture.means_ = np.array([[0.0, 0.0, 0.0], [20.0, -10.0, 5.0]])
    roots = np.array([np.diag([1.0, 2.0, 0.5]), [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.1, 0.2, 1.0]]])
    mixture.covariances_ = roots @ roots.transpose(0, 2, 1)
    drawn = drawn_from(mixture, 40_000, np.random.default_rng(3))
    second = drawn[:, 0] > 10
    assert second.mean() == pytest.approx(0.75, abs=0.01)
    for rows, mean, covariance in zip(
        (drawn[~second], drawn[second]), mixture.means_, mixture.covariances_, strict=True
    ):
        assert rows.mean(axis=0) == pytest.approx(mean, abs=0.06)
        assert np.cov(rows.T) == pytest.approx(covariance, abs=0.12)
