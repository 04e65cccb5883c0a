import numpy as np
import torch

from qdgs.generators.base import Generator, generate
from qdgs.generators.quick import QuickGenerator
from qdgs.generators.shapes_vae import ShapesVAE


def test_images_are_the_generators_bit_for_bit():
    generator, quick = ShapesVAE(), QuickGenerator(ShapesVAE())
    assert isinstance(quick, Generator)
    latents = generator.sample_latents(7 * 64, np.random.default_rng(0))
    assert torch.equal(quick.sample_latents(5, np.random.default_rng(0)), latents[:5])
    for one, other in zip(generate(quick, latents), generate(generator, latents), strict=True):
        assert torch.equal(one, other)
