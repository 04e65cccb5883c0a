import json
from hashlib import sha256

import pytest
import torch
from safetensors.torch import save

from qdgs.errors import CorruptFileError, MissingModelError
from qdgs.generators.shapes_gan import (
    GanDiscriminator,
    GanGenerator,
    ShapesGAN,
    gan_tensors,
    load_gan,
)
from qdgs.training.initial import seeded


def networks():
    random = torch.Generator().manual_seed(0)
    return seeded(GanGenerator, random), seeded(GanDiscriminator, random)


def write(folder, tensors):
    content = save(tensors)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "card.json").write_text(json.dumps({"sha256": sha256(content).hexdigest()}))
    return folder


def test_a_folder_gives_back_the_networks_that_were_saved(tmp_path):
    generator, discriminator = networks()
    loaded = load_gan(write(tmp_path, gan_tensors(generator, discriminator)))
    latents = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    images = generator(latents)
    assert torch.equal(loaded[0](latents), images)
    assert torch.equal(loaded[1].eval()(images), discriminator.eval()(images))


def test_a_generator_of_a_folder_knows_its_discriminator(tmp_path):
    made = ShapesGAN(str(write(tmp_path, gan_tensors(*networks()))))
    assert made.discriminator(torch.rand(2, 3, 64, 64)).shape == (2,)
    assert not any(p.requires_grad for p in (*made.network.parameters(), *made.discriminator.parameters()))


def test_features_are_scaled_by_the_pixel():
    generator, _ = networks()
    latents = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    scaled = generator.linear.bias.detach().zero_()
    assert scaled.sum() == 0
    # without a bias the size of a latent does not matter
    torch.testing.assert_close(generator(latents), generator(5 * latents))


def test_layers_of_the_discriminator_have_unit_spectral_norm():
    _, discriminator = networks()
    for _ in range(60):
        discriminator(torch.rand(2, 3, 64, 64))
    discriminator.eval()
    for stage in (*discriminator.stages, discriminator.head):
        norm = torch.linalg.matrix_norm(stage.weight.flatten(1), 2)
        assert norm.item() == pytest.approx(1, abs=0.03)


def test_a_missing_gan_says_how_to_train_one(tmp_path):
    with pytest.raises(MissingModelError, match=r"expected a trained GAN, got none; .*shapes_gan.py --out"):
        ShapesGAN(str(tmp_path / "none"))


def test_tensors_of_another_model_are_refused(tmp_path):
    with pytest.raises(CorruptFileError, match="expected the tensors of shapes-gan"):
        load_gan(write(tmp_path, {"generator.linear.weight": torch.zeros(1)}))
