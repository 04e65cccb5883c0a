"""Fixtures of the judges of faces."""

import numpy as np
import pytest
import torch

from qdgs.errors import MissingPackageError
from qdgs.generators.dcgan import DCGANDigiFace


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Readings from before the test do not count."""
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QDGS_PROCESSES", "1")


@pytest.fixture(scope="session")
def face_images():
    """Random samples of the generator of faces as they would be stored `(48, 3, 64, 64)`."""
    try:
        generator = DCGANDigiFace()
    except MissingPackageError as error:
        pytest.skip(str(error))
    with torch.no_grad():
        images = generator(generator.sample_latents(48, np.random.default_rng(3)))
    return (images * 255).round() / 255


@pytest.fixture
def drawn_face():
    """A skin-coloured oval with eyes and mouth on grey `(3, 64, 64)`, and its box as a detector gives it."""
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    image = torch.full((3, 64, 64), 0.4)
    oval = ((x - 32) / 16) ** 2 + ((y - 32) / 20) ** 2 <= 1
    image[:, oval] = torch.tensor([0.8, 0.6, 0.5])[:, None]
    dark = (((x - 26).abs() < 2) | ((x - 38).abs() < 2)) & ((y - 28).abs() < 1.5)
    image[:, dark] = 0.1
    box = np.array([18, 16, 46, 48]) * 4 + 32
    return image, np.array([1.5, *box])
