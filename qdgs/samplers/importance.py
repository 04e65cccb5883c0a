"""Importance resampling: random samples chosen by the density ratio of a balanced reference set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import Tensor

from qdgs.fairness.diversity import PixelEmbedding
from qdgs.samplers.base import BaseSampler, LabelledImages, Problem, judged_samples, sample_rows
from qdgs.samplers.reference import reference_of, unbalanced
from qdgs.training.pixels import to_unit

Array = NDArray[np.float64]
BATCH = 256
WIDTH_SAMPLES = 500


class ImportanceSampler(BaseSampler):
    """Samples chosen with weights w(x) = p_ref(x)/p_biased(x), from a classifier that tells the two apart.

    A classifier c gives the chance that an image is of the reference set rather than a random
    sample; w(x) = n_biased/n_ref · c(x)/(1 − c(x)). Choi et al. weigh the images that a generative model is
    trained on; here the generator stays as it is and the same weights choose among its samples, without
    replacement. The reference set need not be labelled. Weights that rest on few samples give few different
    images: `notes` has the effective sample size (Σw)²/Σw².

    Ours: the classifier is logistic regression with a Gaussian kernel, as wide as the median distance, on the
    first principal components of 32-pixel images, where theirs is a residual network. Fine texture, by which
    every generated image can be told from a real one, then makes no weights, and chances need no calibration.

    Args:
        samples: Random samples that the classifier learns from.
        candidates: Random samples weighed for each image wanted.
        landmarks: Samples that the kernel is approximated by.
        regularization: C of the logistic regression; smaller makes weights more alike.

    References:
        Choi, Grover, Singh, Shu and Ermon (2020), Fair generative modeling via weak supervision, section 3;
        Kong (1992), A note on importance sampling using standardized weights (effective sample size).
    """

    paper = "Choi et al. 2020"
    quick: ClassVar[Mapping[str, Any]] = {"samples": 300, "candidates": 3, "landmarks": 30}

    def __init__(
        self,
        *,
        samples: int = 5_000,
        candidates: int = 10,
        landmarks: int = 300,
        regularization: float = 300.0,
    ) -> None:
        super().__init__()
        self.samples, self.candidates = samples, candidates
        self.landmarks, self.regularization = landmarks, regularization
        self._ratio = 1.0

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Learn to tell the reference set from random samples.

        Raises:
            InputError: There is no reference set.
        """
        reference = reference_of(problem, "importance")
        self._begin(problem)
        with self._meter.timed():
            self._learn(reference, int(rng.integers(2**31)), rng)
        self._meter.count(reference_images=len(reference))
        sentence = unbalanced(problem, reference)
        self.notes = (sentence,) if sentence else ()

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Choose n of `candidates`·n random samples; the judge labels the chosen ones alone."""
        problem = self.problem
        with self._meter.timed():
            many = max(n, min(self.candidates * n, problem.draws))
            latents = problem.generator.sample_latents(many, rng)
            weights = self.weights(latents)
            chosen = _without_replacement(weights, n, rng)
            read = judged_samples(problem, problem.generator, latents[chosen], self._meter)
            self._tell(weights)
            return sample_rows(problem, latents[chosen], read, weight=weights[chosen])

    def weights(self, latents: Tensor) -> Array:
        """Density ratios w `(n,)` of the images of latents `(n, latent_dim)`."""
        chance = np.clip(self._classifier.predict_proba(self._features(latents))[:, 1], 1e-9, 1 - 1e-9)
        weights: Array = self._ratio * chance / (1 - chance)
        return weights

    def _learn(self, reference: LabelledImages, seed: int, rng: np.random.Generator) -> None:
        problem = self.problem
        latents = problem.generator.sample_latents(self.samples, rng)
        batches = list(self._meter.images(problem.generator, latents.to(problem.device)))
        self._embedding = PixelEmbedding.fit(batches, seed=seed)
        theirs = (to_unit(reference.images[at : at + BATCH]) for at in range(0, len(reference), BATCH))
        features = np.concatenate([self._embedding.transform(batches), self._embedding.transform(theirs)])
        real = np.arange(len(features)) >= self.samples
        landmarks = min(self.landmarks, len(features))
        width = np.median(pdist(features[:: max(1, len(features) // WIDTH_SAMPLES)]))
        kernel = Nystroem(gamma=1 / (2 * width**2), n_components=landmarks, random_state=seed)
        regression = LogisticRegression(C=self.regularization, max_iter=1000)
        self._classifier = make_pipeline(kernel, regression).fit(features, real)
        self._ratio = self.samples / len(reference)
        self._meter.count(trained_on=len(features))

    def _features(self, latents: Tensor) -> Array:
        batches = self._meter.images(self.problem.generator, latents.to(self.problem.device))
        return self._embedding.transform(batches)

    def _tell(self, weights: Array) -> None:
        effective = weights.sum() ** 2 / np.square(weights).sum()
        sentence = f"effective sample size {effective:,.0f} of {len(weights):,} candidates"
        self.notes = (*(note for note in self.notes if not note.startswith("effective")), sentence)


def _without_replacement(weights: Array, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose n different positions, each draw with chances proportional to the weights that are left.

    By exponential keys: the n smallest of e/w.

    References:
        Efraimidis and Spirakis (2006), Weighted random sampling with a reservoir.
    """
    keys = rng.standard_exponential(len(weights)) / np.maximum(weights, 1e-300)
    return np.sort(np.argpartition(keys, n - 1)[:n]) if n < len(weights) else np.arange(len(weights))
