import numpy as np
import pytest
import torch

from qdgs.errors import GeneratorError, QdgsError
from qdgs.generators.base import generate, images_of

LATENTS = torch.linspace(0, 1, 20)[:, None]


class Greys:
    """A latent is a grey."""

    latent_dim, image_size, differentiable, prior_norm = 1, 4, True, None

    def __init__(self):
        self.sizes = []

    def sample_latents(self, n, rng):
        return torch.from_numpy(rng.random((n, 1), dtype=np.float32))

    def __call__(self, latents):
        self.sizes.append(len(latents))
        return latents[:, :, None, None].expand(-1, 3, 4, 4)


def failing(error):
    class Failing(Greys):
        def __call__(self, latents):
            raise error

    return Failing()


def test_every_micro_batch_has_one_size_and_every_image_its_place():
    generator = Greys()
    parts = list(generate(generator, LATENTS, 8))
    assert generator.sizes == [8, 8, 8]
    assert [len(part) for part in parts] == [8, 8, 4]
    assert torch.equal(torch.cat(parts)[:, 0, 0, 0], LATENTS[:, 0])
    assert list(generate(generator, LATENTS[:0])) == []


def test_code_that_fails_is_one_sentence_with_its_line():
    with pytest.raises(GeneratorError) as error:
        images_of(failing(ValueError("no\nsuch thing")), LATENTS)
    said = str(error.value)
    assert said.startswith(
        f"generator: Failing fails on latents (20, 1): ValueError: no such thing ({__file__}:"
    )
    assert "\n" not in said


@pytest.mark.parametrize(
    "error", [QdgsError("told"), MemoryError(), RuntimeError("CUDA out of memory. Tried")]
)
def test_what_is_told_already_and_a_lack_of_memory_go_through(error):
    with pytest.raises(type(error)) as raised:
        images_of(failing(error), LATENTS)
    assert raised.value is error


def test_a_mistake_of_ones_own_keeps_its_traceback(monkeypatch):
    generator = failing(ValueError("ours"))
    monkeypatch.setattr(type(generator), "__module__", "qdgs.generators.ours")
    with pytest.raises(ValueError, match="ours"):
        images_of(generator, LATENTS)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (None, "got a NoneType"),
        (torch.zeros(19, 3, 4, 4), r"= \(20, 3, 4, 4\), got \(19, 3, 4, 4\)"),
        (torch.full((20, 3, 4, 4), torch.inf), "expected finite pixel values"),
        (torch.full((20, 3, 4, 4), 1.01), r"expected pixel values in \[0, 1\], got \[1.01, 1.01\]"),
    ],
)
def test_what_is_no_image_is_told(monkeypatch, images, said):
    monkeypatch.setattr(Greys, "__call__", lambda self, latents: images)
    with pytest.raises(GeneratorError, match=said):
        images_of(Greys(), LATENTS)
