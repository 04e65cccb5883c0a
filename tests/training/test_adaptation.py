import pytest
import torch

from qdgs.errors import InputError
from qdgs.generators.shapes_gan import GanDiscriminator, GanGenerator
from qdgs.training.adaptation import Adaptation, adapt
from qdgs.training.adversarial import GanSettings
from qdgs.training.initial import seeded

SMALL = GanSettings(batch_size=2)


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def gan():
    random = numbers()
    channels = (8, 6, 4, 4)
    return (
        seeded(lambda: GanGenerator(5, channels), random),
        seeded(lambda: GanDiscriminator(channels[::-1]), random),
    )


@pytest.fixture
def reference():
    return torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8, generator=numbers(5))


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def steps(gan, reference, adaptation):
    return adapt(*gan, reference, adaptation, numbers(1), latent_dim=5)


def test_the_given_gan_stays_as_it_is(gan, reference):
    before = state(gan[0]), state(gan[1])
    list(steps(gan, reference, Adaptation(steps=2, feedback=0.5, probing_steps=1, training=SMALL)))
    assert not changed(before[0], gan[0])
    assert not changed(before[1], gan[1])


def test_probing_freezes_the_highest_resolutions_of_the_discriminator_alone(gan, reference):
    before = state(gan[0]), state(gan[1])
    adaptation = Adaptation(steps=3, probing_steps=2, frozen_stages=2, training=SMALL)
    trainings = steps(gan, reference, adaptation)
    next(trainings)
    training = next(trainings)
    moved = changed(before[1], training.discriminator)
    assert not any(name.startswith(("stages.0.", "stages.1.")) for name in moved)
    for part in ("stages.2", "stages.3", "head"):
        assert f"{part}.parametrizations.weight.original" in moved
    assert "linear.weight" in changed(before[0], training.generator)
    assert "doublings.3.weight" in changed(before[0], training.generator)
    training = next(trainings)
    assert "stages.0.parametrizations.weight.original" in changed(before[1], training.discriminator)
    with pytest.raises(StopIteration):
        next(trainings)


def test_fairtl_is_hinge_training_from_the_biased_weights(gan, reference):
    import copy

    from qdgs.training.adversarial import GanTraining

    plain = GanTraining(*copy.deepcopy(gan), reference, SMALL, numbers(1), latent_dim=5)
    plain.step()
    plain.step()
    (*_, adapted) = steps(gan, reference, Adaptation(steps=2, training=SMALL))
    assert not changed(state(plain.generator), adapted.generator)
    assert not changed(state(plain.discriminator), adapted.discriminator)


def test_the_source_discriminator_is_a_frozen_copy_that_is_heard(gan, reference):
    before = state(gan[1])
    (*_, deaf) = steps(gan, reference, Adaptation(steps=3, training=SMALL))
    (*_, hearing) = steps(gan, reference, Adaptation(steps=3, feedback=0.5, training=SMALL))
    assert deaf.feedback.source is None
    assert not changed(before, hearing.feedback.source)
    assert not any(parameter.requires_grad for parameter in hearing.feedback.source.parameters())
    assert changed(state(deaf.generator), hearing.generator)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"feedback": 2.0}, "feedback: expected a share from 0 to 1, got 2.0"),
        ({"steps": 5, "probing_steps": 6}, r"probing_steps: expected 0 to 5 \(steps\), got 6"),
    ],
)
def test_senseless_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Adaptation(**wrong)


def test_more_frozen_stages_than_there_are_is_refused(gan, reference):
    with pytest.raises(InputError, match="frozen_stages: expected at most 4, got 5"):
        next(steps(gan, reference, Adaptation(steps=1, probing_steps=1, frozen_stages=5, training=SMALL)))
