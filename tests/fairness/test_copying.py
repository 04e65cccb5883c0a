import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from qdgs.errors import InputError
from qdgs.fairness.copying import copying_test, nearest, rank_score


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_distances_are_to_the_nearest_by_brute_force(rng):
    points, training = rng.standard_normal((20, 4)), rng.standard_normal((30, 4))
    brute = np.linalg.norm(points[:, None] - training[None], axis=2).min(axis=1)
    np.testing.assert_allclose(nearest(points, training), brute)


def test_the_score_is_the_normal_approximation_of_mann_and_whitney(rng):
    generated, held_out = rng.random(60), rng.random(50) + 0.1
    z = rank_score(generated, held_out)
    told = mannwhitneyu(generated, held_out, alternative="less", method="asymptotic", use_continuity=False)
    from scipy.stats import norm

    assert norm.cdf(z) == pytest.approx(told.pvalue)


def test_samples_of_the_same_distribution_copy_nothing(rng):
    training, held_out, generated = (rng.standard_normal((400, 5)) for _ in range(3))
    told = copying_test(generated, training, held_out, rng)
    assert abs(told.score) < 3
    assert not told.copies
    assert told.close.low < 0.02
    assert told.generated_distance == pytest.approx(told.held_out_distance, rel=0.1)


def test_noisy_copies_of_the_training_images_are_found(rng):
    training, held_out = rng.standard_normal((400, 5)), rng.standard_normal((400, 5))
    generated = training[rng.integers(0, 400, 300)] + 0.05 * rng.standard_normal((300, 5))
    told = copying_test(generated, training, held_out, rng)
    assert told.copies
    assert told.close.low > 0.5


def test_copies_in_one_region_alone_lower_the_score(rng):
    centres = np.array([[0.0, 0.0], [20.0, 0.0]])
    training, held_out, generated = (
        np.concatenate([centre + rng.standard_normal((150, 2)) for centre in centres]) for _ in range(3)
    )
    fair = copying_test(generated, training, held_out, rng, cells=2).score
    generated[:150] = training[:150] + 1e-3
    copied = copying_test(generated, training, held_out, rng, cells=2)
    assert copied.score < fair - 5
    assert copied.cells == 2


def test_too_few_images_are_said(rng):
    points = rng.standard_normal((30, 2))
    with pytest.raises(InputError, match="expected at least 20 held-out images, got 5"):
        copying_test(points, points, points[:5], rng)
