import json

import numpy as np
import pytest
import torch

from qdgs import weights
from qdgs.datasets.drawing import COLORS, SHAPES, biased_shapes
from qdgs.errors import CorruptFileError, MissingModelError
from qdgs.generators.base import generate
from qdgs.generators.shapes_gan import (
    GanDiscriminator,
    GanGenerator,
    ShapesGAN,
    load_gan,
    save_gan,
)
from qdgs.judges.shape_cnn import ShapeCNN
from qdgs.training.initial import seeded
from qdgs.weights import write_weights


def networks():
    random = torch.Generator().manual_seed(0)
    return seeded(GanGenerator, random), seeded(GanDiscriminator, random)


def test_a_folder_gives_back_the_networks_that_were_saved(tmp_path):
    generator, discriminator = networks()
    save_gan(tmp_path / "gan", generator, discriminator, licence="MIT")
    assert json.loads((tmp_path / "gan" / "card.json").read_text())["licence"] == "MIT"
    loaded = load_gan(tmp_path / "gan")
    latents = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    images = generator(latents)
    assert torch.equal(loaded[0](latents), images)
    assert torch.equal(loaded[1].eval()(images), discriminator.eval()(images))


def test_a_generator_of_a_folder_knows_its_discriminator(tmp_path):
    save_gan(tmp_path, *networks())
    made = ShapesGAN(str(tmp_path))
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
    write_weights(tmp_path, {"generator.linear.weight": torch.zeros(1)})
    with pytest.raises(CorruptFileError, match="expected the tensors of shapes-gan"):
        load_gan(tmp_path)


def test_the_embedded_one_is_small_and_has_a_card():
    folder = weights.FOLDER / "shapes-gan"
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 4e6
    card = weights.card("shapes-gan")
    assert {"sha256", "licence", "source", "command", "bias", "limits"} <= set(card)
    assert card["command"].startswith("python experiments/weights/shapes_gan.py")


def test_the_embedded_one_makes_figures_in_biased_colours():
    generator = ShapesGAN()
    images = list(generate(generator, generator.sample_latents(512, np.random.default_rng(0))))
    read = ShapeCNN().judge(torch.cat(images))
    figures = read[read["accepted"]]
    assert len(figures) > 0.5 * len(read)
    usual = [
        ((figures["color"] == color) & (figures["shape"] == shape)).mean()
        for color, shape in zip(COLORS, SHAPES, strict=True)
    ]
    assert sum(usual) > 0.8
    assert min(usual) > 0.25


def test_the_embedded_discriminator_tells_drawings_from_noise():
    generator = ShapesGAN()
    noise = torch.rand(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    drawn = biased_shapes(64, 0.95, np.random.default_rng(0), image_size=64)[0]
    assert generator.discriminator(drawn).mean() > generator.discriminator(noise).mean()
