import numpy as np
import pytest
from scipy.stats import kstest, norm

from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.samplers.latent_mixtures import LatentMixturesSampler


def fitted(problem, rng, **options):
    sampler = LatentMixturesSampler(**{"samples": 4000, "components": 3, **options})
    sampler.fit(problem, rng)
    return sampler


def test_mixtures_are_the_groups_of_the_prior(make_problem, rng):
    rows = fitted(make_problem(), rng, probes=0).sample(2000, rng)
    assert rows["group"].value_counts().to_dict() == dict.fromkeys(make_problem().groups, 500)
    blue = latents_of(rows[rows["group"] == "blue/wide"]).numpy()[:, 0].astype(float)
    truth = norm(-1)
    # a normal cut at 0, which few Gaussians meet but for the cut itself
    inside = blue[blue > 0]
    assert len(inside) > 0.85 * len(blue)
    assert kstest(inside, lambda x: (truth.cdf(x) - truth.cdf(0)) / truth.sf(0)).statistic < 0.12


def test_shares_are_set_such_that_what_is_read_has_the_targets(make_problem, rng):
    # one Gaussian a group spills a lot
    problem = make_problem()
    shares = {}
    for probes in (0, 2000):
        sampler = fitted(problem, np.random.default_rng(1), components=1, probes=probes)
        rows = sampler.sample(20_000, np.random.default_rng(2))
        read = problem.judge.judge(problem.generator(latents_of(rows)))
        counts = problem.group_of(read).value_counts(normalize=True)
        shares[probes] = float(np.linalg.norm(counts - 0.25))
    assert shares[0] > 0.03
    assert shares[2000] < shares[0] / 2


def test_probes_are_paid_for(make_problem, rng):
    assert fitted(make_problem(), rng, probes=10).cost.judge_labels == 4000 + 4 * 10


def test_a_group_with_too_few_samples_for_its_mixture_is_refused(make_problem, rng):
    generator = type(make_problem().generator)(shift=(-3.0, 0.0))
    with pytest.raises(InputError, match=r"blue/\w+: expected more readable samples than .*dimensions \(2\)"):
        fitted(make_problem(generator=generator), rng, samples=300)
