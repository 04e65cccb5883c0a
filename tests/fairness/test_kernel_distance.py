import numpy as np
import pytest

from qdgs.fairness.kernel_distance import kernel_distance, squared_discrepancy


def test_it_is_the_unbiased_sum_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    assert squared_discrepancy(x, y) == pytest.approx(within_x + within_y - 2 * between)


def test_samples_of_one_distribution_are_at_no_distance():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((600, 8)), rng.standard_normal((600, 8))
    near = kernel_distance(x, y, rng, size=100)
    far = kernel_distance(x + 1, y, rng, size=100)
    assert near.low < 0 < near.high
    assert far.low > near.high


def test_the_unit_of_the_embedding_does_not_matter():
    x, y = np.random.default_rng(2).standard_normal((2, 50, 4))
    one = kernel_distance(x, y, np.random.default_rng(3))
    other = kernel_distance(1000 * x, 1000 * y, np.random.default_rng(3))
    assert one.value == pytest.approx(other.value)


@pytest.mark.parametrize("images", [64, 400])
def test_the_interval_covers_the_distance_of_few_images_too(images):
    truth = [squared_discrepancy(*drawn(seed, 2000, 2000)) for seed in range(3)]
    covered = 0
    for seed in range(100, 160):
        found = kernel_distance(*drawn(seed, images, images), np.random.default_rng(seed), subsets=30)
        covered += found.low <= np.mean(truth) <= found.high
    assert covered >= 0.85 * 60


def drawn(seed, n, m):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((m, 4))
    y /= np.sqrt(np.square(y).mean())
    return rng.standard_normal((n, 4)) + 0.3, y


def test_one_image_has_no_distance():
    assert np.isnan(kernel_distance(np.zeros((1, 2)), np.zeros((5, 2)), np.random.default_rng(0)).value)
