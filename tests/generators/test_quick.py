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


class Counted:
    """Counts the rows that it makes images of."""

    latent_dim, image_size, differentiable, prior_norm = 3, 8, True, None

    def __init__(self):
        self.rows = 0

    def sample_latents(self, n, rng):
        return torch.from_numpy(rng.standard_normal((n, 3), dtype=np.float32))

    def __call__(self, latents):
        self.rows += len(latents)
        return latents.sigmoid()[:, :, None, None].expand(-1, 3, 8, 8)


@torch.no_grad()
def test_a_generators_pace_is_looked_for_once():
    generator = Counted()
    latents = generator.sample_latents(64, np.random.default_rng(0))
    QuickGenerator(generator)(latents)
    looked = generator.rows
    assert looked > 64
    QuickGenerator(generator)(latents)
    assert generator.rows == looked + 64
    other = Counted()
    QuickGenerator(other)(latents)
    assert other.rows == looked


class Unhashable(Counted):
    __hash__ = None


@torch.no_grad()
def test_a_generator_that_cannot_be_remembered_is_looked_at_again():
    generator = Unhashable()
    latents = generator.sample_latents(64, np.random.default_rng(0))
    for _ in range(2):
        assert len(QuickGenerator(generator)(latents)) == 64
