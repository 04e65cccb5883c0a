import pytest
import torch

from qdgs.recognition.backbones import UNITS, Dropout, IResNet, ResidualUnit
from qdgs.recognition_config import BackboneConfig


def backbone(seed=0, image_size=32, **options):
    config = BackboneConfig(**{"name": "ir18", "width": 4, "embedding": 16, **options})
    return IResNet(config, image_size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "millions"), [("ir18", 24.02), ("ir50", 43.59)])
def test_full_sizes_have_the_published_numbers_of_parameters(name, millions):
    model = IResNet(BackboneConfig(name=name), 112, generator=torch.Generator())
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.005
    )


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone():
    before = torch.random.get_rng_state()
    one, same, other = (backbone(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["stem.0.weight"], other["stem.0.weight"])


def test_an_embedding_depends_on_its_own_image_alone():
    model = backbone().eval()
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(images)[:2], model(images[:2]))


def test_a_unit_without_residual_halves_its_input_by_taking_every_second_pixel():
    unit = ResidualUnit(3, 3, stride=2).eval()
    unit.residual[-1].weight.data.zero_()
    features = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit(features), features[:, :, ::2, ::2])


def test_dropout_draws_from_its_own_generator_and_keeps_the_mean():
    dropout = Dropout(0.25)
    values = torch.ones(200, 50)
    with pytest.raises(RuntimeError, match="generator"):
        dropout(values)
    dropout.generator = torch.Generator().manual_seed(0)
    dropped = dropout(values)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(dropout.eval()(values), values)


def test_ir101_has_the_published_parameters_more_than_ir50():
    # 9 more units of 128 channels and 16 of 256, each two 3×3 convolutions, three BNs and a PReLU
    extra = sum(number * (18 * c * c + 7 * c) for number, c in ((9, 128), (16, 256)))
    assert extra / 1e6 == pytest.approx(65.15 - 43.59, abs=0.01)
    assert [a - b for a, b in zip(UNITS["ir101"], UNITS["ir50"], strict=True)] == [0, 9, 16, 0]
