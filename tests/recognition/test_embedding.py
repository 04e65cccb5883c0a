import numpy as np
import pytest
import torch

from qdgs.errors import InputError
from qdgs.recognition.embedding import embed


class OnMps:
    """A tensor of a device that has no float64."""

    def __init__(self, values):
        self._values = values

    def __add__(self, other):
        return OnMps(self._values + other._values)

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self._values


class Backbone:
    """Embeds an image as its mean colour."""

    def __init__(self, wrapped=lambda values: values):
        self._wrapped = wrapped

    def eval(self):
        return self

    def to(self, device):
        return self

    def __call__(self, images):
        return self._wrapped(images.mean(dim=(2, 3)))


PIXELS = [np.full((4, 4, 3), (30, 40, 0), np.uint8)]


def test_a_device_without_float64_embeds_too():
    np.testing.assert_allclose(embed(Backbone(OnMps), PIXELS), [[0.6, 0.8, 0.0]], atol=1e-6)


def test_embeddings_that_are_not_finite_are_refused():
    broken = Backbone(lambda values: torch.where(values > 0.12, torch.nan, values))
    with pytest.raises(InputError, match=r"recogniser: expected embeddings of finite numbers, got others"):
        embed(broken, PIXELS)
