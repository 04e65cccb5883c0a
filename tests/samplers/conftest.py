import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.samplers.base import Problem

ATTRIBUTES = {"color": ("red", "blue"), "shape": ("tall", "wide")}


class Plane:
    """Two latents that are two attributes: the image is grey-blue by the first, tall or wide by the second.

    The prior of the first is shifted, so that `usual` of the samples are red.
    """

    latent_dim = 2
    image_size = 8
    differentiable = True
    prior_norm = None

    def __init__(self, shift=(-1.0, 0.0), correlation=0.0):
        self.shift = np.array(shift)
        self.root = np.linalg.cholesky(np.array([[1, correlation], [correlation, 1]]))

    def sample_latents(self, n, rng):
        drawn = rng.standard_normal((n, 2)) @ self.root.T + self.shift
        return torch.from_numpy(drawn.astype(np.float32))

    def __call__(self, latents):
        shares = latents.mul(0.5).sigmoid()
        plane = torch.full((len(latents), 3, 8, 8), 0.5)
        plane[:, 0] = shares[:, 0, None, None]
        plane[:, 1] = shares[:, 1, None, None]
        return plane


class PlaneJudge:
    """Reads the two latents off the two channels."""

    attributes = ATTRIBUTES

    def judge(self, images):
        shares = images[:, :2].mean(dim=(2, 3)).double().clamp(1e-6, 1 - 1e-6)
        scores = 2 * torch.logit(shares).numpy()
        frame = {"accepted": np.ones(len(images), bool), "quality": np.ones(len(images))}
        for column, (name, values) in enumerate(ATTRIBUTES.items()):
            frame[name] = [values[int(score >= 0)] for score in scores[:, column]]
            frame[f"{name}_score"] = scores[:, column]
        return pd.DataFrame(frame)


@pytest.fixture
def make_problem():
    def make(images=200, generator=None, judge=None, target=None, **options):
        groups = [f"{color}/{shape}" for color in ATTRIBUTES["color"] for shape in ATTRIBUTES["shape"]]
        usual = {"attributes": ATTRIBUTES, "label": "shape", "target": dict.fromkeys(groups, 0.25)}
        given = {**usual, **({"target": target} if target else {}), **options}
        return Problem(generator or Plane(), judge or PlaneJudge(), images=images, **given)

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(0)
