import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from qdgs.errors import InputError
from qdgs.generators.shapes_gan import GanDiscriminator, GanGenerator
from qdgs.training.adversarial import (
    Feedback,
    GanSettings,
    GanTraining,
    discriminator_loss,
    generator_loss,
    mixed_loss,
)
from qdgs.training.initial import seeded

SMALL = GanSettings(batch_size=4, averaging=0.9)


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(seed=0):
    random = numbers(seed)
    channels = (8, 6, 4, 4)
    return (
        seeded(lambda: GanGenerator(5, channels), random),
        seeded(lambda: GanDiscriminator(channels[::-1]), random),
    )


def training(generator, discriminator, precision="float32", **options):
    images = torch.rand(6, 3, 64, 64, generator=numbers(9))
    return GanTraining(
        generator,
        discriminator,
        images,
        replace(SMALL, precision=precision),
        numbers(1),
        latent_dim=5,
        **options,
    )


def state(network):
    return [value.clone() for value in network.state_dict().values()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_hinge_losses_are_their_formulas():
    real, generated = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 0.5])
    assert discriminator_loss(real, generated).item() == pytest.approx((0 + 0.5 + 2 + 0 + 1 + 1.5) / 3)
    assert generator_loss(generated).item() == pytest.approx(2.5 / 3)


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images):
        return self.factor * images.flatten(1).mean(1)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_feedback_is_mixed_in_the_share_of_the_evolving_discriminator(weight):
    images = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    loss = mixed_loss(images, Scale(2.0), Feedback(Scale(-6.0), weight))
    assert loss.item() == pytest.approx(weight * -1.0 + (1 - weight) * 3.0)
    (slope,) = torch.autograd.grad(loss, images)
    assert slope.sum().item() == pytest.approx(weight * -2.0 + (1 - weight) * 6.0)


@pytest.mark.parametrize("wrong", [{"weight": 1.2}, {"weight": 0.5}, {"weight": -0.1}])
def test_feedback_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="feedback: expected"):
        Feedback(**wrong)


def test_a_step_trains_both_networks_and_neither_through_the_other():
    generator, discriminator = pair()
    made = training(generator, discriminator)
    before = state(generator), state(discriminator)
    made.step()
    assert not same(state(generator), before[0])
    assert not same(state(discriminator), before[1])
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_the_first_update_of_the_discriminator_is_adams_of_the_hinge_loss():
    generator, discriminator = pair()
    made = training(generator, discriminator)
    expected = copy.deepcopy(discriminator)
    random = numbers(1)
    latents = torch.randn(4, 5, generator=random)
    rows = torch.randint(6, (4,), generator=random)
    mirrored = torch.rand(4, 1, 1, 1, generator=random) < 0.5
    real = torch.where(mirrored, made.images[rows].flip(3), made.images[rows])
    optimizer = torch.optim.Adam(expected.parameters(), lr=2e-4, betas=(0.0, 0.999))
    with torch.no_grad():
        generated = generator(latents)
    discriminator_loss(*expected(torch.cat([real, generated])).chunk(2)).backward()
    optimizer.step()
    made._train_discriminator()
    for found, wanted in zip(state(discriminator), state(expected), strict=True):
        torch.testing.assert_close(found, wanted)


def test_the_average_follows_the_generator_the_slower_the_longer():
    generator, discriminator = pair()
    made = training(generator, discriminator)
    first = generator.linear.weight.detach().clone()
    made.step()
    second = generator.linear.weight.detach().clone()
    share = 2 / 11
    torch.testing.assert_close(made.averaged.linear.weight, share * first + (1 - share) * second)


class Echo(nn.Module):
    """Reconstruction of an image from its mean, scaled to latents."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(5))

    def forward(self, generator, images, random):
        latents = images.mean((1, 2, 3))[:, None] * self.factor + torch.rand(5, generator=random)
        return (generator(latents) - images).square().sum((1, 2, 3)).mean()


def test_an_anchor_adds_its_gradient_to_that_of_the_feedback():
    generator, discriminator = pair()
    anchor, quiet = Echo(), Feedback(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64**2, 1)), 0.0)
    for parameter in quiet.source.parameters():
        nn.init.zeros_(parameter).requires_grad_(False)
    made = training(generator, discriminator, feedback=quiet, anchor=anchor)
    before, images = state(made.generator), torch.rand(6, 3, 64, 64, generator=numbers(9))
    losses = [anchor(made.generator, images, numbers(2)).item()]
    for _ in range(30):
        made.step()
    losses.append(anchor(made.generator, images, numbers(2)).item())
    assert losses[1] < 0.98 * losses[0]
    assert not same(before, state(made.generator))
    assert not torch.equal(anchor.factor, torch.ones(5))


def test_with_an_anchor_too_a_resumed_training_equals_an_unbroken_one():
    unbroken, broken = (training(*pair(), anchor=Echo()) for _ in range(2))
    for made in (unbroken, unbroken, broken):
        made.step()
    resumed = training(*pair(seed=3), anchor=Echo())
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    resumed.step()
    assert same(state(resumed.averaged), state(unbroken.averaged))
    assert torch.equal(resumed.anchor.factor, unbroken.anchor.factor)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_training_equals_an_unbroken_one(precision):
    unbroken = training(*pair(), precision)
    for _ in range(4):
        unbroken.step()
    broken = training(*pair(), precision)
    broken.step()
    broken.step()
    kept = copy.deepcopy(broken.state_dict())
    resumed = training(*pair(seed=3), precision)
    resumed.load_state_dict(kept)
    resumed.step()
    resumed.step()
    assert resumed.steps == 4
    for name in ("generator", "discriminator", "averaged"):
        assert same(state(getattr(resumed, name)), state(getattr(unbroken, name)))


def test_what_was_spent_is_counted_by_the_image():
    generator, discriminator = pair()
    calls = []
    generator.register_forward_hook(lambda _, given, __: calls.extend(["generator"] * len(given[0])))
    discriminator.register_forward_hook(lambda _, given, __: calls.extend(["discriminator"] * len(given[0])))
    source = copy.deepcopy(discriminator).requires_grad_(False)
    made = training(generator, discriminator, feedback=Feedback(source, 0.5))
    made.step()
    spent = made.spent
    assert spent["generator_calls"] == calls.count("generator")
    assert spent["forwards"] == len(calls)
    assert spent["trained_on"] == 4 * 2


def test_rounded_arithmetic_is_near_the_exact_one_and_leaves_weights_in_float32():
    exact, rounded = training(*pair()), training(*pair(), "bfloat16")
    for _ in range(3):
        losses, others = exact.step(), rounded.step()
    assert others.discriminator == pytest.approx(losses.discriminator, abs=0.02)
    assert others.generator == pytest.approx(losses.generator, abs=0.02)
    assert not same(state(exact.generator), state(rounded.generator))
    assert {value.dtype for value in state(rounded.averaged)} == {torch.float32}


def test_a_gan_needs_images():
    generator, discriminator = pair()
    with pytest.raises(InputError, match="expected at least one to train on"):
        GanTraining(generator, discriminator, torch.empty(0, 3, 64, 64), SMALL, numbers(), latent_dim=5)
