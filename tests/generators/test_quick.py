import numpy as np
import pytest
import torch

from qdgs.generators import quick
from qdgs.generators.base import generate, is_thread_safe
from qdgs.generators.quick import QuickGenerator, generate_quickly
from qdgs.generators.shapes_gan import ShapesGAN
from qdgs.generators.shapes_vae import ShapesVAE


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("kind", [ShapesVAE, ShapesGAN])
def test_images_are_the_generators_bit_for_bit(kind):
    generator = kind()
    latents = generator.sample_latents(9 * 64 + 7, np.random.default_rng(0))
    expected = list(generate(generator, latents))
    for one, other in zip(generate_quickly(kind(), latents), expected, strict=True):
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
        return (latents * 0.1 + 0.5).clamp(0, 1)[:, :, None, None].expand(-1, 3, 8, 8)


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


def test_for_few_images_no_pace_is_looked_for():
    generator = Counted()
    latents = generator.sample_latents(3 * 64, np.random.default_rng(0))
    assert len(torch.cat(list(generate_quickly(generator, latents)))) == generator.rows == 3 * 64


def halved(images):
    return images / 2


def test_what_is_made_of_images_is_made_of_each():
    generator = Counted()
    latents = generator.sample_latents(9 * 64, np.random.default_rng(0))
    plain = torch.cat(list(generate_quickly(generator, latents)))
    assert torch.equal(torch.cat(list(generate_quickly(generator, latents, then=halved))), plain / 2)
    assert torch.equal(torch.cat(list(generate_quickly(generator, latents))), plain)


@pytest.mark.usefixtures("two_threads")
def test_only_generators_that_say_so_are_called_from_several_threads():
    quick = QuickGenerator(Counted())
    quick(Counted().sample_latents(64, np.random.default_rng(0)))
    assert quick.at_once() == 1
    own = Counted()
    own.thread_safe = True
    quick = QuickGenerator(own)
    assert quick.at_once() == 1
    quick(own.sample_latents(64, np.random.default_rng(0)))
    assert quick.at_once() > 1


def test_a_compiled_generator_is_called_from_one_thread():
    network = torch.nn.Linear(2, 2)
    own = Counted()
    own.thread_safe, own.network = True, network
    assert is_thread_safe(own)
    network.compile(backend="eager")
    assert not is_thread_safe(own)


class Unhashable(Counted):
    __hash__ = None


def test_a_generator_that_cannot_be_remembered_is_looked_at_again():
    generator = Unhashable()
    latents = generator.sample_latents(64, np.random.default_rng(0))
    for _ in range(2):
        assert len(QuickGenerator(generator)(latents)) == 64


def test_the_heap_gives_back_what_it_keeps_now_and_then(monkeypatch):
    calls = []
    monkeypatch.setattr(quick, "give_back", lambda: calls.append(None))
    generator = Counted()
    latents = generator.sample_latents(4 * 2 * quick.TIDIED + 3, np.random.default_rng(0))
    assert sum(map(len, generate_quickly(generator, latents, 4))) == len(latents)
    assert len(calls) == 2
