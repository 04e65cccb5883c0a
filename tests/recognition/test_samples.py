import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.errors import InputError
from qdgs.parts import load_generator
from qdgs.recognition.images import read_identities, read_image
from qdgs.recognition.samples import rendered, variations, write_identities


class Gaussian:
    """A prior about (5, −5, …), two pixels of colour from a latent."""

    latent_dim, image_size, differentiable, prior_norm = 40, 8, False, None

    def sample_latents(self, n, rng):
        sign = torch.where(torch.arange(40) % 2 == 0, 5.0, -5.0)
        return sign + torch.from_numpy(rng.standard_normal((n, 40), dtype=np.float32))


def test_variations_have_the_priors_own_distribution_and_the_wanted_correlation():
    generator, rng = Gaussian(), np.random.default_rng(0)
    latents = generator.sample_latents(400, rng)
    moved = variations(generator, latents, 3, 0.6, rng).reshape(400, 3, 40)
    plain = generator.sample_latents(2000, rng)
    centred = moved - plain.mean(dim=0)
    assert moved.mean(dim=(0, 1)).tolist() == pytest.approx(plain.mean(dim=0).tolist(), abs=0.2)
    assert centred.std().item() == pytest.approx(1.0, abs=0.02)
    correlation = (centred[:, 0] * centred[:, 1]).mean().item()
    assert correlation == pytest.approx(1 - 0.6**2, abs=0.02)


def test_a_crop_is_the_middle_of_the_image():
    generator = load_generator("shapes-vae")
    latents = generator.sample_latents(3, np.random.default_rng(0))
    whole, part = rendered(generator, latents), rendered(generator, latents, crop=20)
    start = (generator.image_size - 20) // 2
    assert (part == whole[:, start : start + 20, start : start + 20]).all()
    with pytest.raises(InputError, match="crop: expected at most"):
        rendered(generator, latents, crop=1000)


def test_identities_are_written_as_they_are_read(tmp_path, face_pixels):
    pixels = np.array([image for images in face_pixels(3, 2) for image in images])
    write_identities(tmp_path / "set", pixels, np.repeat([4, 0, 11], 2), ["a", "a", "b", "b", "a", "a"])
    images = read_identities(tmp_path / "set")
    assert images.names == ("0000", "0004", "0011")
    assert images.labels.tolist() == [1, 1, 0, 0, 2, 2]
    assert all(
        (read_image(file, 32) == image).all() for file, image in zip(images.files, pixels, strict=True)
    )
    table = pd.read_csv(tmp_path / "set" / "index.csv", dtype=str)
    assert table["group"].tolist() == ["a", "a", "b", "b", "a", "a"]
